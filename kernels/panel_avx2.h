/* panel_avx2.h — gemm over panels with AVX2; a kernel file adds how it multiplies one step of its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_AVX2_H
#define QBENCH_PANEL_AVX2_H

#include "panel.h"

#ifdef __AVX2__
#include <immintrin.h>
#include <string.h>

/* The 16 rows of a panel are two ymm registers; four tokens x two are what 16 registers leave room for. */
enum { AVX2_TOKENS = 4, AVX2_X_BYTES = 1 << 18, AVX2_AHEAD = 4096 };

#define AVX2_INLINE static inline __attribute__((always_inline))

/* acc (T, 2) += 8 columns of 16 rows * x (T, ldx); what is added per code is code + the kernel's offset. */
typedef void avx2_step(const uint8_t *step, const int8_t *x, size_t ldx, __m256i acc[AVX2_TOKENS][2], const int T);

AVX2_INLINE __m256i avx2_x(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* One group of one panel: tile (T, 16). T is a constant wherever this is inlined, so that acc is registers. */
AVX2_INLINE void avx2_tile(const uint8_t *step, size_t bytes, int steps, const int8_t *x, size_t ldx, int32_t *tile,
                           avx2_step *multiply, const int T)
{
    __m256i acc[AVX2_TOKENS][2];
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_si256();
    for (; steps > 0; steps--, step += bytes, x += 8) {
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch((const char *)step + AVX2_AHEAD + line, _MM_HINT_T1);
        multiply(step, x, ldx, acc, T);
    }
    PANEL_UNROLL
    for (int t = 0; t < T; t++) {
        _mm256_store_si256((__m256i *)(tile + t * PANEL_ROWS), acc[t][0]);
        _mm256_store_si256((__m256i *)(tile + t * PANEL_ROWS + 8), acc[t][1]);
    }
}

/* A function of its own for each number of tokens: avx2_tiles_<multiply>[tokens - 1]. */
typedef void avx2_tile_fn(const uint8_t *step, size_t bytes, int steps, const int8_t *x, size_t ldx, int32_t *tile);
#define AVX2_TILE(multiply, T)                                                                                        \
    static void multiply##_##T(const uint8_t *step, size_t bytes, int steps, const int8_t *x, size_t ldx, int32_t *tile) \
    {                                                                                                                 \
        avx2_tile(step, bytes, steps, x, ldx, tile, multiply, T);                                                     \
    }
#define AVX2_TABLE(multiply)                                                                                          \
    AVX2_TILE(multiply, 1) AVX2_TILE(multiply, 2) AVX2_TILE(multiply, 3) AVX2_TILE(multiply, 4)                       \
    static avx2_tile_fn *const avx2_tiles_##multiply[AVX2_TOKENS] = {multiply##_1, multiply##_2, multiply##_3, multiply##_4}

AVX2_INLINE __m256 avx2_scale(const struct panel *p, const uint8_t *panel, bool grouped, int g, int half)
{
    const uint8_t *at = panel + p->scale_offset + (size_t)g * p->scale_bytes;
    return grouped ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at + 16 * half)))
                   : _mm256_loadu_ps((const float *)(at + 32 * half));
}

/* s (T, 16) = scale * (tile - offset * sum of x) + s, for group g of tokens i .. */
static inline void avx2_fold(const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int g, int i, int T,
                             int offset, const int32_t *tile, float *s)
{
    for (int half = 0; half < 2; half++) {
        __m256 scale = avx2_scale(p, panel, a->group != 0, g, half);
        for (int t = 0; t < T; t++) {
            int32_t x_sum = a->x_sum[(size_t)(i + t) * (size_t)a->groups + (size_t)g];
            int at = t * PANEL_ROWS + 8 * half;
            __m256i acc = _mm256_load_si256((const __m256i *)(tile + at));
            acc = _mm256_sub_epi32(acc, _mm256_set1_epi32(offset * x_sum));
            _mm256_store_ps(s + at, _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(acc), _mm256_load_ps(s + at)));
        }
    }
}

/* Tokens i .. i+T-1 against the panel at n. */
static inline void avx2_block(const struct gemm_args *a, const struct panel *p, int n, int i, int T, int offset,
                              avx2_tile_fn *tile_fn)
{
    _Alignas(32) int32_t tile[AVX2_TOKENS * PANEL_ROWS];
    _Alignas(32) float s[AVX2_TOKENS * PANEL_ROWS] = {0};
    const uint8_t *panel = panel_at(p, a->w, n), *step = panel;
    const int8_t *x = a->xq + (size_t)i * (size_t)a->ldx;
    for (int g = 0; g < p->groups; g++) {
        int steps = panel_steps(p, g);
        _mm_prefetch((const char *)panel + p->bytes + p->scale_offset + (size_t)g * p->scale_bytes, _MM_HINT_T1);
        tile_fn(step, p->step_bytes, steps, x + (size_t)g * (size_t)p->group, (size_t)a->ldx, tile);
        avx2_fold(a, p, panel, g, i, T, offset, tile, s);
        step += (size_t)steps * p->step_bytes;
    }
    for (int t = 0; t < T; t++) {
        float *y = a->y + (size_t)(i + t) * (size_t)a->ldy + (size_t)n;
        for (int lane = 0; lane < min_int(PANEL_ROWS, a->n1 - n); lane++)
            y[lane] = s[t * PANEL_ROWS + lane] * a->x_scale[i + t];
    }
}

/* Tokens in blocks whose x stays in the L2 cache, within them every panel, within that up to four tokens. */
static inline void avx2_gemm(const struct gemm_args *a, enum format format, int offset, avx2_tile_fn *const tiles[AVX2_TOKENS])
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    int most = max_int(AVX2_X_BYTES / a->ldx / AVX2_TOKENS, 1) * AVX2_TOKENS;
    for (int i0 = 0; i0 < a->m; i0 += most)
        for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
            for (int i = i0; i < min_int(a->m, i0 + most); i += AVX2_TOKENS) {
                int T = min_int(AVX2_TOKENS, min_int(a->m, i0 + most) - i);
                avx2_block(a, &p, n, i, T, offset, tiles[T - 1]);
            }
}

#endif
#endif
