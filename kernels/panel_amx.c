/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#include "tile_block.h"

#if TILE

/*
 * Two ways to a group's scale, since the tile unit only adds integers. Sums of long groups (and of whole rows) stay in tiles for a
 * span of columns and are scaled at the group's end. Those of short groups leave after a product or two, and scaling them is as much
 * work for the vector unit as making them for the tile unit. So that both are busy, a turn multiplies four groups of one block of
 * tiles and scales, between its products, the four groups of the block before: tile by tile, its floats in registers.
 */
enum {
    AMX_SHORT = 128,         /* columns of a group that is short */
    AMX_TURN = 4,            /* groups */
    AMX_TURNS_COLUMNS = 256, /* in a span, where one turn takes fewer */
    AMX_SCALES = 32,         /* most groups in a span: of 8 columns */
    AMX_CELLS = 16
};

struct amx_room {
    _Alignas(64) int8_t lines[TILE_STRIP][TILE_SPAN_BYTES * PANEL_ROWS];
    _Alignas(64) float s[TILE_MOST][TILE_STRIP][TILE_WORDS]; /* the floats of a strip: tiles of y before x_scale */
    union {
        _Alignas(64) int32_t sum[TILE_MOST][TILE_STRIP][TILE_WORDS];
        int32_t cell[AMX_CELLS][TILE_WORDS];
    };
    _Alignas(64) float scale[2][AMX_SCALES][2][TILE_STRIP][PANEL_ROWS]; /* of two spans by turns: scales, shifts */
};

struct amx {
    const struct gemm_args *a;
    const struct amx_codes *codes;
    struct panel p;
    struct tile_tokens tokens;
    int width;                        /* columns of a tile step: divides a group, and 64 */
    int t0, t1;                       /* this block's tiles of tokens */
    int n;                            /* this strip's first output */
    const uint8_t *panel[TILE_STRIP]; /* an odd last one stands here twice */
    int sum_at[TILE_ROWS];            /* of a row's x_sum from its tile's first; rows past the last repeat it */
    struct amx_room *room;
};

static bool is_long(const struct amx *x) { return x->a->group == 0 || x->a->group > AMX_SHORT; }

static int tiles_at_once(const struct amx *x) { return min_int(x->tokens.tiles, 2); }

static const uint8_t *codes_at(const struct amx *x, int p, int column)
{
    return x->panel[p] + (size_t)(column / x->p.step_columns) * x->p.step_bytes;
}

/* b = the codes of a span, as they stand or unpacked. Beyond the last column x is zero, and codes may be anything. */
static void set_codes(const struct amx *x, struct tile_block *k, int from, int columns)
{
    bool ready = x->codes->ready && is_long(x);
    for (int p = 0; p < TILE_STRIP; p++) {
        int8_t *lines = x->room->lines[p];
        k->b[p] = (const uint8_t *)lines;
        if (p > 0 && x->panel[p] == x->panel[0])
            k->b[p] = k->b[0];
        else if (!ready)
            x->codes->unpack(codes_at(x, p, from), columns / x->p.step_columns, lines);
        else if (columns % x->width)
            memcpy(lines, codes_at(x, p, from), (size_t)columns * PANEL_ROWS);
        else
            k->b[p] = codes_at(x, p, from);
    }
}

static void set_tokens(const struct amx *x, struct tile_block *k, int t, int column)
{
    k->a_stride = (size_t)x->a->ldx;
    k->step_bytes = x->width;
    for (int r = 0; r < tiles_at_once(x); r++)
        k->a[r] = (const uint8_t *)x->a->xq + (size_t)tile_first(&x->tokens, t + r) * k->a_stride + column;
}

/* A span's worth of codes from column on, here or in the next strip, in so many portions. */
static struct tile_ahead ahead(const struct amx *x, int column, int columns, int portions)
{
    struct tile_ahead f;
    size_t lines = (size_t)(columns / x->p.step_columns) * x->p.step_bytes / 64;
    for (int p = 0; p < TILE_STRIP; p++)
        f.at[p] = column < x->p.columns ? codes_at(x, p, column) : x->panel[p] + TILE_STRIP * x->p.bytes;
    f.lines = (int)((lines + (size_t)portions - 1) / (size_t)portions);
    return f;
}

static __m512 values(const uint8_t *at, bool half)
{
    return half ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)) : _mm512_loadu_ps(at);
}

/* Long groups */

