/* kvcache.h — keys and values of the tokens so far, in the format that a case names, as attention wants to read them. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_KVCACHE_H
#define QBENCH_KVCACHE_H

#include "vec.h"

/*
 * int8 and int4 are symmetric MinMax, one scale per token and kv head, keys and values apart (per token: LLM-QAT, Liu et al.
 * 2023; per head: Atom, Zhao et al. 2024): scale = fp16(max|x| / qmax), code = round-half-even(x / scale) clipped to
 * [-qmax, qmax], qmax = 127 or 7. Keys are quantized after their rotation, so that no step has to rotate them again. A head that
 * holds a NaN or an infinity has scale NaN and codes 0: it reads as NaN, as it would in float. bf16 rounds to nearest even.
 */
enum kv { KV_F32, KV_BF16, KV_INT8, KV_INT4, KV_COUNT };
struct kv_info {
    const char *name; /* "int4": as weight formats are called */
    int bits, qmax;   /* qmax 0: float */
};
extern const struct kv_info kv_infos[KV_COUNT];
const struct kv_info *kv_find(const char *name); /* NULL: unknown */

/*
 * Positions lie in blocks of KV_BLOCK, and the blocks of one (layer, sequence, kv head) behind one another, so that a decoding
 * step reads the cache as one stream. A block holds its keys transposed, because a product whose both sides run along
 * head_dim would have to add across registers: it has half the speed.
 *
 *     block | keys (units, KV_BLOCK) | values (KV_BLOCK, units) | key scales (KV_BLOCK) fp16 | value scales (KV_BLOCK) fp16 |
 *
 * A unit is a float, a bf16, a code of int8, or a byte of two int4 codes stored + 8: dimension d in the low nibble, d + units
 * in the high one (units = half of head_dim, rounded up). No byte belongs to two tokens: threads may append different ones.
 */
enum { KV_BLOCK = 64 };

struct kvcache {
    enum kv kv;
    int layers, batch, kv_heads, head_dim;
    int blocks;         /* of one (layer, sequence, head) */
    int units;          /* of one token and head */
    size_t block_bytes;
    uint8_t *data;      /* owned: (layers, batch, kv_heads, blocks, block_bytes) */
    const struct vec *vec;
};

/* Zeroed, for max_tokens a sequence. On failure c is empty; closing an empty (zeroed) cache is fine. */
enum status kvcache_open(struct kvcache *c, enum kv kv, int layers, int batch, int kv_heads, int head_dim, int max_tokens, struct err *e);
void kvcache_close(struct kvcache *c);

/* key, value (kv_heads * head_dim): a token's, the key rotated. What was at that position is forgotten. */
void kvcache_append(struct kvcache *c, int layer, int sequence, int position, const float *key, const float *value);

/* Makes blocks [1, positions) equal to the first one: a long past without computing it. */
void kvcache_repeat(struct kvcache *c, int positions);

/* One block as floats, in the cache itself (f32) or in room. */
struct kv_block {
    int layer, sequence, head, block;
};
/* keys (head_dim, KV_BLOCK); room: kvcache_room(c) floats */
const float *kvcache_keys(const struct kvcache *c, struct kv_block at, float *room);
/* values (count, kvcache_ldv(c)), head_dim of each row; room: kvcache_room(c) floats */
const float *kvcache_values(const struct kvcache *c, struct kv_block at, int count, float *room);
size_t kvcache_room(const struct kvcache *c);
int kvcache_ldv(const struct kvcache *c);

size_t kvcache_bytes_per_token(const struct kvcache *c); /* of one sequence, scales included: what each later step reads of it */

#endif
