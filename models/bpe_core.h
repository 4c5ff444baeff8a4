/* bpe_core.h — what bpe.c (encoding) and bpe_train.c (learning) share: words, pairs, the growing vocabulary. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BPE_CORE_H
#define QBENCH_BPE_CORE_H

#include "bpe.h"

struct bpe_slot {
    uint64_t pair;
    int32_t id; /* 0: free; no merge has id 0 */
};

struct bpe {
    int vocab, room;        /* ids in use; ids that begin, pairs have room for */
    uint64_t *pairs;        /* (room) what each merged id was made of */
    uint32_t *begin;        /* (room + 1) where each id's bytes begin */
    uint8_t *bytes;         /* all tokens end to end */
    size_t bytes_room;
    struct bpe_slot *slots; /* open addressing, at most half full */
    size_t mask;
};

/* Two ids in one word: they compare as (left, right) do. */
static inline uint64_t bpe_pair(int32_t left, int32_t right) { return (uint64_t)left << 32 | (uint32_t)right; }
static inline int32_t bpe_left(uint64_t pair) { return (int32_t)(pair >> 32); }
static inline int32_t bpe_right(uint64_t pair) { return (int32_t)(uint32_t)pair; }
static inline size_t bpe_hash(uint64_t pair)
{
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    return (size_t)(h ^ h >> 32);
}

/* The length of the word at s, 1 to BPE_WORD; n > 0. */
size_t bpe_word(const uint8_t *s, size_t n);

/* The 256 bytes and the boundary, with room for `room` ids. NULL without memory. */
struct bpe *bpe_new(int room);

/* The new id, or 0 without memory. The pair's ids are in use, and their bytes together a word at most. */
int32_t bpe_merge(struct bpe *b, uint64_t pair);

#endif