TILE_INLINE void chain_tiles(const struct amx *x, enum tile_kind kind, const int R, struct tile_block *k, int from, int columns, bool first)
{
    int steps = (columns + x->width - 1) / x->width;
    struct tile_ahead f = ahead(x, from + columns, columns, (x->t1 - x->t0) / R * steps);
    uint8_t *before = NULL;
    for (int t = x->t0; t < x->t1; t += R) {
        void *sum = x->room->sum[t - x->t0];
        set_tokens(x, k, t, from);
        tile_chain(kind, R, k, steps, sum, first, before, &f);
        before = sum;
    }
    TILE_UNROLL
    for (int q = 0; q < 2 * R; q++)
        tile_leave(q, before + q * TILE_BYTES);
}

static void chain_span(const struct amx *x, struct tile_block *k, int from, int columns, bool first)
{
    bool two = tiles_at_once(x) == 2;
    if (x->codes->ready && two)
        chain_tiles(x, TILE_UNSIGNED, 2, k, from, columns, first);
    else if (x->codes->ready)
        chain_tiles(x, TILE_UNSIGNED, 1, k, from, columns, first);
    else if (two)
        chain_tiles(x, TILE_SIGNED, 2, k, from, columns, first);
    else
        chain_tiles(x, TILE_SIGNED, 1, k, from, columns, first);
}

/* s (rows, 16) of tile t and panel p: its sums of group g scaled and added. */
static void scale_tile(const struct amx *x, int g, int t, int p)
{
    const uint8_t *at = panel_scale(&x->p, x->panel[p], g);
    const int32_t *sum = x->room->sum[t - x->t0][p];
    const int32_t *x_sum = x->a->x_sum + (size_t)tile_first(&x->tokens, t) * (size_t)x->a->groups + (size_t)g;
    const int offset = x->codes->ready ? panel_offset(x->codes->format) : 0;
    float *s = x->room->s[t - x->t0][p];
    __m512 scale = values(at, x->a->group != 0), shift = _mm512_setzero_ps();
    if (x->a->shift)
        shift = values(at + x->p.shift_offset, x->a->group != 0);
    for (int r = 0; r < x->tokens.rows; r++, sum += 16, s += 16, x_sum += x->a->groups) {
        __m512i acc = _mm512_sub_epi32(_mm512_load_si512(sum), _mm512_set1_epi32(offset * *x_sum));
        __m512 v = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(acc), g ? _mm512_load_ps(s) : _mm512_setzero_ps());
        if (x->a->shift)
            v = _mm512_fmadd_ps(shift, _mm512_set1_ps((float)*x_sum), v);
        _mm512_store_ps(s, v);
    }
}

static void long_groups(const struct amx *x)
{
    struct tile_block k;
    for (int g = 0; g < x->p.groups; g++) {
        int begin = g * x->p.group, end = min_int(begin + x->p.group, x->p.columns);
        for (int from = begin; from < end; from += TILE_SPAN_BYTES) {
            int columns = min_int(TILE_SPAN_BYTES, end - from);
            set_codes(x, &k, from, columns);
            chain_span(x, &k, from, columns, from == begin);
        }
        for (int t = x->t0; t < x->t1; t++)
            for (int p = 0; p < TILE_STRIP; p++)
                scale_tile(x, g, t, p);
    }
}

/* Short groups */

struct amx_turn {
    struct tile_block k;
    int groups;              /* up to AMX_TURN; 0: no turn */
    int steps, last_steps;   /* of a group; of the last one */
    bool first;              /* s is still to be zero */
    bool flip;               /* how its sums lie in the cells */
    float *s;                /* (2 R tiles, rows, 16) */
    const float *scale;      /* (groups, scales and shifts, panels, 16) */
    const int32_t *x_sum[2]; /* of each tile's first token, first group */
};

/*
 * Where the sum of group g, accumulator q waits. A turn's cells become free in the order in which the next one fills them, tile by
 * tile instead of group by group: so the next one's lie the other way round. For one tile of tokens there is room for both.
 */
TILE_INLINE int32_t *cell(const struct amx *x, const struct amx_turn *w, const int R, int g, int q)
{
    int straight = AMX_TURN * g + q, across = AMX_TURN * q + g, apart = AMX_CELLS / 2 * w->flip + 2 * g + q;
    return x->room->cell[R == 1 ? apart : w->flip ? across : straight];
}

