/* bf16_loops.h — bf16 weights as floats, and a stream of them against one token; included after fma_<isa>.h. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BF16_LOOPS_H
#define QBENCH_BF16_LOOPS_H

#include "fma_loops.h"
#include "panel_bf16.h"

#ifdef __AVX2__

/* Columns of a pair, 64 bytes, are FMA_PARTS vectors. */
enum { BF16_LINE = BF16_ROWS * BF16_PAIR };

static inline void bf16_weights(const struct gemm_args *a, int n, int k0, int columns, float *w)
{
    for (int v = 0; v < FMA_VECTORS && n + v * FMA_LANES < a->n1; v++) {
        int row = n + v * FMA_LANES, lane = row % BF16_ROWS;
        const uint16_t *pair = bf16_panel(a, row - lane) + (size_t)(k0 / BF16_PAIR) * BF16_LINE + BF16_PAIR * lane;
        float *to = w + v * FMA_LANES;
        for (int j = 0; j < columns; j += BF16_PAIR, pair += BF16_LINE, to += BF16_PAIR * FMA_ROWS) {
            _mm_prefetch((const char *)pair + FMA_AHEAD, _MM_HINT_T0);
            store_full(to, pair_low(load_ints(pair)));
            store_full(to + FMA_ROWS, pair_high(load_ints(pair)));
        }
    }
}

/* While there are registers, even and odd columns have sums of their own, against the latency of the additions. */
FMA_INLINE void bf16_chunk(const struct fma_stream *s, int n, int j, int columns, const float *x, const float *x_sum, float *y,
                           const int T)
{
    const int sums = T * FMA_PARTS * BF16_PAIR <= 2 * FMA_TOKENS ? BF16_PAIR : 1;
    const uint16_t *w = bf16_panel(s->a, n) + (size_t)(j / BF16_PAIR) * BF16_LINE;
    floats acc[FMA_TOKENS][FMA_PARTS][BF16_PAIR];
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int v = 0; v < FMA_PARTS; v++) {
            acc[t][v][0] = load_full(y + t * FMA_PANEL + v * FMA_LANES);
            acc[t][v][1] = all(0);
        }
    for (; columns > 0; columns -= BF16_PAIR, w += BF16_LINE, x += BF16_PAIR * T) {
        _mm_prefetch((const char *)w + FMA_AHEAD, _MM_HINT_T0);
        FMA_UNROLL
        for (int v = 0; v < FMA_PARTS; v++) {
            ints pairs = load_ints(w + BF16_PAIR * FMA_LANES * v);
            FMA_UNROLL
            for (int t = 0; t < T; t++)
                acc[t][v][0] = muladd(all(x[t]), pair_low(pairs), acc[t][v][0]);
            FMA_UNROLL
            for (int t = 0; t < T; t++)
                acc[t][v][sums - 1] = muladd(all(x[T + t]), pair_high(pairs), acc[t][v][sums - 1]);
        }
    }
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int v = 0; v < FMA_PARTS; v++)
            store_full(y + t * FMA_PANEL + v * FMA_LANES, sums == 1 ? acc[t][v][0] : add(acc[t][v][0], acc[t][v][1]));
}

#define BF16_STREAM(T) \
    static void bf16_stream_##T(const struct fma_stream *s) { fma_stream(s, bf16_chunk, T); }
#define BF16_STREAM_NAME(T) bf16_stream_##T,
FMA_EACH_TOKENS(BF16_STREAM)
static fma_stream_fn *const bf16_streams[FMA_TOKENS] = {FMA_EACH_TOKENS(BF16_STREAM_NAME)};

static inline void bf16_gemm(const struct gemm_args *a)
{
    int columns = BF16_PAIR * bf16_pairs(a->k);
    if (fma_few(a))
        fma_streams(a, NULL, columns, columns, bf16_streams);
    else
        fma_gemm(a, true, bf16_weights);
}

#endif
#endif
