/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni.h"

#ifdef __AVX512VNNI__

#include <string.h>

#include "par.h"

/*
 * 64 rows (4 panels) at a time, and within them stretches of columns whose unpacked codes stay in L1 while all tokens pass by,
 * six at a time: 24 accumulators, fed by 10 loads. Float sums would not fit beside them: they stay in memory. Groups longer
 * than a stretch leave their integer sums in memory, too. Tokens are taken in blocks whose x stays in L2.
 */
enum {
    PANELS = 4,
    TOKENS = 6,
    COLUMNS = 512,        /* of a stretch, at most */
    FEW = 24,             /* up to so many tokens, unpacking costs as much as multiplying, and half the columns are faster: */
    FEW_COLUMNS = 256,    /* packed and unpacked codes both stay in L1 */
    QUADS = COLUMNS / PANEL_QUAD,
    GROUPS = COLUMNS / 8, /* of a stretch, at most */
    MANY = 256,           /* tokens of a block, at most */
    X_BYTES = 5 << 18
};

/* A stretch of columns of 4 panels, and a block's sums. */
struct block {
    const struct gemm_args *a;
    enum format format;
    struct panel p;
    vnni_unpack *unpack;
    int i0, i1;              /* tokens */
    int n, panels;           /* rows from n on */
    int most;                /* columns of a stretch */
    int column, width;       /* of this one */
    const uint8_t *next[PANELS]; /* the codes that will be wanted after these */
    const uint8_t *next_scale[PANELS];
    _Alignas(64) uint8_t quad[QUADS][PANELS][VNNI_LINE];
    float scale[GROUPS][PANELS][PANEL_ROWS], shift[GROUPS][PANELS][PANEL_ROWS];
    float s[MANY][PANELS][PANEL_ROWS];
    int32_t sum[MANY][PANELS][PANEL_ROWS]; /* of a group that began in an earlier stretch */
};

/* A stretch for up to 6 tokens. */
struct tile {
    const uint8_t *quad;
    int groups, quads, last_quads; /* of a group, of the last one */
    bool resume, keep;             /* the group began earlier, goes on */
    const int8_t *x;               /* (T, ldx) */
    size_t ldx;
    const float *scale, *shift;    /* (groups, 4, 16); NULL: no shifts */
    float *s;                      /* (T, 4, 16) */
    int32_t *sum;                  /* (T, 4, 16) */
    const uint8_t *ahead;          /* to be fetched meanwhile: ahead_step bytes a quad */
    size_t ahead_step;
    int32_t start[TOKENS][GROUPS]; /* what corrects for the offset of codes */
    float x_sum[TOKENS][GROUPS];
};

#define EACH(T, P)                    \
    PANEL_UNROLL                      \
    for (int t = 0; t < (T); t++)     \
        PANEL_UNROLL                  \
        for (int b = 0; b < (P); b++)

/* Keeps the compiler from loading sums early, when no registers are left for them. */
#define SETTLE() __asm__ volatile("" : : : "memory")

VNNI_INLINE void fold(const struct tile *v, int g, __m512i acc[TOKENS][PANELS], const int T, const int P)
{
    const float *scale = v->scale + g * PANELS * PANEL_ROWS, *shift = v->shift + g * PANELS * PANEL_ROWS;
    float *s = v->s;
    __m512 by[PANELS];
    PANEL_UNROLL
    for (int b = 0; b < P; b++) {
        by[b] = _mm512_load_ps(scale + b * PANEL_ROWS);
        __asm__("" : "+v"(by[b]));
    }
    SETTLE();
    EACH(T, P)
    {
        float *at = s + (t * PANELS + b) * PANEL_ROWS;
        _mm512_store_ps(at, _mm512_fmadd_ps(by[b], _mm512_cvtepi32_ps(acc[t][b]), _mm512_load_ps(at)));
    }
    SETTLE();
    if (!v->shift)
        return;
    EACH(T, P)
    {
        float *at = s + (t * PANELS + b) * PANEL_ROWS;
        _mm512_store_ps(at, _mm512_fmadd_ps(_mm512_load_ps(shift + b * PANEL_ROWS), _mm512_set1_ps(v->x_sum[t][g]), _mm512_load_ps(at)));
    }
}

