/* panel_avx2.h — integer products of panels by AVX2, which has none of four columns: VPMADDUBSW, then VPMADDWD. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_AVX2_H
#define QBENCH_PANEL_AVX2_H

#include <limits.h>

#include "cpu.h"
#include "panel_ymm.h"

#ifdef __AVX2__

/*
 * VPMADDUBSW adds two products in 16 bits, and saturates. `most` says how many of its results a 16-bit sum holds:
 *
 *     unsigned codes u <= top:  2 * top * 127 * most <= 32767, so 8 for int4 (15), 18 for int3 (7), 43 for int2 (3), 64 for tern
 *                               and bin (2) and 1 for pot4 (128): sums are widened that seldom.
 *     int8: u up to 255 does not fit once. The weight's sign moves to x: |w| * (x with w's sign) <= 2 * 127 * 127 = 32258 does;
 *           weights are never -128. `most` is 0.
 *
 * For many tokens int8's sign is moved by one XOR that all ports can do: with m = -1 where w < 0, else 0, x ^ m = -x - 1 or x, and so
 * |w| (x ^ m) = w x + |w| m. The sums of |w| m are made when a panel is unpacked, and taken off by the bias that the sums begin with;
 * 2 * 127 * 128 = 32512 fits.
 */
enum { AVX2_SIGNED = 0 };

YMM_INLINE __m256i avx2_widen(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

YMM_INLINE void avx2_add(__m256i *acc, __m256i v)
{
    *acc = _mm256_add_epi32(*acc, v);
    YMM_SETTLE(*acc);
}

/* sum (T, 2) += one quad, in 16 bits; the first one begins it. */
YMM_INLINE void avx2_quad(const uint8_t *codes, const int8_t *x, size_t ldx, __m256i sum[YMM_TOKENS][2], const int T, bool first)
{
    const __m256i w0 = ymm_load(codes), w1 = ymm_load(codes + 32);
    PANEL_UNROLL
    for (int t = 0; t < T; t++) {
        const __m256i xt = ymm_x(x + (size_t)t * ldx), p0 = _mm256_maddubs_epi16(w0, xt), p1 = _mm256_maddubs_epi16(w1, xt);
        sum[t][0] = first ? p0 : _mm256_add_epi16(sum[t][0], p0);
        sum[t][1] = first ? p1 : _mm256_add_epi16(sum[t][1], p1);
        YMM_SETTLE(sum[t][0]);
        YMM_SETTLE(sum[t][1]);
    }
}

/* In 16 bits, then widened. */
YMM_INLINE void avx2_narrow(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T)
{
    avx2_quad(codes, x, ldx, acc, T, true);
    avx2_quad(codes + YMM_QUAD, x + PANEL_QUAD, ldx, acc, T, false);
    while ((quads -= 2) > 0) {
        codes += 2 * YMM_QUAD;
        x += 2 * PANEL_QUAD;
        avx2_quad(codes, x, ldx, acc, T, false);
        avx2_quad(codes + YMM_QUAD, x + PANEL_QUAD, ldx, acc, T, false);
    }
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int half = 0; half < 2; half++)
            acc[t][half] = avx2_widen(acc[t][half]);
}

/* Each product pair is widened at once: unsigned codes, or sizes and signs. */
YMM_INLINE void avx2_wide(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T,
                          bool is_signed)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_si256();
    for (; quads > 0; quads--, codes += is_signed ? 2 * YMM_QUAD : YMM_QUAD, x += PANEL_QUAD)
        PANEL_UNROLL
        for (int t = 0; t < T; t++) {
            const __m256i xt = ymm_x(x + (size_t)t * ldx);
            PANEL_UNROLL
            for (int half = 0; half < 2; half++) {
                __m256i v = is_signed ? _mm256_xor_si256(xt, ymm_load(codes + YMM_QUAD + 32 * half)) : xt;
                avx2_add(&acc[t][half], avx2_widen(_mm256_maddubs_epi16(ymm_load(codes + 32 * half), v)));
            }
        }
}

YMM_INLINE void avx2_multiply(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T,
                              int most)
{
    if (most > 1)
        avx2_narrow(codes, quads, x, ldx, acc, T);
    else
        avx2_wide(codes, quads, x, ldx, acc, T, most == AVX2_SIGNED);
}

YMM_INLINE void avx2_unpack(const uint8_t *step, uint8_t *codes, int32_t *bias, int quads, int most, ymm_read *read)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi8(1);
    PANEL_UNROLL
    for (int quad = 0; quad < quads; quad++)
        PANEL_UNROLL
        for (int half = 0; half < 2; half++) {
            __m256i *at = (__m256i *)(codes + (most == AVX2_SIGNED ? 2 : 1) * YMM_QUAD * quad + 32 * half), u = read(step, half, quad);
            if (most != AVX2_SIGNED) {
                _mm256_store_si256(at, u);
                continue;
            }
            __m256i w = _mm256_xor_si256(u, flip), size = _mm256_abs_epi8(w), sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), w);
            __m256i *sum = (__m256i *)bias + half, negative = _mm256_and_si256(size, sign);
            _mm256_store_si256(at, size);
            _mm256_store_si256(at + 2, sign);
            _mm256_store_si256(sum, _mm256_add_epi32(*sum, avx2_widen(_mm256_maddubs_epi16(negative, ones))));
        }
}

