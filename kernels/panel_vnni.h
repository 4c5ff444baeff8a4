/* panel_vnni.h — gemm over panels with AVX-512 VNNI; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_VNNI_H
#define QBENCH_PANEL_VNNI_H

#include "panel.h"

#ifdef __AVX512VNNI__
#include <immintrin.h>
#include <string.h>

/*
 * A zmm register holds the 16 rows of a panel. One token (decoding) is a stream through memory: one panel at a time, four
 * accumulators against the instruction's latency, and prefetches (into L2, whose queue is the longer one) across the page
 * ends at which the hardware's own stop; the next panel's scales too, which are wanted before their place in the stream.
 * Many tokens are arithmetic: up to 12 tokens x 2 panels stay in registers, so that a load feeds 2 to 12 multiplications;
 * tokens are taken in blocks whose x stays in the L2 cache.
 */
enum { VNNI_TOKENS = 12, VNNI_PANELS = 2, VNNI_X_BYTES = 1 << 19, VNNI_AHEAD = 4096 };

#define VNNI_INLINE static inline __attribute__((always_inline))

/* gcc 12 keeps a second copy of an accumulator, as another vector type, alive through the loop (and spills both) unless
 * every turn of the loop ends in an opaque value. clang needs no such help. */
#ifdef __clang__
#define VNNI_SETTLE(v) ((void)0)
#else
#define VNNI_SETTLE(v) __asm__("" : "+v"(v))
#endif

/* lo, hi = the unsigned codes of quads 2 pair and 2 pair + 1 of one step. */
typedef void vnni_read(const uint8_t *step, int pair, __m512i *lo, __m512i *hi);
enum { VNNI_PAIR = 2 * PANEL_QUAD };

VNNI_INLINE __m512i vnni_dot(__m512i acc, __m512i w, const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
}

/* A group's scales, or its shifts. */
VNNI_INLINE __m512 vnni_values(const uint8_t *at, bool grouped)
{
    return grouped ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)) : _mm512_loadu_ps(at);
}

/* Rows of the panel at n that exist. */
VNNI_INLINE __mmask16 vnni_rows(const struct gemm_args *a, int n)
{
    return a->n1 - n >= PANEL_ROWS ? 0xffff : (__mmask16)((1u << (a->n1 - n)) - 1);
}

/* One group of one panel for one token: sum of unsigned codes * x. pairs is a constant wherever this is inlined. */
VNNI_INLINE __m512i vnni_stream(const uint8_t *step, size_t bytes, int steps, const int pairs, const int8_t *x, vnni_read *read)
{
    __m512i acc[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()}, lo, hi;
    const int together = pairs == 1 ? 2 : 1; /* steps a turn: at least two pairs, for four accumulators */
    int j = 0;
    for (; j + together <= steps; j += together, step += (size_t)together * bytes) {
        for (size_t line = 0; line < (size_t)together * bytes; line += 64)
            _mm_prefetch((const char *)step + VNNI_AHEAD + line, _MM_HINT_T1);
        PANEL_UNROLL
        for (int i = 0; i < together * pairs; i++, x += VNNI_PAIR) {
            read(step + (size_t)(i / pairs) * bytes, i % pairs, &lo, &hi);
            acc[2 * (i % 2)] = vnni_dot(acc[2 * (i % 2)], lo, x);
            acc[2 * (i % 2) + 1] = vnni_dot(acc[2 * (i % 2) + 1], hi, x + PANEL_QUAD);
        }
    }
    if (j < steps) {
        read(step, 0, &lo, &hi);
        acc[0] = vnni_dot(acc[0], lo, x);
        acc[1] = vnni_dot(acc[1], hi, x + PANEL_QUAD);
    }
    return _mm512_add_epi32(_mm512_add_epi32(acc[0], acc[1]), _mm512_add_epi32(acc[2], acc[3]));
}

VNNI_INLINE void vnni_decode(const struct gemm_args *a, const struct panel *p, int offset, const int pairs, bool grouped, vnni_read *read)
{
    const __m512 x_scale = _mm512_set1_ps(a->x_scale[0]);
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS) {
        const uint8_t *panel = panel_at(p, a->w, n);
        __m512 s = _mm512_setzero_ps();
        for (int g = 0; g < p->groups; g++) {
            const uint8_t *scale = panel_scale(p, panel, g);
            const int8_t *x = a->xq + (size_t)g * (size_t)p->group;
            _mm_prefetch((const char *)scale + p->bytes, _MM_HINT_T1);
            __m512i acc = vnni_stream(panel_step(p, panel, g), p->step_bytes, panel_steps(p, g), pairs, x, read);
            acc = _mm512_sub_epi32(acc, _mm512_set1_epi32(offset * a->x_sum[g]));
            s = _mm512_fmadd_ps(vnni_values(scale, grouped), _mm512_cvtepi32_ps(acc), s);
            if (a->shift)
                s = _mm512_fmadd_ps(vnni_values(scale + p->shift_offset, grouped), _mm512_set1_ps((float)a->x_sum[g]), s);
        }
        _mm512_mask_storeu_ps(a->y + n, vnni_rows(a, n), _mm512_mul_ps(s, x_scale));
    }
}