/* Part j of a turn's scaling: one group of one tile. s (rows) lives from a tile's first group to its last. */
TILE_INLINE void scale_part(const struct amx *x, const struct amx_turn *w, const int R, const bool shifts, const int j, __m512 s[TILE_ROWS])
{
    const int q = j / AMX_TURN, g = j % AMX_TURN;
    float *at = w->s + q * TILE_WORDS;
    if (g == 0) {
        __mmask16 keep = w->first ? 0 : 0xffff;
        TILE_UNROLL
        for (int r = 0; r < TILE_ROWS; r++)
            s[r] = _mm512_maskz_load_ps(keep, at + 16 * r);
    }
    if (g < w->groups) {
        const int32_t *sum = cell(x, w, R, g, q), *x_sum = w->x_sum[q / 2] + g;
        const float *scale = w->scale + (2 * g * TILE_STRIP + q % 2) * PANEL_ROWS, *shift = scale + TILE_STRIP * PANEL_ROWS;
        TILE_UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            s[r] = _mm512_fmadd_ps(_mm512_load_ps(scale), _mm512_cvtepi32_ps(_mm512_load_si512(sum + 16 * r)), s[r]);
            if (shifts)
                s[r] = _mm512_fmadd_ps(_mm512_load_ps(shift), _mm512_cvtepi32_ps(_mm512_set1_epi32(x_sum[x->sum_at[r]])), s[r]);
        }
    }
    if (g == AMX_TURN - 1 && w->groups) {
        TILE_UNROLL
        for (int r = 0; r < TILE_ROWS; r++)
            _mm512_store_ps(at + 16 * r, s[r]);
    }
}

/* Steps [begin,end) of a group, of which the first one is among them: what the accumulators hold leaves for group last_g of last. */
TILE_INLINE void begin_group(const struct amx *x, const int R, const struct amx_turn *now, size_t begin, size_t end, const struct amx_turn *last,
                             int last_g)
{
    TILE_UNROLL
    for (int q = 0; q < 2 * R; q++) {
        tile_turn(q, last_g >= 0 ? cell(x, last, R, last_g, q) : NULL, NULL);
        tile_quarter(TILE_SIGNED, q, &now->k, begin);
    }
    for (size_t i = begin + 1; i < end; i++) {
        TILE_UNROLL
        for (int q = 0; q < 2 * R; q++)
            tile_quarter(TILE_SIGNED, q, &now->k, i);
    }
}

/* Multiplies now's groups and scales before's: a part after each product of a group's last step. */
TILE_INLINE void take_turn(const struct amx *x, const int R, const bool shifts, const struct amx_turn *now, const struct amx_turn *before,
                           struct tile_ahead *f)
{
    __m512 s[TILE_ROWS];
    TILE_UNROLL
    for (int t = 0; t < AMX_TURN; t++) {
        const struct amx_turn *last = t ? now : before;
        const int last_g = t ? t - 1 : before->groups - 1;
        const int steps = t >= now->groups ? 0 : t == now->groups - 1 ? now->last_steps : now->steps;
        const size_t begin = (size_t)(t * now->steps), end = begin + (size_t)steps;
        tile_fetch(f);
        if (steps > 1)
            begin_group(x, R, now, begin, end - 1, last, last_g);
        TILE_UNROLL
        for (int q = 0; q < 2 * R; q++) {
            if (steps == 1)
                tile_turn(q, last_g >= 0 ? cell(x, last, R, last_g, q) : NULL, NULL);
            else if (t == 0 && steps == 0 && last_g >= 0)
                tile_leave(q, cell(x, last, R, last_g, q));
            if (steps > 0)
                tile_quarter(TILE_SIGNED, q, &now->k, end - 1);
            scale_part(x, before, R, shifts, 2 * R * t + q, s);
        }
    }
}

static void turn(const struct amx *x, const struct amx_turn *now, const struct amx_turn *before, struct tile_ahead *f)
{
    bool two = tiles_at_once(x) == 2;
    if (two && !x->a->shift)
        take_turn(x, 2, false, now, before, f);
    else if (two)
        take_turn(x, 2, true, now, before, f);
    else if (!x->a->shift)
        take_turn(x, 1, false, now, before, f);
    else
        take_turn(x, 1, true, now, before, f);
}

static int turn_columns(const struct amx *x) { return AMX_TURN * x->p.group; }

static int span_columns(const struct amx *x)
{
    return turn_columns(x) * max_int(AMX_TURNS_COLUMNS / turn_columns(x), 1);
}

/* A span's scales as floats; the next span's will soon be wanted too, and memory is far. */
static const float *set_scales(const struct amx *x, int from, int columns, bool flip)
{
    int first = from / x->p.group, groups = (columns + x->p.group - 1) / x->p.group;
    for (int g = 0; g < groups; g++)
        for (int p = 0; p < TILE_STRIP; p++) {
            const uint8_t *at = panel_scale(&x->p, x->panel[p], first + g);
            _mm_prefetch((const char *)at + (size_t)groups * x->p.scale_bytes, _MM_HINT_T0);
            _mm512_store_ps(x->room->scale[flip][g][0][p], values(at, true));
            if (x->a->shift)
                _mm512_store_ps(x->room->scale[flip][g][1][p], values(at + x->p.shift_offset, true));
        }
    return x->room->scale[flip][0][0][0];
}

