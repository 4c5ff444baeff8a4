/* fma_loops.h — gemm in f32 fused multiply-adds, whatever the weights are stored as; included by a kernel file after fma_<isa>.h. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FMA_LOOPS_H
#define QBENCH_FMA_LOOPS_H

#include "kernel.h"

#ifdef __AVX2__

/*
 * Many tokens are arithmetic, so weights and x are first laid out as the innermost loop reads them, a block at a time that stays in
 * the L2 cache: weights become floats once a block of tokens, x once a block of columns.
 *
 *     w   (column, row)        FMA_COLUMNS x FMA_ROWS
 *     x   tiles of T tokens    (column, T) each, all tiles together at most FMA_X floats
 *
 * A tile is T tokens x FMA_VECTORS vectors of rows in registers; sums over further blocks of columns meet in y.
 */
enum { FMA_VECTORS = 2, FMA_ROWS = FMA_VECTORS * FMA_LANES, FMA_COLUMNS = 256, FMA_X = 1 << 17 };

/* Up to so many tokens, converting weights anew for every tile beats laying them out. */
enum { FMA_FEW = 2 * FMA_TOKENS };

#define FMA_INLINE static inline __attribute__((always_inline))

/* Ahead of a loop over registers: only unrolled whole, and early, does an array become registers. */
#ifdef __clang__
#define FMA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FMA_UNROLL _Pragma("GCC unroll 12")
#endif

#ifdef __AVX512DQ__
#define FMA_EACH_TOKENS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#else
#define FMA_EACH_TOKENS(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif

/* w (columns, FMA_ROWS) = columns k0 .. of rows n .. ; what stands in rows from a->n1 on is not looked at. */
typedef void fma_weights(const struct gemm_args *a, int n, int k0, int columns, float *w);

struct fma_tile {
    const float *x, *w;
    int columns;
    float *y;
    int ldy, rows; /* rows of w that exist */
    bool more;     /* y holds the sum over earlier columns */
};

/* T and V are constants wherever this is inlined, so that acc is registers. */
FMA_INLINE void fma_multiply(const struct fma_tile *f, const int T, const int V)
{
    floats acc[FMA_TOKENS][FMA_VECTORS], w[FMA_VECTORS];
    const float *x = f->x, *wj = f->w;
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int v = 0; v < V; v++)
            acc[t][v] = all(0);
    for (int j = f->columns; j > 0; j--, x += T, wj += FMA_ROWS) {
        FMA_UNROLL
        for (int v = 0; v < V; v++)
            w[v] = load_full(wj + v * FMA_LANES);
        FMA_UNROLL
        for (int t = 0; t < T; t++)
            FMA_UNROLL
            for (int v = 0; v < V; v++)
                acc[t][v] = muladd(all(x[t]), w[v], acc[t][v]);
    }
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int v = 0; v < V; v++) {
            float *y = f->y + (size_t)t * (size_t)f->ldy + v * FMA_LANES;
            int left = f->rows - v * FMA_LANES;
            store(y, left, f->more ? add(acc[t][v], load(y, left)) : acc[t][v]);
        }
}

/* A function of its own for each number of tokens and vectors: fma_tiles[vectors - 1][tokens - 1]. */
typedef void fma_tile_fn(const struct fma_tile *f);
#define FMA_TILE(T, V) \
    static void fma_tile_##T##x##V(const struct fma_tile *f) { fma_multiply(f, T, V); }
#define FMA_TILE_1(T) FMA_TILE(T, 1)
#define FMA_TILE_2(T) FMA_TILE(T, 2)
#define FMA_TILE_NAME_1(T) fma_tile_##T##x1,
#define FMA_TILE_NAME_2(T) fma_tile_##T##x2,
FMA_EACH_TOKENS(FMA_TILE_1)
FMA_EACH_TOKENS(FMA_TILE_2)
static fma_tile_fn *const fma_tiles[FMA_VECTORS][FMA_TOKENS] = {{FMA_EACH_TOKENS(FMA_TILE_NAME_1)}, {FMA_EACH_TOKENS(FMA_TILE_NAME_2)}};