/* One group's share of a block of tokens x panels. */
struct vnni_piece {
    const uint8_t *step; /* the group's first, in the first panel */
    size_t step_bytes, panel_bytes;
    int steps;
    const int8_t *x; /* (T, ldx) */
    size_t ldx;
    const int32_t *x_sum; /* (T, groups), this group's column */
    size_t groups;
    bool shifted;
    __m512 scale[VNNI_PANELS], shift[VNNI_PANELS];
    float *s; /* (T, P, 16) aligned: sums so far, in and out */
};

/* T and P are constants wherever this is inlined, so that acc is registers. The float sums would not fit beside them: they
 * stay in memory. */
VNNI_INLINE void vnni_tile(const struct vnni_piece *v, int offset, vnni_read *read, const int pairs, const int T, const int P)
{
    __m512i acc[VNNI_TOKENS][VNNI_PANELS], lo[VNNI_PANELS], hi[VNNI_PANELS];
    const uint8_t *step = v->step;
    const int8_t *x = v->x;
    const size_t ldx = v->ldx;
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int b = 0; b < P; b++)
            acc[t][b] = _mm512_set1_epi32(-offset * v->x_sum[(size_t)t * v->groups]);
    for (int j = v->steps; j > 0; j--, step += v->step_bytes)
        PANEL_UNROLL
        for (int pair = 0; pair < pairs; pair++, x += VNNI_PAIR) {
            PANEL_UNROLL
            for (int b = 0; b < P; b++)
                read(step + (size_t)b * v->panel_bytes, pair, &lo[b], &hi[b]);
            PANEL_UNROLL
            for (int t = 0; t < T; t++)
                PANEL_UNROLL
                for (int b = 0; b < P; b++)
                    acc[t][b] = vnni_dot(acc[t][b], lo[b], x + (size_t)t * ldx);
            PANEL_UNROLL
            for (int t = 0; t < T; t++)
                PANEL_UNROLL
                for (int b = 0; b < P; b++)
                    acc[t][b] = vnni_dot(acc[t][b], hi[b], x + (size_t)t * ldx + PANEL_QUAD);
            PANEL_UNROLL
            for (int t = 0; t < T; t++)
                PANEL_UNROLL
                for (int b = 0; b < P; b++)
                    VNNI_SETTLE(acc[t][b]);
        }
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int b = 0; b < P; b++) {
            float *s = v->s + (t * P + b) * PANEL_ROWS;
            __m512 sum = _mm512_fmadd_ps(v->scale[b], _mm512_cvtepi32_ps(acc[t][b]), _mm512_load_ps(s));
            if (v->shifted)
                sum = _mm512_fmadd_ps(v->shift[b], _mm512_set1_ps((float)v->x_sum[(size_t)t * v->groups]), sum);
            _mm512_store_ps(s, sum);
        }
}

/* A function of its own for each number of tokens and panels: vnni_tiles_<read>[panels - 1][tokens - 1]. */
typedef void vnni_tile_fn(const struct vnni_piece *v);
#define VNNI_TILE(read, offset, pairs, T, P)                                                                          \
    static void read##_##T##x##P(const struct vnni_piece *v) { vnni_tile(v, offset, read, pairs, T, P); }
#define VNNI_TILES(read, o, k, P)                                                                                     \
    VNNI_TILE(read, o, k, 1, P) VNNI_TILE(read, o, k, 2, P) VNNI_TILE(read, o, k, 3, P) VNNI_TILE(read, o, k, 4, P)   \
    VNNI_TILE(read, o, k, 5, P) VNNI_TILE(read, o, k, 6, P) VNNI_TILE(read, o, k, 7, P) VNNI_TILE(read, o, k, 8, P)   \
    VNNI_TILE(read, o, k, 9, P) VNNI_TILE(read, o, k, 10, P) VNNI_TILE(read, o, k, 11, P) VNNI_TILE(read, o, k, 12, P)
