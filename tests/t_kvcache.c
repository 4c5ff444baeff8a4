/* The cache against its rule: what comes back is what the format says of what went in, to the bit, wherever it lies. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "kvcache.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 11, LAYERS = 2, BATCH = 2, KV_HEADS = 3, TOKENS = KV_BLOCK + 9, HEAD_DIM_MOST = 80 };
static const int head_dims[] = {1, 2, 5, 8, 12, 17, 32, 64, 80};

/* The rule once more, written from the header's words: fp16(max / qmax), round half to even, clip. */
static double rule(enum kv kv, const float *x, int n, int i)
{
    double qmax = kv == KV_INT8 ? 127 : 7, most = 0;
    uint32_t bits;
    float rounded;
    if (kv == KV_F32)
        return x[i];
    if (kv == KV_BF16) {
        memcpy(&bits, &x[i], 4);
        uint32_t below = bits & 0xffff0000u, odd = bits >> 16 & 1, rest = bits & 0xffff;
        bits = below + (rest > 0x8000 || (rest == 0x8000 && odd) ? 0x10000u : 0);
        memcpy(&rounded, &bits, 4);
        return rounded;
    }
    for (int j = 0; j < n; j++)
        most = fmax(most, fabs((double)x[j]));
    float scale = fp16_round((float)most / (float)qmax);
    double code = scale > 0 ? nearbyint(fmin(qmax, fmax(-qmax, x[i] / scale))) : 0;
    return (float)code * scale;
}

/* Each position of each head of each sequence and layer holds values of its own. */
static void fill_token(float *key, float *value, int n, int layer, int sequence, int position)
{
    uint64_t at = ((uint64_t)layer * BATCH + (uint64_t)sequence) * TOKENS + (uint64_t)position;
    tiny_normal(key, (size_t)n, SEED + 2 * at);
    tiny_normal(value, (size_t)n, SEED + 2 * at + 1);
}

static void check_token(const struct kvcache *c, int layer, int sequence, int position, float *room)
{
    static float key[KV_HEADS * HEAD_DIM_MOST], value[KV_HEADS * HEAD_DIM_MOST];
    int hd = c->head_dim, j = position % KV_BLOCK;
    fill_token(key, value, KV_HEADS * hd, layer, sequence, position);
    for (int head = 0; head < KV_HEADS; head++) {
        struct kv_block at = {layer, sequence, head, position / KV_BLOCK};
        const float *k = kvcache_keys(c, at, room);
        for (int i = 0; i < hd; i++)
            if (k[i * KV_BLOCK + j] != rule(c->kv, key + head * hd, hd, i))
                fail_msg("%s head_dim %d: key %d of head %d at %d is %.9g", kv_infos[c->kv].name, hd, i, head, position, (double)k[i * KV_BLOCK + j]);
        const float *v = kvcache_values(c, at, j + 1, room);
        for (int i = 0; i < hd; i++)
            if (v[j * kvcache_ldv(c) + i] != rule(c->kv, value + head * hd, hd, i))
                fail_msg("%s head_dim %d: value %d of head %d at %d is %.9g", kv_infos[c->kv].name, hd, i, head, position,
                         (double)v[j * kvcache_ldv(c) + i]);
    }
}

static void append_all(struct kvcache *c)
{
    static float key[KV_HEADS * HEAD_DIM_MOST], value[KV_HEADS * HEAD_DIM_MOST];
    for (int layer = 0; layer < LAYERS; layer++)
        for (int sequence = 0; sequence < BATCH; sequence++)
            for (int position = TOKENS - 1; position >= 0; position--) { /* in an order that nobody uses */
                fill_token(key, value, KV_HEADS * c->head_dim, layer, sequence, position);
                kvcache_append(c, layer, sequence, position, key, value);
            }
}

static void check_format(enum kv kv, int head_dim)
{
    struct kvcache c;
    assert_int_equal(kvcache_open(&c, kv, LAYERS, BATCH, KV_HEADS, head_dim, TOKENS, NULL), ST_OK);
    float *room = mem_alloc(kvcache_room(&c), sizeof *room);
    append_all(&c);
    for (int layer = 0; layer < LAYERS; layer++)
        for (int sequence = 0; sequence < BATCH; sequence++)
            for (int position = 0; position < TOKENS; position++)
                check_token(&c, layer, sequence, position, room);
    mem_free(room);
    kvcache_close(&c);
}

/* Under every instruction set that runs here, since each reads the codes in its own way. */
static void what_comes_back_follows_the_rule(void **state)
{
    for (int t = 0; vecs[t]; t++) {
        if (vecs[t]->needs & ~cpu_isa_detected())
            continue;
        cpu_set_mask(vecs[t]->needs);
        for (int kv = 0; kv < KV_COUNT; kv++)
            for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
                check_format((enum kv)kv, head_dims[i]);
    }
    cpu_set_mask(UINT32_MAX);
}