/* Columns j .. j+FMA_LANES-1 of token i, 0 where j + lane >= k. */
FMA_INLINE floats fma_x(const struct gemm_args *a, bool bf16, int i, int j)
{
    if (bf16) /* rows are zero padded */
        return load_bf16(a->xb + (size_t)i * (size_t)a->ldx + (size_t)j);
    return load(a->x + (size_t)i * (size_t)a->ldx + (size_t)j, a->k - j);
}

/* x (columns, T) = columns k0 .. of tokens i .. i+T-1; FMA_LANES floats more are scratch. */
FMA_INLINE void fma_lay_x(const struct gemm_args *a, bool bf16, int i, int T, int k0, int columns, float *x)
{
    floats v[FMA_LANES];
    for (int j = 0; j < columns && T == 1; j += FMA_LANES)
        store_full(x + j, fma_x(a, bf16, i, k0 + j));
    for (int j = 0; j < columns && T > 1; j += FMA_LANES) {
        for (int t = 0; t < FMA_LANES; t++)
            v[t] = t < T ? fma_x(a, bf16, i + t, k0 + j) : all(0);
        transpose(v);
        for (int c = 0; c < min_int(FMA_LANES, columns - j); c++) /* what stands beyond T is overwritten by the next */
            store_full(x + (size_t)(j + c) * (size_t)T, v[c]);
    }
}

/* The next tile of tokens [0,tokens), of nearly equal sizes: 13 tokens are 7 + 6, not 12 + 1. False: there is none. */
struct fma_turn {
    int tile, from, T;
};
FMA_INLINE bool fma_next(struct fma_turn *turn, int tokens)
{
    int count = (tokens + FMA_TOKENS - 1) / FMA_TOKENS, to;
    if (turn->tile == count)
        return false;
    par_span(tokens, 1, turn->tile++, count, &turn->from, &to);
    turn->T = to - turn->from;
    return true;
}

FMA_INLINE void fma_lay_tiles(const struct gemm_args *a, bool bf16, int i0, int tokens, int k0, int columns, float *x)
{
    for (struct fma_turn turn = {0}; fma_next(&turn, tokens);)
        fma_lay_x(a, bf16, i0 + turn.from, turn.T, k0, columns, x + (size_t)turn.from * (size_t)columns);
}

/* Many tokens. */
FMA_INLINE void fma_gemm(const struct gemm_args *a, bool bf16, fma_weights *weights)
{
    _Alignas(64) float x[FMA_X + FMA_LANES], w[FMA_COLUMNS * FMA_ROWS];
    struct fma_tile f = {.w = w, .ldy = a->ldy};
    int most = FMA_X / min_int(a->k, FMA_COLUMNS), blocks = (a->m + most - 1) / most;
    for (int block = 0, i0, i1; block < blocks; block++)
        for (int k0 = 0; k0 < a->k; k0 += FMA_COLUMNS) {
            par_span(a->m, 1, block, blocks, &i0, &i1);
            int tokens = i1 - i0;
            f.columns = min_int(FMA_COLUMNS, a->k - k0);
            f.more = k0 > 0;
            fma_lay_tiles(a, bf16, i0, tokens, k0, f.columns, x);
            for (int n = a->n0; n < a->n1; n += FMA_ROWS) {
                weights(a, n, k0, f.columns, w);
                f.rows = min_int(a->n1 - n, FMA_ROWS);
                for (struct fma_turn turn = {0}; fma_next(&turn, tokens);) {
                    f.x = x + (size_t)turn.from * (size_t)f.columns;
                    f.y = a->y + (size_t)(i0 + turn.from) * (size_t)a->ldy + (size_t)n;
                    fma_tiles[f.rows > FMA_LANES][turn.T - 1](&f);
                }
            }
        }
}

/*
 * Few tokens are a stream of weights through memory. Four panels of 16 rows are taken side by side, 32 columns (or what is left of a
 * group) of each in turn: where arithmetic takes about as long as reading, one stream at a time leaves memory idle now and then,
 * four do not. Prefetches cross the page ends at which the hardware's own stop.
 */
enum { FMA_PANEL = 16, FMA_PARTS = FMA_PANEL / FMA_LANES, FMA_STREAMS = 4, FMA_CHUNK = 32, FMA_AHEAD = 1024 };

