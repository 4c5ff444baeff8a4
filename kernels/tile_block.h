/* tile_block.h — how AMX kernels cut y = x W^T: tokens into tiles, tiles into blocks of 2 x 2 that stay in registers. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TILE_BLOCK_H
#define QBENCH_TILE_BLOCK_H

#include "base.h"
#include "par.h"
#include "tile.h"

#if TILE
#include <immintrin.h>

#define TILE_INLINE static inline __attribute__((always_inline))

/* Ahead of loops whose index chooses a register: of tiles, or of an array that is to become registers. */
#ifdef __clang__
#define TILE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TILE_UNROLL _Pragma("GCC unroll 16")
#endif

/*
 * A product keeps the tile unit busy for 16 cycles, loading a tile takes the load ports 8, storing one the store port 16. So two
 * tiles of x by two of W, loaded once for four products, leave the ports half free; four accumulators cover the latency of 52.
 *
 *     for a block of tokens whose x stays in the L2 cache
 *         for a strip of two panels (32 outputs)
 *             for a span of columns, whose codes stay in the L1 cache
 *                 for two tiles of tokens: products of the whole span, while the next span's codes are fetched from memory
 *
 * W is read once for each block of tokens. Sums wait between spans in 1 KiB a tile, (rows, 16).
 */
enum {
    TILE_STRIP = 2,             /* panels */
    TILE_MOST = 32,             /* tiles of tokens in a block */
    TILE_X_BYTES = 5 << 18,     /* of x in a block */
    TILE_SPAN_BYTES = 512,      /* of a row of W, as the products want it: 16 KiB of a strip */
    TILE_WORDS = TILE_BYTES / 4
};

/* Literal, since the register numbers are. */
#define TILE_A0 4
#define TILE_A1 5
#define TILE_B0 6
#define TILE_B1 7

/* Tiles of equally many rows: one for few tokens, else an even number. The last ones overlap where m does not divide. */
struct tile_tokens {
    int m, rows, tiles;
};

static inline struct tile_tokens tile_tokens(int m)
{
    int tiles = m <= TILE_ROWS ? 1 : (m + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS) * 2;
    return (struct tile_tokens){m, (m + tiles - 1) / tiles, tiles};
}

/* The first token of tile t. */
static inline int tile_first(const struct tile_tokens *t, int tile) { return min_int(tile * t->rows, t->m - t->rows); }

/* How many blocks the tiles are cut into; row_bytes of a token. par_span cuts them. */
static inline int tile_blocks(const struct tile_tokens *t, size_t row_bytes)
{
    int most = min_int((int)(TILE_X_BYTES / (row_bytes * (size_t)t->rows)), TILE_MOST) / 2 * 2;
    return (t->tiles + max_int(most, 2) - 1) / max_int(most, 2);
}

/* What will be read soon: a few lines of both panels at every step, into the L2 cache. */
struct tile_ahead {
    const uint8_t *at[TILE_STRIP];
    int lines;
};

TILE_INLINE void tile_fetch(struct tile_ahead *f)
{
    for (int i = 0; i < f->lines; i++) {
        _mm_prefetch((const char *)f->at[0] + 64 * i, _MM_HINT_T1);
        _mm_prefetch((const char *)f->at[1] + 64 * i, _MM_HINT_T1);
    }
    f->at[0] += 64 * f->lines;
    f->at[1] += 64 * f->lines;
}

/* What a block of R x 2 tiles multiplies. */
struct tile_block {
    const uint8_t *a[2]; /* tiles of x: rows stand a_stride bytes apart */
    const uint8_t *b[2]; /* of W: rows are contiguous */
    size_t a_stride;
    int step_bytes;      /* of a's rows in one step; b moves 16 times that */
};

enum tile_kind { TILE_SIGNED, TILE_UNSIGNED /* W */, TILE_BF16 };

#define TILE_PRODUCT(kind, c, a, b)     \
    do {                                \
        if ((kind) == TILE_SIGNED)      \
            tile_dpbssd(c, a, b);       \
        else if ((kind) == TILE_UNSIGNED) \
            tile_dpbsud(c, a, b);       \
        else                            \
            tile_dpbf16ps(c, a, b);     \
    } while (0)

#define TILE_EACH(q, X) \
    switch (q) {        \
    case 0: X(0); break; \
    case 1: X(1); break; \
    case 2: X(2); break; \
    default: X(3); break; \
    }

/* Accumulator q: its sum goes to leaving (if any), and it starts again from zero, or from what stands at coming. */
TILE_INLINE void tile_turn(int q, void *leaving, const void *coming)
{
#define LEAVE(t) tile_store(t, leaving, TILE_ROW_BYTES)
#define COME(t) tile_load(t, coming, TILE_ROW_BYTES)
    if (leaving)
        TILE_EACH(q, LEAVE)
    if (coming)
        TILE_EACH(q, COME)
    else
        TILE_EACH(q, tile_zero)
#undef LEAVE
#undef COME
}

TILE_INLINE void tile_leave(int q, void *leaving)
{
#define LEAVE(t) tile_store(t, leaving, TILE_ROW_BYTES)
    TILE_EACH(q, LEAVE)
#undef LEAVE
}

/* Product q of step i, and the loads that it is the first to need: accumulator q is tile q / 2 of x by tile q % 2 of W. */
TILE_INLINE void tile_quarter(enum tile_kind kind, int q, const struct tile_block *k, size_t i)
{
    size_t a = i * (size_t)k->step_bytes, b = a * TILE_ROWS;
    switch (q) {
    case 0:
        tile_load(TILE_A0, k->a[0] + a, k->a_stride);
        tile_load(TILE_B0, k->b[0] + b, TILE_ROW_BYTES);
        TILE_PRODUCT(kind, 0, TILE_A0, TILE_B0);
        break;
    case 1:
        tile_load(TILE_B1, k->b[1] + b, TILE_ROW_BYTES);
        TILE_PRODUCT(kind, 1, TILE_A0, TILE_B1);
        break;
    case 2:
        tile_load(TILE_A1, k->a[1] + a, k->a_stride);
        TILE_PRODUCT(kind, 2, TILE_A1, TILE_B0);
        break;
    default: TILE_PRODUCT(kind, 3, TILE_A1, TILE_B1); break;
    }
}

/*
 * Steps [0,steps) into the accumulators, which continue from sum (zero if first). Those of the block before leave for before
 * (NULL: there is none) one by one, each just ahead of its first product here: then its last one has long been done.
 */
TILE_INLINE void tile_chain(enum tile_kind kind, const int R, const struct tile_block *k, int steps, const void *sum, bool first,
                            void *before, struct tile_ahead *f)
{
    tile_fetch(f);
    TILE_UNROLL
    for (int q = 0; q < 2 * R; q++) {
        size_t at = (size_t)q * TILE_BYTES;
        tile_turn(q, before ? (uint8_t *)before + at : NULL, first ? NULL : (const uint8_t *)sum + at);
        tile_quarter(kind, q, k, 0);
    }
    for (int i = 1; i < steps; i++) {
        tile_fetch(f);
        TILE_UNROLL
        for (int q = 0; q < 2 * R; q++)
            tile_quarter(kind, q, k, (size_t)i);
    }
}

#endif
#endif
