/* adamw.h — the optimizer: AdamW over a whole arena of weights, on a team of threads. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_ADAMW_H
#define QBENCH_ADAMW_H

#include "par.h"
#include "weights.h"

/* Loshchilov and Hutter 2019; decay reaches matrices, not norms. The moments are shaped like the weights: save them to resume. */
struct adamw {
    float beta1, beta2, decay;
    struct weights *m, *v;     /* owned */
    struct segment *segments;  /* owned: stretches of the arena with and without decay, in turn */
    int segment_count;
    double *partial;           /* (threads) owned */
    struct par *par;           /* borrowed */
};

/* A zeroed struct is valid to close. */
enum status adamw_open(struct adamw *a, const struct weights *w, double beta1, double beta2, double decay, struct par *p,
                       struct err *e);
void adamw_close(struct adamw *a);

/* The Euclidean norm of all gradients, summed in double in an order that the thread count fixes. */
double adamw_norm(struct adamw *a, const struct weights *grads);

/* One step with learning rate lr; step counts from 0; gradients are scaled first. */
void adamw_update(struct adamw *a, struct weights *w, const struct weights *grads, long step, double lr, double grad_scale);

#endif