struct fma_stream {
    const struct gemm_args *a;
    const void *layout;
    int columns, group; /* as stored; columns a scale */
    int i;              /* the first token */
    const float *x;     /* (columns, T) */
    const float *x_sum; /* (chunks, T) sums of x, if the weights have shifts */
};

/* y (T, FMA_PANEL) += the product with columns j .. j+columns-1, of one group, of the panel at n; x and x_sum are theirs. */
typedef void fma_chunk(const struct fma_stream *s, int n, int j, int columns, const float *x, const float *x_sum, float *y, const int T);

/* Where the chunk that begins at j ends. */
FMA_INLINE int fma_chunk_end(const struct fma_stream *s, int j)
{
    return min_int(min_int(j + FMA_CHUNK, s->columns), (j / s->group + 1) * s->group);
}

FMA_INLINE void fma_stream(const struct fma_stream *s, fma_chunk *chunk, const int T)
{
    _Alignas(64) float y[FMA_STREAMS * FMA_TOKENS * FMA_PANEL];
    const struct gemm_args *a = s->a;
    for (int n = a->n0; n < a->n1; n += FMA_STREAMS * FMA_PANEL) {
        int panels = min_int(FMA_STREAMS, (a->n1 - n + FMA_PANEL - 1) / FMA_PANEL);
        const float *x_sum = s->x_sum;
        for (int i = 0; i < panels * T * FMA_PANEL; i += FMA_LANES)
            store_full(y + i, all(0));
        for (int j = 0, end; j < s->columns; j = end, x_sum += T) {
            end = fma_chunk_end(s, j);
            for (int p = 0; p < panels; p++)
                chunk(s, n + p * FMA_PANEL, j, end - j, s->x + (size_t)j * T, x_sum, y + p * T * FMA_PANEL, T);
        }
        for (int i = 0; i < panels * T * FMA_PARTS; i++) {
            int at = i * FMA_LANES, row = at / (T * FMA_PANEL) * FMA_PANEL + at % FMA_PANEL, t = at / FMA_PANEL % T;
            float *to = a->y + (size_t)(s->i + t) * (size_t)a->ldy + n + row;
            store(to, a->n1 - n - row, load_full(y + at));
        }
    }
}

static inline bool fma_few(const struct gemm_args *a) { return a->m <= FMA_FEW && (size_t)a->m * round_up((size_t)a->k, 8) <= FMA_X; }

/* x_sum (chunks, T), in four sums against the latency of the additions. */
static inline void fma_sum_x(const struct fma_stream *s, int T, float *x_sum)
{
    const float *x = s->x;
    for (int j = 0, end; j < s->columns; j = end, x_sum += T) {
        floats sum[4] = {all(0), all(0), all(0), all(0)};
        end = fma_chunk_end(s, j);
        for (int c = j; c < end; c += 4)
            for (int i = 0; i < 4; i++, x += T)
                sum[i] = add(sum[i], load_full(x));
        store(x_sum, T, add(add(sum[0], sum[1]), add(sum[2], sum[3])));
    }
}

/* A function of its own for each number of tokens. */
typedef void fma_stream_fn(const struct fma_stream *s);

/* columns: k in whole steps or pairs, x is 0 there; group: columns a scale, a multiple of 8 if weights have shifts. */
FMA_INLINE void fma_streams(const struct gemm_args *a, const void *layout, int columns, int group,
                            fma_stream_fn *const streams[FMA_TOKENS])
{
    _Alignas(64) float x[FMA_X + FMA_LANES], x_sum[FMA_X / 8];
    struct fma_stream s = {.a = a, .layout = layout, .columns = columns, .group = group};
    fma_lay_tiles(a, true, 0, a->m, 0, s.columns, x);
    for (struct fma_turn turn = {0}; fma_next(&turn, a->m);) {
        s.i = turn.from;
        s.x = x + (size_t)turn.from * (size_t)s.columns;
        s.x_sum = x_sum;
        if (a->shift)
            fma_sum_x(&s, turn.T, x_sum);
        streams[turn.T - 1](&s);
    }
}

#endif
#endif
