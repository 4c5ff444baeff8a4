/* batches.h — what a model is trained and validated on: a tokenizer, random batches of one split, fixed windows of another. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BATCHES_H
#define QBENCH_BATCHES_H

#include "text.h"

struct batches {
    int batch, seq;
    struct tokens stream;       /* SPLIT_TRAIN */
    int32_t *inputs, *targets;  /* (batch, seq) owned: the last drawn */
    int32_t *valid_inputs, *valid_targets; /* (valid_count, batch, seq) owned: SPLIT_VALID in order; -1 pads the last batch */
    int valid_count;
};

/* Merges are learned from SPLIT_TRAIN alone, so that no other split has been looked at. */
enum status batches_tokenizer(struct tokenizer **t, const struct corpus *c, int vocab, struct err *e);

/* ST_EUSAGE when a split is too short. A zeroed struct is valid to close. valid_tokens: most that are kept for validation. */
enum status batches_open(struct batches *b, const struct corpus *c, struct tokenizer *tokenizer, int batch, int seq,
                         size_t valid_tokens, struct err *e);
void batches_close(struct batches *b);

/* Fills inputs and targets with sequences at random offsets; targets are the next tokens. */
void batches_draw(struct batches *b, struct rng *r);

#endif
