/* decoder_ref.h — the decoder once more, in double and without any cleverness: what the tests judge the fast one by. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_DECODER_REF_H
#define QBENCH_DECODER_REF_H

#include "weights.h"

void ref_norm(const double *x, const double *w, int n, int dim, double eps, double *y);
void ref_linear(const double *x, const double *w, int n, int rows, int cols, double *y); /* y (n,rows) = x w^T */
/* the first `heads` heads of each row of x (n,ld) */
void ref_rope(double *x, double base, int n, int seq, int heads, int head_dim, int ld);
/* one sequence: qkv (seq, (heads + 2 kv) head_dim) */
void ref_attention(const double *qkv, int seq, int heads, int kv_heads, int head_dim, double *out);
void ref_swiglu(const double *gu, int n, int ffn, double *y); /* gu (n, 2 ffn) */
double ref_loss(const double *x, const double *head, const int32_t *targets, int n, int dim, int vocab); /* sum of NLL */

/*
 * Quantized activations: a first pass records what int8 rounding adds to each linear's input, later passes add the same again.
 * The straight-through gradient is then the true gradient of those later passes, which differences can check.
 */
struct ref_rounding {
    double *delta; /* owned by the caller: ref_rounding_count doubles; NULL: activations stay as they are */
    bool record;
    size_t at;
    void (*kv)(double *x, int n); /* what a cache makes of one head's key (rotated) or value, in place; NULL: nothing */
};
size_t ref_rounding_count(const struct model_config *c, int tokens);

/* Mean NLL. params: laid out as shape->data is. rounding: NULL = everything in float. */
double ref_decoder(const struct weights *shape, const double *params, const int32_t *inputs, const int32_t *targets, int batch,
                   int seq, struct ref_rounding *rounding);

#endif
