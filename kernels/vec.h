/* vec.h — the float vector primitives that the model path is made of, one table of them per instruction set. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_VEC_H
#define QBENCH_VEC_H

#include "base.h"

struct adamw_step {
    float lr, beta1, beta2, eps, decay, correction1, correction2, grad_scale;
};

/*
 * Everything between the linear layers: norms, softmax, attention's products, SwiGLU, the optimizer's step. Generic code is built for the
 * baseline ISA; these loops are not, and follow the same CPU mask as the kernels. Results of different
 * tables agree to a few ulp, not to the bit; one table is deterministic. Pointers need no alignment; n >= 0. NaN in is NaN
 * out, and -inf is a masked score: its softmax is 0 (all masked: all 0, and the log of the sum is -inf).
 */
struct vec {
    const char *name; /* "avx512" */
    uint32_t needs;
    float (*dot)(const float *a, const float *b, int n);
    void (*axpy)(float a, const float *x, float *y, int n); /* y += a x */
    /* x -> exp(x - max) / sum, in place; returns log(sum exp x) of the input */
    float (*softmax)(float *x, int n);
    /* log(sum exp x), x untouched */
    float (*logsumexp)(const float *x, int n);
    /* y = x / sqrt(mean(x^2) + eps) * w; returns 1 / sqrt(mean(x^2) + eps) */
    float (*rmsnorm)(const float *x, const float *w, float *y, int n, float eps);
    /* given r = the value rmsnorm returned: dx += d loss/d x, dw += d loss/d w */
    void (*rmsnorm_grad)(const float *x, const float *w, float r, const float *dy, float *dx, float *dw, int n);
    /* y = silu(gate) * up */
    void (*swiglu)(const float *gate, const float *up, float *y, int n);
    /* dgate, dup are overwritten */
    void (*swiglu_grad)(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int n);
    /* rotates (x[i], x[i + half]) by the angle whose cosine and sine stand in c[i], s[i], i < half; s negated inverts */
    void (*rope)(float *x, const float *c, const float *s, int half);
    /* AdamW (Loshchilov and Hutter 2019), decoupled decay: w -= lr * (mhat / (sqrt(vhat) + eps) + decay * w), with
     * m = b1 m + (1-b1) g s, v = b2 v + (1-b2) (g s)^2, mhat = m * c1, vhat = v * c2; s scales (clips) the gradient */
    void (*adamw)(float *w, const float *g, float *m, float *v, int n, const struct adamw_step *step);
    double (*sum_squares)(const float *x, int n);
    float (*max_abs)(const float *x, int n);

    /* What attention over blocks of positions is made of. */

    void (*scale)(float a, float *x, int n); /* x *= a */
    /* c (m, ldc) = a (m, lda) b (k, ldb), or += with add; n columns of b and c, k columns of a: blocks that stay in the nearest caches */
    void (*product)(const float *a, int lda, const float *b, int ldb, float *c, int ldc, int m, int n, int k, bool add);
    /*
     * One part of the scores of a softmax that sees the rest in other calls: x -> exp(x - max), with *max (from -inf) the
     * greatest so far and *sum (from 0) the sum of all exponentials so far, both in and out. Returns what earlier
     * exponentials must be multiplied by, now that the maximum may have grown.
     */
    float (*softmax_part)(float *x, int n, float *max, double *sum);
    void (*widen_fp16)(const uint16_t *x, float *y, int n);
    void (*widen_bf16)(const uint16_t *x, float *y, int n);
    /* y (rows, columns) = code * scale, by row_scale (rows) or, where that is NULL, by column_scale (columns) */
    void (*widen_int8)(const int8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *y);
    /* The same of x's low nibbles into low (rows, ldy) and of its high ones into high (rows, ldy), each code stored + 8. */
    void (*widen_int4)(const uint8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *low,
                       float *high, int ldy);
};

extern const struct vec vec_scalar, vec_avx2, vec_avx512; /* the functions of a table that was not built here are NULL */
extern const struct vec *const vecs[];  /* NULL-terminated, scalar first: for tests */
const struct vec *vec_get(void);        /* the best that the CPU and the mask allow */

#endif
