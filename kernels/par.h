/* par.h — a fixed team of pinned threads that run one function together. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PAR_H
#define QBENCH_PAR_H

#include "base.h"

/*
 * The caller is thread 0. Workers spin briefly for the next call, then sleep, so that decoding a small model is not
 * slower on two threads than on one, and an idle team costs nothing. A team is used by one caller at a time.
 */
struct par;

/* threads >= 1. Threads are pinned to the CPUs this process may use, in order; more threads than CPUs are not pinned. */
enum status par_open(struct par **p, int threads, struct err *e);
void par_close(struct par *p);
int par_threads(const struct par *p);

/* Calls fn(ctx, thread, threads) on every thread and returns when all have returned. */
void par_run(struct par *p, void (*fn)(void *ctx, int thread, int threads), void *ctx);

/* This thread's share [begin,end) of total, cut at multiples of step. */
void par_span(int total, int step, int thread, int threads, int *begin, int *end);

#endif
