/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_bf16.h"
#include "tile_block.h"

#define DESCRIPTION                                                                                  \
    .name = "bf16_amx", .title = "AMX tiles, 8192 products an instruction", .format = FORMAT_BF16,   \
    .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI | ISA_AMX_BF16, .act = ACT_BF16, .n_step = BF16_ROWS, .k_step = 1, .many = true

#if !TILE
const struct kernel kernel_bf16_amx = {DESCRIPTION, .absent = "this build has no AMX code (not x86-64)"};
#else

/* A panel is tiles as it stands: 16 pairs of columns, 16 rows, 1 KiB. */
enum { BF16_STEP = TILE_ROW_BYTES / 2, BF16_SPAN = TILE_SPAN_BYTES / 2 /* columns */ };

struct bf16_room {
    _Alignas(64) uint16_t pairs[TILE_STRIP][BF16_SPAN * BF16_ROWS];
    _Alignas(64) float sum[TILE_MOST][TILE_STRIP][TILE_WORDS];
};

struct bf16 {
    const struct gemm_args *a;
    struct tile_tokens tokens;
    int t0, t1; /* this block's tiles of tokens */
    int n;      /* this strip's first output */
    const uint16_t *panel[TILE_STRIP]; /* an odd last one stands here twice */
    struct bf16_room *room;
};

static int bf16_at_once(const struct bf16 *x) { return min_int(x->tokens.tiles, 2); }

/* b = a span's columns, padded with zeros where they do not fill its last step: x is zero there, but what follows may be NaN. */
static void bf16_span(const struct bf16 *x, struct tile_block *k, int from, int columns)
{
    int pairs = bf16_pairs(columns), missing = columns % BF16_STEP ? BF16_STEP - columns % BF16_STEP : 0;
    for (int p = 0; p < TILE_STRIP; p++) {
        const uint16_t *panel = x->panel[p] + (size_t)from * BF16_ROWS;
        size_t used = (size_t)pairs * BF16_PAIR * BF16_ROWS;
        k->b[p] = (const uint8_t *)panel;
        if (!missing)
            continue;
        uint16_t *copy = x->room->pairs[p];
        memcpy(copy, panel, used * sizeof *copy);
        memset(copy + used, 0, (size_t)(missing / BF16_PAIR) * BF16_PAIR * BF16_ROWS * sizeof *copy);
        k->b[p] = (const uint8_t *)copy;
    }
}

/* The columns behind these, or the next strip's first, a few lines at each step. */
static struct tile_ahead bf16_ahead(const struct bf16 *x, int column, int columns, int portions)
{
    size_t strip = TILE_STRIP * bf16_panel_bytes(x->a->k), at = column < x->a->k ? (size_t)column * BF16_ROWS * sizeof(uint16_t) : strip;
    int lines = (bf16_pairs(columns) + portions - 1) / portions;
    return (struct tile_ahead){{(const uint8_t *)x->panel[0] + at, (const uint8_t *)x->panel[1] + at}, lines};
}

TILE_INLINE void bf16_tiles(const struct bf16 *x, const int R, struct tile_block *k, int from, int columns)
{
    int steps = (columns + BF16_STEP - 1) / BF16_STEP;
    struct tile_ahead f = bf16_ahead(x, from + columns, columns, (x->t1 - x->t0) / R * steps);
    uint8_t *before = NULL;
    k->a_stride = (size_t)x->a->ldx * sizeof *x->a->xb;
    k->step_bytes = TILE_ROW_BYTES;
    for (int t = x->t0; t < x->t1; t += R) {
        void *sum = x->room->sum[t - x->t0];
        for (int r = 0; r < R; r++)
            k->a[r] = (const uint8_t *)(x->a->xb + (size_t)tile_first(&x->tokens, t + r) * (size_t)x->a->ldx + (size_t)from);
        tile_chain(TILE_BF16, R, k, steps, sum, from == 0, before, &f);
        before = sum;
    }
    TILE_UNROLL
    for (int q = 0; q < 2 * R; q++)
        tile_leave(q, before + q * TILE_BYTES);
}

static void bf16_write(const struct bf16 *x)
{
    const struct gemm_args *a = x->a;
    for (int t = x->t0; t < x->t1; t++)
        for (int p = 0; p < TILE_STRIP; p++) {
            int n = x->n + p * BF16_ROWS, outputs = min_int(a->n1 - n, BF16_ROWS);
            float *y = a->y + (size_t)tile_first(&x->tokens, t) * (size_t)a->ldy + (size_t)n;
            for (int r = 0; r < x->tokens.rows && outputs > 0; r++, y += a->ldy)
                _mm512_mask_storeu_ps(y, (__mmask16)((1u << outputs) - 1), _mm512_load_ps(x->room->sum[t - x->t0][p] + 16 * r));
        }
}

static void bf16_block(struct bf16 *x)
{
    const struct gemm_args *a = x->a;
    struct tile_block k;
    for (x->n = a->n0; x->n < a->n1; x->n += TILE_STRIP * BF16_ROWS) {
        x->panel[0] = bf16_panel(a, x->n);
        x->panel[1] = x->n + BF16_ROWS < a->n1 ? bf16_panel(a, x->n + BF16_ROWS) : x->panel[0];
        for (int from = 0; from < a->k; from += BF16_SPAN) {
            int columns = min_int(BF16_SPAN, a->k - from);
            bf16_span(x, &k, from, columns);
            if (bf16_at_once(x) == 2)
                bf16_tiles(x, 2, &k, from, columns);
            else
                bf16_tiles(x, 1, &k, from, columns);
        }
        bf16_write(x);
    }
}

static void bf16_gemm(const struct gemm_args *a)
{
    struct bf16_room room;
    struct bf16 x = {.a = a, .tokens = tile_tokens(a->m), .room = &room};
    struct tile_config shapes = tile_shapes(x.tokens.rows, TILE_ROW_BYTES);
    tile_configure(&shapes);
    int blocks = tile_blocks(&x.tokens, (size_t)a->ldx * sizeof *a->xb);
    for (int b = 0; b < blocks; b++) {
        par_span(x.tokens.tiles, bf16_at_once(&x), b, blocks, &x.t0, &x.t1);
        bf16_block(&x);
    }
    tile_release();
}

const struct kernel kernel_bf16_amx = {DESCRIPTION, .packed_size = bf16_size, .pack = bf16_pack, .gemm = bf16_gemm};
#endif
