/* attend.h — causal attention over the cache: blocks of positions, an online softmax, no matrix of all scores. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_ATTEND_H
#define QBENCH_ATTEND_H

#include "kvcache.h"
#include "par.h"

/*
 * As FlashAttention (Dao et al. 2022) does it: scores of a tile of queries with some hundred positions at a time, a running
 * maximum and sum for every query, outputs scaled when the maximum grows. A tile holds a few queries of all the query heads
 * that share a kv head, so that keys and values are read, and widened from their format, once for all of them.
 *
 * One token a sequence (decoding) has too few tiles for many threads, so its positions are split into ranges, whose partial
 * outputs are merged (Flash-Decoding, Dao et al. 2023). Ranges depend on the number of positions alone: results are the same bits for any
 * number of threads and any batch.
 */
struct attend;

/* c is borrowed. heads: of queries, a multiple of the cache's. */
enum status attend_open(struct attend **a, const struct kvcache *c, int heads, int threads, struct err *e);
void attend_close(struct attend *a);

/*
 * q, out (batch, tokens, heads * head_dim): q rotated. Token i of a sequence sees positions [0, position + i], which
 * the cache holds. p: of at most `threads` threads; NULL: this thread alone.
 */
void attend_run(struct attend *a, struct par *p, int layer, const float *q, int tokens, int position, float *out);

/* Multiplications and additions of attend_run for one layer, for deciding whether threads are worth waking. */
double attend_ops(const struct attend *a, int tokens, int position);

#endif