/* The turn of tiles t and t + 1 at column: its codes stand in k from column first on, its scales in scale. */
static struct amx_turn set_turn(const struct amx *x, const struct tile_block *k, const float *scale, int t, int first, int column)
{
    int group = x->p.group, begin = column / group, groups = min_int(AMX_TURN, x->p.groups - begin);
    int last = min_int(group, x->p.columns - (begin + groups - 1) * group);
    struct amx_turn w = {.k = *k, .groups = groups, .steps = group / x->width, .last_steps = (last + x->width - 1) / x->width};
    set_tokens(x, &w.k, t, column);
    for (int p = 0; p < TILE_STRIP; p++)
        w.k.b[p] += (size_t)(column - first) * PANEL_ROWS;
    w.first = column == 0;
    w.s = x->room->s[t - x->t0][0];
    w.scale = scale + (column - first) / group * 2 * TILE_STRIP * PANEL_ROWS;
    for (int r = 0; r < tiles_at_once(x); r++)
        w.x_sum[r] = x->a->x_sum + (size_t)tile_first(&x->tokens, t + r) * (size_t)x->a->groups + (size_t)begin;
    return w;
}

static void short_groups(const struct amx *x)
{
    struct tile_block k;
    struct amx_turn before = {.first = true, .s = x->room->s[0][0]}, now;
    struct tile_ahead f = {.lines = 0};
    int at_once = tiles_at_once(x), span = span_columns(x), each = turn_columns(x);
    bool flip = false;
    for (int from = 0; from < x->p.columns; from += span, flip = !flip) {
        int columns = min_int(span, x->p.columns - from), turns = (columns + each - 1) / each;
        const float *scale = set_scales(x, from, columns, flip);
        set_codes(x, &k, from, columns);
        f = ahead(x, from + columns, columns, (x->t1 - x->t0) / at_once * turns * AMX_TURN);
        for (int t = x->t0; t < x->t1; t += at_once)
            for (int column = from; column < from + columns; column += each, before = now) {
                now = set_turn(x, &k, scale, t, from, column);
                now.flip = !before.flip;
                turn(x, &now, &before, &f);
            }
    }
    f.lines = 0;
    turn(x, &(struct amx_turn){0}, &before, &f);
}

/* y of the block's tokens and the strip's outputs. */
static void write_y(const struct amx *x)
{
    const struct gemm_args *a = x->a;
    for (int t = x->t0; t < x->t1; t++)
        for (int p = 0; p < TILE_STRIP; p++) {
            int n = x->n + p * PANEL_ROWS, outputs = min_int(a->n1 - n, PANEL_ROWS), token = tile_first(&x->tokens, t);
            const float *s = x->room->s[t - x->t0][p];
            for (int r = 0; r < x->tokens.rows && outputs > 0; r++, token++, s += 16) {
                __m512 y = _mm512_mul_ps(_mm512_load_ps(s), _mm512_set1_ps(a->x_scale[token]));
                _mm512_mask_storeu_ps(a->y + (size_t)token * (size_t)a->ldy + (size_t)n, (__mmask16)((1u << outputs) - 1), y);
            }
        }
}

static void multiply_block(struct amx *x)
{
    const struct gemm_args *a = x->a;
    for (x->n = a->n0; x->n < a->n1; x->n += TILE_STRIP * PANEL_ROWS) {
        x->panel[0] = panel_at(&x->p, a->w, x->n);
        x->panel[1] = x->n + PANEL_ROWS < a->n1 ? x->panel[0] + x->p.bytes : x->panel[0];
        if (is_long(x))
            long_groups(x);
        else
            short_groups(x);
        write_y(x);
    }
}

void amx_gemm(const struct gemm_args *a, const struct amx_codes *codes)
{
    struct amx_room room;
    struct amx x = {.a = a, .codes = codes, .tokens = tile_tokens(a->m), .room = &room};
    x.p = panel_layout(codes->format, a->k, a->group, a->shift);
    x.width = a->group ? min_int(a->group & -a->group, TILE_ROW_BYTES) : TILE_ROW_BYTES;
    for (int r = 0; r < TILE_ROWS; r++)
        x.sum_at[r] = min_int(r, x.tokens.rows - 1) * a->groups;
    struct tile_config shapes = tile_shapes(x.tokens.rows, x.width);
    tile_configure(&shapes);
    int blocks = tile_blocks(&x.tokens, (size_t)a->ldx);
    for (int b = 0; b < blocks; b++) {
        par_span(x.tokens.tiles, tiles_at_once(&x), b, blocks, &x.t0, &x.t1);
        multiply_block(&x);
    }
    tile_release();
}

#endif
