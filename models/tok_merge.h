/* tok_merge.h — byte-pair merging over ids: which pair becomes what, and doing it to a word, lowest rank first. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_MERGE_H
#define QBENCH_TOK_MERGE_H

#include "base.h"

/* Every tokenizer here comes down to this: SentencePiece's scores too are ranks of pairs, one for each way to cut a piece in two. */
struct merge_slot {
    int32_t left, right;
    uint32_t rank;
    int32_t id; /* of both together; -1: the slot is free */
};

struct merge_table {
    struct merge_slot *slots; /* owned; open addressing, at most half full */
    size_t mask;
};

/* Room for `count` pairs. False: no memory. */
bool merge_table_init(struct merge_table *t, size_t count);
void merge_table_free(struct merge_table *t);
/* False when the pair is there already. */
bool merge_table_add(struct merge_table *t, int32_t left, int32_t right, uint32_t rank, int32_t id);

/* Memory that merging long words needs; grows as it must. */
struct merge_room {
    struct merge_link *links;
    struct merge_candidate *heap;
    size_t room; /* ids that both suffice for */
};
void merge_room_free(struct merge_room *r);

/* Merges the n ids of a word in place: always the pair of the lowest rank, the leftmost among equals. Returns how many are left;
 * SIZE_MAX: no memory. O(n log n). */
size_t merge_word(const struct merge_table *t, struct merge_room *r, int32_t *id, size_t n);

#endif