/* T and P are constants wherever this is inlined, so that acc is registers. */
VNNI_INLINE void multiply(const struct tile *v, const int T, const int P)
{
    __m512i acc[TOKENS][PANELS], w[PANELS];
    const uint8_t *quad = v->quad, *ahead = v->ahead;
    const int8_t *x = v->x;
    int32_t *sum = v->sum;
    const size_t ldx = v->ldx, ahead_step = v->ahead_step;
    for (int g = 0; g < v->groups; g++) {
        EACH(T, P)
            acc[t][b] = v->resume ? _mm512_load_si512(sum + (t * PANELS + b) * PANEL_ROWS) : _mm512_set1_epi32(v->start[t][g]);
        for (int left = g + 1 < v->groups ? v->quads : v->last_quads; left > 0; left--) {
            PANEL_UNROLL
            for (int b = 0; b < P; b++)
                w[b] = _mm512_load_si512(quad + b * VNNI_LINE);
            _mm_prefetch((const char *)ahead, _MM_HINT_T1);
            PANEL_UNROLL
            for (int t = 0; t < T; t++) {
                int32_t four;
                memcpy(&four, x + (size_t)t * ldx, sizeof four);
                const __m512i xt = _mm512_set1_epi32(four);
                PANEL_UNROLL
                for (int b = 0; b < P; b++)
                    acc[t][b] = vnni_dot(acc[t][b], w[b], xt);
            }
            quad += PANELS * VNNI_LINE;
            x += PANEL_QUAD;
            ahead += ahead_step;
        }
        if (!v->keep)
            fold(v, g, acc, T, P);
        else
            EACH(T, P)
                _mm512_store_si512(sum + (t * PANELS + b) * PANEL_ROWS, acc[t][b]);
    }
}

/* A function of its own for each number of tokens and panels. */
typedef void multiply_fn(const struct tile *v);
#define TILE(T, P) \
    static void multiply##T##x##P(const struct tile *v) { multiply(v, T, P); }
#define TILES(P) TILE(1, P) TILE(2, P) TILE(3, P) TILE(4, P) TILE(5, P) TILE(6, P)
#define ROW(P) {multiply1x##P, multiply2x##P, multiply3x##P, multiply4x##P, multiply5x##P, multiply6x##P}
TILES(1)
TILES(2)
TILES(3)
TILES(4)
static multiply_fn *const multiplies[PANELS][TOKENS] = {ROW(1), ROW(2), ROW(3), ROW(4)};

/* The stretch at column: whole groups, or a part of one. */
static int stretch_width(const struct panel *p, int column, int most)
{
    int whole = most / p->group * p->group, left = p->columns - column;
    return whole ? min_int(whole, left) : min_int(most, min_int(p->group - column % p->group, left));
}

static const uint8_t *codes_at(const struct panel *p, const uint8_t *panel, int column)
{
    return panel + (size_t)(column / p->step_columns) * p->step_bytes;
}

/* What comes after this stretch: its panels' next one, or the first of the next panels. */
static void set_next(struct block *v)
{
    int column = v->column + v->width, n = v->n;
    if (column >= v->p.columns) {
        column = 0;
        n += PANELS * PANEL_ROWS;
    }
    if (n >= v->a->n1)
        n = v->a->n0;
    for (int b = 0; b < PANELS; b++) {
        const uint8_t *panel = panel_at(&v->p, v->a->w, n) + (size_t)b * v->p.bytes;
        v->next[b] = codes_at(&v->p, panel, column);
        v->next_scale[b] = panel_scale(&v->p, panel, column / v->p.group);
    }
}

static int groups_in(const struct block *v) { return (v->width + v->p.group - 1) / v->p.group; }

static void set_scales(struct block *v, int b)
{
    bool grouped = v->a->group != 0;
    const uint8_t *at = panel_scale(&v->p, panel_at(&v->p, v->a->w, v->n) + (size_t)b * v->p.bytes, v->column / v->p.group);
    for (int g = 0; g < groups_in(v); g++, at += v->p.scale_bytes) {
        _mm512_store_ps(v->scale[g][b], vnni_values(at, grouped));
        if (v->a->shift)
            _mm512_store_ps(v->shift[g][b], vnni_values(at + v->p.shift_offset, grouped));
        _mm_prefetch((const char *)v->next_scale[b] + (size_t)g * v->p.scale_bytes, _MM_HINT_T1);
    }
}

