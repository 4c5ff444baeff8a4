/* panel_avxvnni.h — integer products of panels by AVX-VNNI: VPDPBUSD on ymm registers. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_AVXVNNI_H
#define QBENCH_PANEL_AVXVNNI_H

#include <limits.h>

#include "cpu.h"
#include "panel_ymm.h"

#ifdef __AVXVNNI__

YMM_INLINE void avxvnni_add(__m256i *acc, __m256i u, __m256i x)
{
    *acc = _mm256_dpbusd_avx_epi32(*acc, u, x);
    YMM_SETTLE(*acc);
}

YMM_INLINE void avxvnni_multiply(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        acc[t][0] = acc[t][1] = _mm256_setzero_si256();
    for (; quads > 0; quads--, codes += YMM_QUAD, x += PANEL_QUAD) {
        const __m256i w0 = ymm_load(codes), w1 = ymm_load(codes + 32);
        PANEL_UNROLL
        for (int t = 0; t < T; t++) {
            const __m256i xt = ymm_x(x + (size_t)t * ldx);
            avxvnni_add(&acc[t][0], w0, xt);
            avxvnni_add(&acc[t][1], w1, xt);
        }
    }
}

YMM_INLINE void avxvnni_unpack(const uint8_t *step, uint8_t *codes, int quads, int lines, ymm_read *read)
{
    ymm_prefetch(step, lines);
    PANEL_UNROLL
    for (int quad = 0; quad < quads; quad++)
        PANEL_UNROLL
        for (int half = 0; half < 2; half++)
            _mm256_store_si256((__m256i *)(codes + YMM_QUAD * quad + 32 * half), read(step, half, quad));
}

/*
 * For one token, where nothing pays for unpacking but the products themselves, codes are masked and not shifted: bits at position p
 * of their byte are codes times 2^p, and have a sum of their own, divided once a group. Such sums are also what covers the
 * instruction's latency. A reader gives the bits of a quad and which sum they go to; sum i holds 2^(gap i - left) times what is due.
 * int3 has two layers of bits, and its upper ones are 4 times what their byte says; sums cannot overflow: 192 * 127 * 65536 < 2^31.
 */
typedef __m256i avxvnni_read(const uint8_t *step, int half, int layer, int quad, int *sum);
enum {
    AVXVNNI_SUMS = 5,
    AVXVNNI_INT8_LAYERS = 1, AVXVNNI_INT8_SUMS = 2, AVXVNNI_INT8_GAP = 0, AVXVNNI_INT8_LEFT = 0,
    AVXVNNI_INT4_LAYERS = 1, AVXVNNI_INT4_SUMS = 2, AVXVNNI_INT4_GAP = 4, AVXVNNI_INT4_LEFT = 0,
    AVXVNNI_INT3_LAYERS = 2, AVXVNNI_INT3_SUMS = 5, AVXVNNI_INT3_GAP = 1, AVXVNNI_INT3_LEFT = 2,
    AVXVNNI_INT2_LAYERS = 1, AVXVNNI_INT2_SUMS = 4, AVXVNNI_INT2_GAP = 2, AVXVNNI_INT2_LEFT = 0,
    AVXVNNI_TERN_LAYERS = 1, AVXVNNI_TERN_SUMS = 4, AVXVNNI_TERN_GAP = 2, AVXVNNI_TERN_LEFT = 0,
    AVXVNNI_BIN_LAYERS = 1, AVXVNNI_BIN_SUMS = 4, AVXVNNI_BIN_GAP = 1, AVXVNNI_BIN_LEFT = 1,
    AVXVNNI_POT4_LAYERS = 1, AVXVNNI_POT4_SUMS = 2, AVXVNNI_POT4_GAP = 0, AVXVNNI_POT4_LEFT = 0,
};

YMM_INLINE __m256i avxvnni_int8(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    *sum = quad;
    return ymm_int8(step, half, quad);
}

YMM_INLINE __m256i avxvnni_pot4(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    *sum = quad;
    return ymm_pot4(step, half, quad);
}

YMM_INLINE __m256i avxvnni_int4(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    *sum = quad;
    return ymm_bits(ymm_load(step + 32 * half), 15 << 4 * quad);
}

YMM_INLINE __m256i avxvnni_int2(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    *sum = quad;
    return ymm_bits(ymm_load(step + 32 * half), 3 << 2 * quad);
}

YMM_INLINE __m256i avxvnni_tern(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    return avxvnni_int2(step, half, layer, quad, sum);
}

/* Nibble by nibble: eight sums for each half would not fit the registers. */
YMM_INLINE __m256i avxvnni_nibble(const uint8_t *at, int upper, int mask)
{
    __m256i both = ymm_load(at);
    return ymm_bits(upper ? _mm256_srli_epi16(both, 4) : both, mask);
}

YMM_INLINE __m256i avxvnni_bin(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    *sum = quad % 4;
    return avxvnni_nibble(step + 32 * half, quad / 4, 1 << quad % 4);
}

YMM_INLINE __m256i avxvnni_int3(const uint8_t *step, int half, int layer, int quad, int *sum)
{
    if (layer)
        return avxvnni_bin(step + 2 * YMM_QUAD, half, 0, quad, sum);
    *sum = 2 + quad % 2 * 2;
    return avxvnni_nibble(step + quad / 4 * YMM_QUAD + 32 * half, quad / 2 % 2, 3 << quad % 2 * 2);
}