YMM_INLINE __m256i avx2_pairs(__m256i u, __m256i x, int most)
{
    if (most != AVX2_SIGNED)
        return _mm256_maddubs_epi16(u, x);
    __m256i w = _mm256_xor_si256(u, _mm256_set1_epi8((char)0x80));
    return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* One step for one token: into 16-bit sums where they hold more than one result. */
YMM_INLINE void avx2_step(const uint8_t *step, const int8_t *x, __m256i sum[2], int quads, int most, ymm_read *read)
{
    PANEL_UNROLL
    for (int quad = 0; quad < quads; quad++) {
        const __m256i xq = ymm_x(x + PANEL_QUAD * quad);
        PANEL_UNROLL
        for (int half = 0; half < 2; half++) {
            __m256i pairs = avx2_pairs(read(step, half, quad), xq, most);
            sum[half] = most > 1 ? _mm256_add_epi16(sum[half], pairs) : _mm256_add_epi32(sum[half], avx2_widen(pairs));
            YMM_SETTLE(sum[half]);
        }
    }
}

YMM_INLINE void avx2_stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2], int quads, int lines, int most,
                            ymm_read *read)
{
    while (steps > 0) {
        int n = most > 1 ? min_int(steps, most / quads) : steps; /* until sums are widened */
        __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        steps -= n;
        for (; n > 0; n--, step += 64 * lines, x += quads * PANEL_QUAD) {
            ymm_prefetch(step, lines);
            avx2_step(step, x, sum, quads, most, read);
        }
        for (int half = 0; half < 2; half++)
            avx2_add(&acc[half], most > 1 ? avx2_widen(sum[half]) : sum[half]);
    }
}

/* Four tokens, eight sums: with more, gcc runs out of registers. */
#define AVX2_OFFSET(CODE, most) ((most) == AVX2_SIGNED ? 0 : YMM_##CODE##_OFFSET)
#define AVX2_QUAD(most) ((most) == AVX2_SIGNED ? 2 * YMM_QUAD : YMM_QUAD)
#define AVX2_TILE(CODE, most, T)                                                                                      \
    YMM_TILE(tile, AVX2_OFFSET(CODE, most), AVX2_QUAD(most), (most) > 1 ? (most) : INT_MAX, false, multiply, T)
#define AVX2_GEMM(code, CODE, most)                                                                                   \
    YMM_INLINE void multiply(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T) \
    {                                                                                                                 \
        avx2_multiply(codes, quads, x, ldx, acc, T, most);                                                            \
    }                                                                                                                 \
    YMM_INLINE void unpack(const uint8_t *step, uint8_t *codes, int32_t *bias)                                        \
    {                                                                                                                 \
        ymm_prefetch(step, YMM_##CODE##_LINES);                                                                       \
        avx2_unpack(step, codes, bias, YMM_##CODE##_QUADS, most, ymm_##code);                                         \
    }                                                                                                                 \
    YMM_INLINE void stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2])                           \
    {                                                                                                                 \
        avx2_stream(step, steps, x, acc, YMM_##CODE##_QUADS, YMM_##CODE##_LINES, most, ymm_##code);                   \
    }                                                                                                                 \
    AVX2_TILE(CODE, most, 1)                                                                                          \
    AVX2_TILE(CODE, most, 2)                                                                                          \
    AVX2_TILE(CODE, most, 3)                                                                                          \
    AVX2_TILE(CODE, most, 4)                                                                                          \
    static const struct ymm_tiles tiles = {4, {tile_1, tile_2, tile_3, tile_4}};                                      \
    static void gemm(const struct gemm_args *a)                                                                       \
    {                                                                                                                 \
        struct panel p = panel_layout(FORMAT_##CODE, a->k, a->group, a->shift);                                       \
        if (a->m > 1)                                                                                                 \
            ymm_prefill(a, &p, AVX2_QUAD(most), unpack, &tiles);                                                      \
        else                                                                                                          \
            ymm_decode(a, &p, AVX2_OFFSET(CODE, most), stream);                                                       \
    }
#define AVX2_PARTS .packed_size = panel_size, .pack = panel_pack, .gemm = gemm

#else
#define AVX2_GEMM(code, CODE, most)
#define AVX2_PARTS .absent = "not an x86-64 build"
#endif

/* Kernel <code>_avx2, all of it; columns: those of a step. */
#define AVX2_KERNEL(code, CODE, columns, most)                                                                        \
    AVX2_GEMM(code, CODE, most)                                                                                       \
    const struct kernel kernel_##code##_avx2 = {                                                                      \
        .name = #code "_avx2",                                                                                        \
        .title = "AVX2, 32 products by VPMADDUBSW, added in 16 or 32 bits",                                           \
        .format = FORMAT_##CODE,                                                                                      \
        .needs = ISA_AVX2,                                                                                            \
        .act = ACT_INT8,                                                                                              \
        .n_step = PANEL_ROWS,                                                                                         \
        .k_step = columns,                                                                                            \
        .shift = true,                                                                                                \
        AVX2_PARTS,                                                                                                   \
    }

#endif
