/* problem.h — one layer and its activations with a known right answer, for every test of kernels. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PROBLEM_H
#define QBENCH_PROBLEM_H

#include "gemm.h"

/* largest: every product has the same sign and the largest size; signs: the largest size, random signs.
 * subnormal: x, or the weights where they are float, below 2^-126; an odd m makes it both. */
enum fill { FILL_RANDOM, FILL_LARGEST, FILL_SIGNS, FILL_COUNT, FILL_SUBNORMAL = FILL_COUNT };

struct problem {
    enum format format;
    int m, n, k, group, ldx, ldy;
    enum fill fill;
    struct qlinear q;
    float *dense, *x, *y, *expected;
    float *x_memory;
};

/* Room for whatever a kernel eats. */
enum status problem_reserve(struct acts *a, int m, int k, int group, struct err *e);

/* Odd n have shifts, even m a γ. What cannot be had fails the test. */
void problem_open(struct problem *p, enum format format, int m, int n, int k, int group, enum fill fill, struct rng *r);
void problem_close(struct problem *p);

/* What a kernel of this act has to answer. */
void problem_expect(struct problem *p, enum act act);

/* Opens the layer for k, runs it on the team and checks every y, and that nothing else was written; fails with the problem in
 * words, seed and ISA level included. */
void problem_run(const struct problem *p, const struct kernel *k, struct acts *a, struct par *team, int seed);

#endif
