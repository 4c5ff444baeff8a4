/* f32_loops.h — gemm over float weights where they lie, row by row; included after fma_<isa>.h. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_F32_LOOPS_H
#define QBENCH_F32_LOOPS_H

#include <string.h>

#include "fma_loops.h"

#ifdef __AVX2__

/* Few tokens: dot products along k of four rows, four streams through memory, with as many tokens as leave their sums in registers.
 * More tokens than F32_FEW: transposing a block of rows pays. */
enum { F32_ROWS = 4, F32_TOKENS = 2 * FMA_TOKENS / F32_ROWS, F32_FEW = 2 * F32_TOKENS, F32_AHEAD = 256 };

/* Nothing is packed: the blob holds the address of the row-major weights. */
static inline size_t f32_size(const struct qlinear *q) { return sizeof q->dense; }
static inline void f32_pack(void *dst, const struct qlinear *q) { memcpy(dst, &q->dense, sizeof q->dense); }
static inline const float *f32_row(const struct gemm_args *a, int n)
{
    const float *dense;
    memcpy(&dense, a->w, sizeof dense);
    return dense + (size_t)n * (size_t)a->k;
}

/* Rows are short streams here: prefetches run on into the same columns of the rows that are wanted next. */
static inline void f32_weights(const struct gemm_args *a, int n, int k0, int columns, float *w)
{
    floats v[FMA_LANES];
    for (int from = 0; from < FMA_ROWS && n + from < a->n1; from += FMA_LANES)
        for (int j = 0; j < columns; j += FMA_LANES) {
            int ahead = j + F32_AHEAD;
            size_t jump = ahead < columns ? (size_t)ahead : (size_t)FMA_ROWS * (size_t)a->k + (size_t)(ahead - columns);
            for (int r = 0; r < FMA_LANES; r++) {
                int row = min_int(n + from + r, a->n1 - 1); /* rows beyond the last are not looked at */
                const float *wr = f32_row(a, row) + k0;
                _mm_prefetch((const char *)wr + jump * sizeof *wr, _MM_HINT_T1);
                v[r] = load(wr + j, columns - j);
            }
            transpose(v);
            for (int c = 0; c < FMA_LANES; c++)
                store_full(w + (size_t)(j + c) * FMA_ROWS + from, v[c]);
        }
}

/* Rows n .. of which the last may come again, with tokens i .. i+T-1. */
FMA_INLINE void f32_dots(const struct gemm_args *a, int n, int i, const int T)
{
    const float *w[F32_ROWS], *x = a->x + (size_t)i * (size_t)a->ldx;
    floats acc[F32_ROWS][F32_TOKENS];
    FMA_UNROLL
    for (int r = 0; r < F32_ROWS; r++) {
        w[r] = f32_row(a, min_int(n + r, a->n1 - 1));
        FMA_UNROLL
        for (int t = 0; t < T; t++)
            acc[r][t] = all(0);
    }
    int j = 0;
    for (; j + FMA_LANES <= a->k; j += FMA_LANES)
        FMA_UNROLL
        for (int r = 0; r < F32_ROWS; r++) {
            floats wr = load_full(w[r] + j);
            _mm_prefetch((const char *)(w[r] + j) + FMA_AHEAD, _MM_HINT_T0);
            FMA_UNROLL
            for (int t = 0; t < T; t++)
                acc[r][t] = muladd(load_full(x + (size_t)t * (size_t)a->ldx + j), wr, acc[r][t]);
        }
    for (; j < a->k; j += FMA_LANES)
        FMA_UNROLL
        for (int r = 0; r < F32_ROWS; r++)
            FMA_UNROLL
            for (int t = 0; t < T; t++)
                acc[r][t] = muladd(load(x + (size_t)t * (size_t)a->ldx + j, a->k - j), load(w[r] + j, a->k - j), acc[r][t]);
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int r = 0; r < F32_ROWS; r++)
            if (n + r < a->n1)
                a->y[(size_t)(i + t) * (size_t)a->ldy + (size_t)(n + r)] = total(acc[r][t]);
}

static inline void f32_few(const struct gemm_args *a, int n, int i, int T)
{
    switch (T) {
    case 1: f32_dots(a, n, i, 1); break;
    case 2: f32_dots(a, n, i, 2); break;
    case 3: f32_dots(a, n, i, 3); break;
#ifdef __AVX512DQ__
    case 4: f32_dots(a, n, i, 4); break;
    case 5: f32_dots(a, n, i, 5); break;
    case 6: f32_dots(a, n, i, 6); break;
#endif
    }
}

static inline void f32_gemm(const struct gemm_args *a)
{
    if (a->m > F32_FEW) {
        fma_gemm(a, false, f32_weights);
        return;
    }
    int count = (a->m + F32_TOKENS - 1) / F32_TOKENS;
    for (int n = a->n0; n < a->n1; n += F32_ROWS)
        for (int b = 0; b < count; b++) {
            int from, to;
            par_span(a->m, 1, b, count, &from, &to);
            f32_few(a, n, from, to - from);
        }
}

#endif
#endif