/* A sum times 2^-right, which is whole. */
YMM_INLINE __m256i avxvnni_due(__m256i sum, int right)
{
    return right < 0 ? _mm256_slli_epi32(sum, -right) : _mm256_srai_epi32(sum, right);
}

YMM_INLINE void avxvnni_stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2], int quads, int lines, int layers,
                               int sums, int gap, int left, avxvnni_read *read)
{
    __m256i sum[2][AVXVNNI_SUMS];
    PANEL_UNROLL
    for (int i = 0; i < sums; i++)
        sum[0][i] = sum[1][i] = _mm256_setzero_si256();
    for (; steps > 0; steps--, step += 64 * lines, x += quads * PANEL_QUAD) {
        ymm_prefetch(step, lines);
        PANEL_UNROLL
        for (int quad = 0; quad < quads; quad++) {
            const __m256i xq = ymm_x(x + PANEL_QUAD * quad);
            PANEL_UNROLL
            for (int layer = 0; layer < layers; layer++)
                PANEL_UNROLL
                for (int half = 0; half < 2; half++) {
                    int i;
                    __m256i bits = read(step, half, layer, quad, &i);
                    avxvnni_add(&sum[half][i], bits, xq);
                }
        }
    }
    PANEL_UNROLL
    for (int half = 0; half < 2; half++)
        PANEL_UNROLL
        for (int i = 0; i < sums; i++)
            acc[half] = _mm256_add_epi32(acc[half], avxvnni_due(sum[half][i], gap * i - left));
}

#define AVXVNNI_TILE(name, is_small, CODE, T)                                                                         \
    YMM_TILE(name, YMM_##CODE##_OFFSET, YMM_QUAD, INT_MAX, is_small, avxvnni_multiply, T)
#define AVXVNNI_TILES(name, is_small, CODE)                                                                           \
    AVXVNNI_TILE(name, is_small, CODE, 1)                                                                             \
    AVXVNNI_TILE(name, is_small, CODE, 2)                                                                             \
    AVXVNNI_TILE(name, is_small, CODE, 3)                                                                             \
    AVXVNNI_TILE(name, is_small, CODE, 4)                                                                             \
    AVXVNNI_TILE(name, is_small, CODE, 5)                                                                             \
    AVXVNNI_TILE(name, is_small, CODE, 6)                                                                             \
    static const struct ymm_tiles name = {6, {name##_1, name##_2, name##_3, name##_4, name##_5, name##_6}};
#define AVXVNNI_GEMM(code, CODE)                                                                                      \
    YMM_INLINE void unpack(const uint8_t *step, uint8_t *codes, int32_t *bias)                                        \
    {                                                                                                                 \
        avxvnni_unpack(step, codes, YMM_##CODE##_QUADS, YMM_##CODE##_LINES, ymm_##code);                              \
    }                                                                                                                 \
    YMM_INLINE void stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2])                           \
    {                                                                                                                 \
        avxvnni_stream(step, steps, x, acc, YMM_##CODE##_QUADS, YMM_##CODE##_LINES, AVXVNNI_##CODE##_LAYERS, AVXVNNI_##CODE##_SUMS,           \
                       AVXVNNI_##CODE##_GAP, AVXVNNI_##CODE##_LEFT, avxvnni_##code);                                  \
    }                                                                                                                 \
    AVXVNNI_TILES(small, true, CODE)                                                                                  \
    AVXVNNI_TILES(large, false, CODE)                                                                                 \
    static void gemm(const struct gemm_args *a)                                                                       \
    {                                                                                                                 \
        struct panel p = panel_layout(FORMAT_##CODE, a->k, a->group, a->shift);                                       \
        if (a->m > 1)                                                                                                 \
            ymm_prefill(a, &p, YMM_QUAD, unpack, p.group <= YMM_SMALL ? &small : &large);                             \
        else                                                                                                          \
            ymm_decode(a, &p, YMM_##CODE##_OFFSET, stream);                                                           \
    }
#define AVXVNNI_PARTS .packed_size = panel_size, .pack = panel_pack, .gemm = gemm

#else
#define AVXVNNI_GEMM(code, CODE)
#define AVXVNNI_PARTS .absent = "not an x86-64 build"
#endif

/* Kernel <code>_avxvnni, all of it; columns: those of a step. */
#define AVXVNNI_KERNEL(code, CODE, columns)                                                                           \
    AVXVNNI_GEMM(code, CODE)                                                                                          \
    const struct kernel kernel_##code##_avxvnni = {                                                                   \
        .name = #code "_avxvnni",                                                                                     \
        .title = "AVX-VNNI, 32 products an instruction",                                                              \
        .format = FORMAT_##CODE,                                                                                      \
        .needs = ISA_AVX2 | ISA_AVXVNNI,                                                                              \
        .act = ACT_INT8,                                                                                              \
        .n_step = PANEL_ROWS,                                                                                         \
        .k_step = columns,                                                                                            \
        .shift = true,                                                                                                \
        AVXVNNI_PARTS,                                                                                                \
    }

#endif