/* tiles: how many of the next panels' codes will be fetched while multiplying. */
static void open_stretch(struct block *v, int tiles)
{
    v->width = stretch_width(&v->p, v->column, v->most);
    int steps = v->width / v->p.step_columns;
    set_next(v);
    for (int b = 0; b < v->panels; b++) {
        const uint8_t *panel = panel_at(&v->p, v->a->w, v->n) + (size_t)b * v->p.bytes;
        v->unpack(codes_at(&v->p, panel, v->column), steps, b < tiles ? NULL : v->next[b], v->quad[0][b], PANELS * VNNI_LINE);
        set_scales(v, b);
    }
}

static void set_sums(struct tile *v, const struct gemm_args *a, int i, int g0, int T, int offset)
{
    for (int t = 0; t < T; t++) {
        const int32_t *sum = a->x_sum + (size_t)(i + t) * (size_t)a->groups + (size_t)g0;
        for (int g = 0; g < v->groups; g++)
            v->start[t][g] = -offset * sum[g];
        for (int g = 0; v->shift && g < v->groups; g++)
            v->x_sum[t][g] = (float)sum[g];
    }
}

static void stretch(struct block *v)
{
    const struct gemm_args *a = v->a;
    int count = (v->i1 - v->i0 + TOKENS - 1) / TOKENS;
    open_stretch(v, count);
    struct tile w = {.quad = v->quad[0][0], .groups = groups_in(v), .ldx = (size_t)a->ldx, .scale = v->scale[0][0]};
    w.shift = a->shift ? v->shift[0][0] : NULL;
    w.quads = v->p.group / PANEL_QUAD;
    w.last_quads = v->width / PANEL_QUAD - (w.groups - 1) * w.quads;
    w.resume = v->column % v->p.group != 0;
    w.keep = v->width < v->p.group && v->column + v->width < v->p.columns && (v->column + v->width) % v->p.group != 0;
    for (int tile = 0; tile < count; tile++) {
        int from, to;
        par_span(v->i1 - v->i0, 1, tile, count, &from, &to);
        set_sums(&w, a, v->i0 + from, v->column / v->p.group, to - from, panel_offset(v->format));
        w.x = a->xq + (size_t)(v->i0 + from) * w.ldx + (size_t)v->column;
        w.s = v->s[from][0];
        w.sum = v->sum[from][0];
        w.ahead = tile < PANELS ? v->next[tile] : v->quad[0][0];
        w.ahead_step = tile < PANELS ? v->p.step_bytes / (size_t)(v->p.step_columns / PANEL_QUAD) : 0;
        multiplies[v->panels - 1][to - from - 1](&w);
    }
}

static void store(const struct block *v)
{
    const struct gemm_args *a = v->a;
    for (int i = v->i0; i < v->i1; i++)
        for (int b = 0; b < v->panels; b++) {
            int n = v->n + b * PANEL_ROWS;
            __m512 y = _mm512_mul_ps(_mm512_load_ps(v->s[i - v->i0][b]), _mm512_set1_ps(a->x_scale[i]));
            _mm512_mask_storeu_ps(a->y + (size_t)i * (size_t)a->ldy + (size_t)n, vnni_rows(a, n), y);
        }
}

void vnni_prefill(const struct gemm_args *a, enum format format, vnni_unpack *unpack)
{
    struct block v;
    v.a = a;
    v.p = panel_layout(format, a->k, a->group, a->shift);
    v.format = format;
    v.unpack = unpack;
    int most = max_int(min_int(X_BYTES / a->ldx, MANY), TOKENS), count = (a->m + most - 1) / most;
    for (int block = 0; block < count; block++) {
        par_span(a->m, 1, block, count, &v.i0, &v.i1);
        v.most = v.i1 - v.i0 > FEW ? COLUMNS : FEW_COLUMNS;
        for (v.n = a->n0; v.n < a->n1; v.n += PANELS * PANEL_ROWS) {
            v.panels = min_int(PANELS, (a->n1 - v.n + PANEL_ROWS - 1) / PANEL_ROWS);
            memset(v.s, 0, (size_t)(v.i1 - v.i0) * sizeof v.s[0]);
            for (v.column = 0; v.column < v.p.columns; v.column += v.width)
                stretch(&v);
            store(&v);
        }
    }
}

#else
typedef int nothing; /* a file may not be empty */
#endif