/* A code is at most half a step from its number, plus what rounding the scale to fp16 (2^-11) moves the largest by. */
static void errors_are_half_a_step(void **state)
{
    static const enum kv formats_of[] = {KV_INT8, KV_INT4};
    float x[64], y[64];
    for (int f = 0; f < 2; f++) {
        struct kvcache c;
        float *room;
        double qmax = kv_infos[formats_of[f]].qmax, worst = 0;
        assert_int_equal(kvcache_open(&c, formats_of[f], 1, 1, 1, 64, KV_BLOCK, NULL), ST_OK);
        room = mem_alloc(kvcache_room(&c), sizeof *room);
        for (int t = 0; t < KV_BLOCK; t++) {
            double most = 0;
            tiny_normal(x, 64, SEED + (uint64_t)t);
            memset(y, 0, sizeof y);
            kvcache_append(&c, 0, 0, t, x, y);
            const float *k = kvcache_keys(&c, (struct kv_block){0}, room);
            for (int i = 0; i < 64; i++)
                most = fmax(most, fabs((double)x[i]));
            for (int i = 0; i < 64; i++)
                worst = fmax(worst, fabs((double)k[i * KV_BLOCK + t] - (double)x[i]) / (most / qmax));
        }
        print_message("%s: errors up to %.3f steps\n", kv_infos[formats_of[f]].name, worst);
        assert_true(worst > 0.45 && worst <= 0.5 + (qmax + 1) * 0x1p-11);
        mem_free(room);
        kvcache_close(&c);
    }
}

static void zeros_and_broken_numbers(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float key[2 * 8], value[2 * 8] = {0};
    for (int kv = KV_INT8; kv <= KV_INT4; kv++) {
        struct kvcache c;
        assert_int_equal(kvcache_open(&c, (enum kv)kv, 1, 1, 2, 8, 4, NULL), ST_OK);
        float *room = mem_alloc(kvcache_room(&c), sizeof *room);
        for (int i = 0; i < 3; i++) {
            for (int j = 0; j < 16; j++)
                key[j] = j == 3 ? bad[i] : 1;
            kvcache_append(&c, 0, 0, i, key, value);
            const float *k = kvcache_keys(&c, (struct kv_block){0}, room);
            for (int j = 0; j < 8; j++)
                assert_true(isnan(k[j * KV_BLOCK + i])); /* the whole head of that token, and nothing else */
            k = kvcache_keys(&c, (struct kv_block){.head = 1}, room);
            for (int j = 0; j < 8; j++)
                assert_true(k[j * KV_BLOCK + i] == fp16_round(1.0f / (float)kv_infos[kv].qmax) * (float)kv_infos[kv].qmax);
        }
        const float *v = kvcache_values(&c, (struct kv_block){0}, 3, room);
        for (int j = 0; j < 3 * 8; j++)
            assert_true(v[j] == 0);
        mem_free(room);
        kvcache_close(&c);
    }
}

static void sizes_are_counted(void **state)
{
    static const double unit[KV_COUNT] = {4, 2, 1, 0.5};
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct kvcache c;
        assert_int_equal(kvcache_open(&c, (enum kv)kv, LAYERS, BATCH, KV_HEADS, 64, TOKENS, NULL), ST_OK);
        double scales = kv_infos[kv].qmax ? 2 : 0;
        assert_true((double)kvcache_bytes_per_token(&c) == LAYERS * KV_HEADS * 2 * (64 * unit[kv] + scales));
        assert_ptr_equal(kv_find(kv_infos[kv].name), &kv_infos[kv]);
        kvcache_close(&c);
    }
    assert_null(kv_find("int5"));
}

static void a_repeated_block_is_the_first_one(void **state)
{
    struct kvcache c;
    assert_int_equal(kvcache_open(&c, KV_INT8, LAYERS, BATCH, KV_HEADS, 8, 3 * KV_BLOCK, NULL), ST_OK);
    float *first = mem_alloc(2 * kvcache_room(&c), sizeof *first), *later = first + kvcache_room(&c);
    append_all(&c);
    kvcache_repeat(&c, 2 * KV_BLOCK + 1);
    for (int block = 1; block < 3; block++) {
        struct kv_block a = {1, 1, 2, 0}, b = {1, 1, 2, block};
        assert_memory_equal(kvcache_keys(&c, a, first), kvcache_keys(&c, b, later), 8 * KV_BLOCK * sizeof *first);
        assert_memory_equal(kvcache_values(&c, a, KV_BLOCK, first), kvcache_values(&c, b, KV_BLOCK, later), 8 * KV_BLOCK * sizeof *first);
    }
    mem_free(first);
    kvcache_close(&c);
}

static void too_much_is_refused(void **state)
{
    struct kvcache c;
    struct err e = {0};
    assert_int_equal(kvcache_open(&c, KV_F32, 1 << 10, 1 << 20, 1 << 10, 1 << 12, INT32_MAX, &e), ST_ENOMEM);
    assert_non_null(strstr(e.text, "narrower kv"));
    assert_null(c.data);
    kvcache_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_back_follows_the_rule),
        cmocka_unit_test(errors_are_half_a_step),
        cmocka_unit_test(zeros_and_broken_numbers),
        cmocka_unit_test(sizes_are_counted),
        cmocka_unit_test(a_repeated_block_is_the_first_one),
        cmocka_unit_test(too_much_is_refused),
    };
    printf("seed %d\n", SEED);
    return cmocka_run_group_tests_name("kvcache", tests, NULL, NULL);
}