#define VNNI_ROW(read, P)                                                                                             \
    {read##_1x##P, read##_2x##P, read##_3x##P, read##_4x##P,  read##_5x##P,  read##_6x##P,                            \
     read##_7x##P, read##_8x##P, read##_9x##P, read##_10x##P, read##_11x##P, read##_12x##P}
#define VNNI_TABLE(read, offset, pairs)                                                                               \
    VNNI_TILES(read, offset, pairs, 1)                                                                                \
    VNNI_TILES(read, offset, pairs, 2)                                                                                \
    static vnni_tile_fn *const vnni_tiles_##read[VNNI_PANELS][VNNI_TOKENS] = {VNNI_ROW(read, 1), VNNI_ROW(read, 2)}

/* Tokens i .. i+T-1 against the P panels at n. */
static inline void vnni_block(const struct gemm_args *a, const struct panel *p, int n, int i, int T, int P, vnni_tile_fn *tile)
{
    _Alignas(64) float s[VNNI_TOKENS * VNNI_PANELS * PANEL_ROWS];
    const uint8_t *panel = panel_at(p, a->w, n);
    struct vnni_piece v = {.shifted = a->shift, .step_bytes = p->step_bytes, .panel_bytes = p->bytes, .ldx = (size_t)a->ldx};
    v.x = a->xq + (size_t)i * v.ldx;
    v.groups = (size_t)a->groups;
    v.x_sum = a->x_sum + (size_t)i * v.groups;
    v.s = s;
    memset(s, 0, (size_t)(T * P * PANEL_ROWS) * sizeof *s);
    for (int g = 0; g < p->groups; g++) {
        v.step = panel_step(p, panel, g);
        v.steps = panel_steps(p, g);
        for (int b = 0; b < P; b++) {
            const uint8_t *scale = panel_scale(p, panel + (size_t)b * p->bytes, g);
            v.scale[b] = vnni_values(scale, a->group != 0);
            if (a->shift)
                v.shift[b] = vnni_values(scale + p->shift_offset, a->group != 0);
        }
        tile(&v);
        v.x += v.steps * p->step_columns;
        v.x_sum++;
    }
    for (int t = 0; t < T; t++)
        for (int b = 0; b < P; b++) {
            float *y = a->y + (size_t)(i + t) * (size_t)a->ldy + (size_t)(n + b * PANEL_ROWS);
            __m512 sum = _mm512_load_ps(s + (t * P + b) * PANEL_ROWS);
            _mm512_mask_storeu_ps(y, vnni_rows(a, n + b * PANEL_ROWS), _mm512_mul_ps(sum, _mm512_set1_ps(a->x_scale[i + t])));
        }
}

/* Tokens [i0,i1) in blocks of nearly equal size: 13 is 7 + 6, not 12 + 1. */
static inline void vnni_tokens(const struct gemm_args *a, const struct panel *p, int n, int i0, int i1,
                               vnni_tile_fn *const tiles[VNNI_PANELS][VNNI_TOKENS])
{
    int P = a->n1 - n > PANEL_ROWS ? 2 : 1, count = (i1 - i0 + VNNI_TOKENS - 1) / VNNI_TOKENS;
    for (int b = 0; b < count; b++) {
        int from, to;
        par_span(i1 - i0, 1, b, count, &from, &to);
        vnni_block(a, p, n, i0 + from, to - from, P, tiles[P - 1][to - from - 1]);
    }
}

static inline void vnni_prefill(const struct gemm_args *a, const struct panel *p,
                                vnni_tile_fn *const tiles[VNNI_PANELS][VNNI_TOKENS])
{
    int most = max_int(VNNI_X_BYTES / a->ldx / VNNI_TOKENS, 1) * VNNI_TOKENS;
    for (int i = 0; i < a->m; i += most)
        for (int n = a->n0; n < a->n1; n += VNNI_PANELS * PANEL_ROWS)
            vnni_tokens(a, p, n, i, min_int(a->m, i + most), tiles);
}

#define VNNI_GEMM(read, format, offset, pairs)                                                                        \
    VNNI_TABLE(read, offset, pairs);                                                                                  \
    static void gemm(const struct gemm_args *a)                                                                       \
    {                                                                                                                 \
        struct panel p = panel_layout(format, a->k, a->group, a->shift);                                              \
        if (a->m > 1)                                                                                                 \
            vnni_prefill(a, &p, vnni_tiles_##read);                                                                   \
        else if (a->group)                                                                                            \
            vnni_decode(a, &p, offset, pairs, true, read);                                                            \
        else                                                                                                          \
            vnni_decode(a, &p, offset, pairs, false, read);                                                           \
    }

/* Bits of every byte shifted down by a constant; what crosses from the neighbouring byte is for the caller to mask. */
VNNI_INLINE __m512i vnni_bits(__m512i v, int down, int mask)
{
    __m512i moved = down < 0 ? _mm512_slli_epi16(v, (unsigned)-down) : _mm512_srli_epi16(v, (unsigned)down);
    return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}
#endif

/* The whole descriptor of <format>_vnni. */
#define VNNI_DESCRIPTION(kernel_name, kernel_format, kstep)                                                           \
    .name = kernel_name, .title = "AVX-512 VNNI, 64 products an instruction", .format = kernel_format,                \
    .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI, .act = ACT_INT8, .n_step = PANEL_ROWS, .k_step = kstep, .shift = true
#define VNNI_FUNCTIONS .packed_size = panel_size, .pack = panel_pack, .gemm = gemm

#endif
