/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kvcache.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "quant.h"

const struct kv_info kv_infos[KV_COUNT] = {
    [KV_F32] = {"f32", 32, 0},
    [KV_BF16] = {"bf16", 16, 0},
    [KV_INT8] = {"int8", 8, 127},
    [KV_INT4] = {"int4", 4, 7},
};

/* What a cache can be: head_dim of a model is at most this (config_check). */
enum { HEAD_DIM_MAX = 1 << 12 };

const struct kv_info *kv_find(const char *name)
{
    for (int i = 0; i < KV_COUNT; i++)
        if (!strcmp(kv_infos[i].name, name))
            return &kv_infos[i];
    return NULL;
}

static size_t unit_bytes(enum kv kv) { return kv == KV_F32 ? 4 : kv == KV_BF16 ? 2 : 1; }
static size_t scale_bytes(enum kv kv) { return kv_infos[kv].qmax ? sizeof(uint16_t) : 0; }

enum status kvcache_open(struct kvcache *c, enum kv kv, int layers, int batch, int kv_heads, int head_dim, int max_tokens, struct err *e)
{
    assert(layers > 0 && batch > 0 && kv_heads > 0 && head_dim > 0 && head_dim <= HEAD_DIM_MAX && max_tokens > 0);
    *c = (struct kvcache){.kv = kv, .layers = layers, .batch = batch, .kv_heads = kv_heads, .head_dim = head_dim, .vec = vec_get()};
    c->blocks = (max_tokens - 1) / KV_BLOCK + 1;
    c->units = kv == KV_INT4 ? (head_dim + 1) / 2 : head_dim;
    c->block_bytes = 2 * KV_BLOCK * ((size_t)c->units * unit_bytes(kv) + scale_bytes(kv));
    size_t streams = (size_t)layers * (size_t)kv_heads, bytes;
    bool fits = !__builtin_mul_overflow(streams, (size_t)batch, &streams) && !__builtin_mul_overflow(streams, (size_t)c->blocks, &streams) &&
                !__builtin_mul_overflow(streams, c->block_bytes, &bytes);
    if (fits && (c->data = mem_alloc(bytes, 1)))
        return ST_OK;
    *c = (struct kvcache){0};
    return fail(e, ST_ENOMEM, "no memory for the keys and values of %d x %d tokens in %s; take fewer tokens, a smaller batch or a narrower kv", batch,
                max_tokens, kv_infos[kv].name);
}

void kvcache_close(struct kvcache *c)
{
    mem_free(c->data);
    *c = (struct kvcache){0};
}

static uint8_t *block_of(const struct kvcache *c, struct kv_block at)
{
    size_t head = ((size_t)at.layer * (size_t)c->batch + (size_t)at.sequence) * (size_t)c->kv_heads + (size_t)at.head;
    return c->data + (head * (size_t)c->blocks + (size_t)at.block) * c->block_bytes;
}

static size_t part_bytes(const struct kvcache *c) { return KV_BLOCK * (size_t)c->units * unit_bytes(c->kv); }
static uint8_t *values_of(const struct kvcache *c, uint8_t *block) { return block + part_bytes(c); }
static uint16_t *scales_of(const struct kvcache *c, uint8_t *block) { return (uint16_t *)(void *)(block + 2 * part_bytes(c)); }

/* ---- writing */

static uint16_t quantize_head(const struct kvcache *c, const float *x, int8_t *codes)
{
    float most = c->vec->max_abs(x, c->head_dim), qmax = (float)kv_infos[c->kv].qmax;
    uint16_t half = fp16_from_float(isfinite(most) ? most / qmax : NAN);
    struct grid grid = {fp16_to_float(half), 0};
    encode_group(codes, x, c->head_dim, grid, c->kv == KV_INT8 ? FORMAT_INT8 : FORMAT_INT4, false); /* codes 0 for a scale of 0 or NaN */
    return half;
}

/* One head of one token as it is stored: units (units), and its scale. */
static uint16_t encode_head(const struct kvcache *c, const float *x, uint8_t *units)
{
    int8_t codes[HEAD_DIM_MAX + 1];
    int n = c->units;
    uint16_t scale = 0;
    if (c->kv == KV_F32)
        memcpy(units, x, (size_t)n * sizeof *x);
    for (int i = 0; c->kv == KV_BF16 && i < n; i++) {
        uint16_t half = bf16_from_float(x[i]);
        memcpy(units + 2 * i, &half, sizeof half);
    }
    if (kv_infos[c->kv].qmax)
        scale = quantize_head(c, x, codes);
    if (c->kv == KV_INT8)
        memcpy(units, codes, (size_t)n);
    codes[c->head_dim] = 0; /* the partner that an odd head_dim lacks */
    for (int i = 0; c->kv == KV_INT4 && i < n; i++)
        units[i] = (uint8_t)((codes[i] + 8) | (codes[i + n] + 8) << 4);
    return scale;
}

