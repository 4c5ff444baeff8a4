/* sample.h — the next token from logits: the most likely, or drawn with temperature, top-k and top-p. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SAMPLE_H
#define QBENCH_SAMPLE_H

#include "base.h"

/*
 * Probabilities are softmax(logits / temperature). top_k keeps the k most likely tokens, then top_p the fewest of these whose shares of them
 * together reach p (Holtzman et al. 2020); of equal logits the lower id comes first. Same seed, same logits, same tokens.
 */
struct sampling {
    double temperature; /* 0: always the most likely token */
    int top_k;          /* 0: all */
    double top_p;       /* 1: all */
    uint64_t seed;
};

struct sampler;

/* ST_EUSAGE names what is out of range. */
enum status sampler_open(struct sampler **s, const struct sampling *how, int vocab, struct err *e);
int32_t sampler_next(struct sampler *s, const float *logits); /* (vocab) finite */
void sampler_close(struct sampler *s);

#endif