/* Units KV_BLOCK apart; a copy of constant size is one instruction. */
static void scatter(uint8_t *dst, const uint8_t *units, int n, size_t bytes)
{
    for (size_t i = 0; i < (size_t)n; i++)
        if (bytes == 4)
            memcpy(dst + i * KV_BLOCK * 4, units + i * 4, 4);
        else if (bytes == 2)
            memcpy(dst + i * KV_BLOCK * 2, units + i * 2, 2);
        else
            dst[i * KV_BLOCK] = units[i];
}

void kvcache_append(struct kvcache *c, int layer, int sequence, int position, const float *key, const float *value)
{
    _Alignas(64) uint8_t units[HEAD_DIM_MAX * sizeof(float)];
    size_t bytes = unit_bytes(c->kv);
    int at = position % KV_BLOCK;
    assert(position >= 0 && position / KV_BLOCK < c->blocks);
    for (int head = 0; head < c->kv_heads; head++, key += c->head_dim, value += c->head_dim) {
        uint8_t *block = block_of(c, (struct kv_block){layer, sequence, head, position / KV_BLOCK});
        uint16_t scale = encode_head(c, key, units);
        scatter(block + (size_t)at * bytes, units, c->units, bytes);
        if (scale_bytes(c->kv))
            scales_of(c, block)[at] = scale;
        scale = encode_head(c, value, units);
        memcpy(values_of(c, block) + (size_t)at * (size_t)c->units * bytes, units, (size_t)c->units * bytes);
        if (scale_bytes(c->kv))
            scales_of(c, block)[KV_BLOCK + at] = scale;
    }
}

void kvcache_repeat(struct kvcache *c, int positions)
{
    int blocks = (positions + KV_BLOCK - 1) / KV_BLOCK;
    assert(blocks <= c->blocks);
    for (size_t head = 0; head < (size_t)c->layers * (size_t)c->batch * (size_t)c->kv_heads; head++) {
        uint8_t *first = c->data + head * (size_t)c->blocks * c->block_bytes;
        for (int b = 1; b < blocks; b++)
            memcpy(first + (size_t)b * c->block_bytes, first, c->block_bytes);
    }
}

/* ---- reading */

const float *kvcache_keys(const struct kvcache *c, struct kv_block at, float *room)
{
    uint8_t *block = block_of(c, at);
    float scale[KV_BLOCK];
    switch (c->kv) {
    case KV_BF16:
        c->vec->widen_bf16((const uint16_t *)(const void *)block, room, c->units * KV_BLOCK);
        return room;
    case KV_INT8:
        c->vec->widen_fp16(scales_of(c, block), scale, KV_BLOCK);
        c->vec->widen_int8((const int8_t *)block, c->units, KV_BLOCK, NULL, scale, room);
        return room;
    case KV_INT4:
        c->vec->widen_fp16(scales_of(c, block), scale, KV_BLOCK);
        c->vec->widen_int4(block, c->units, KV_BLOCK, NULL, scale, room, room + c->units * KV_BLOCK, KV_BLOCK);
        return room;
    default:
        return (const float *)(const void *)block;
    }
}

const float *kvcache_values(const struct kvcache *c, struct kv_block at, int count, float *room)
{
    uint8_t *block = block_of(c, at), *values = values_of(c, block);
    float scale[KV_BLOCK];
    switch (c->kv) {
    case KV_BF16:
        c->vec->widen_bf16((const uint16_t *)(const void *)values, room, count * c->units);
        return room;
    case KV_INT8:
        c->vec->widen_fp16(scales_of(c, block) + KV_BLOCK, scale, count);
        c->vec->widen_int8((const int8_t *)values, count, c->units, scale, NULL, room);
        return room;
    case KV_INT4:
        c->vec->widen_fp16(scales_of(c, block) + KV_BLOCK, scale, count);
        c->vec->widen_int4(values, count, c->units, scale, NULL, room, room + c->units, 2 * c->units);
        return room;
    default:
        return (const float *)(const void *)values;
    }
}

int kvcache_ldv(const struct kvcache *c) { return c->kv == KV_INT4 ? 2 * c->units : c->head_dim; }
size_t kvcache_room(const struct kvcache *c) { return KV_BLOCK * (size_t)kvcache_ldv(c); }

size_t kvcache_bytes_per_token(const struct kvcache *c)
{
    return (size_t)c->layers * (size_t)c->kv_heads * (c->block_bytes / KV_BLOCK);
}
