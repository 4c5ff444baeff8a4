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

/* Up to 2 x 4 sums, against the instruction's latency. */
YMM_INLINE void avxvnni_stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2], int quads, int lines, ymm_read *read)
{
    enum { CHAINS = 4 };
    __m256i sum[2][CHAINS];
    PANEL_UNROLL
    for (int chain = 0; chain < CHAINS; chain++)
        sum[0][chain] = sum[1][chain] = _mm256_setzero_si256();
    for (; steps > 0; steps--, step += 64 * lines, x += quads * PANEL_QUAD) {
        ymm_prefetch(step, lines);
        PANEL_UNROLL
        for (int quad = 0; quad < quads; quad++) {
            const __m256i xq = ymm_x(x + PANEL_QUAD * quad);
            avxvnni_add(&sum[0][quad % CHAINS], read(step, 0, quad), xq);
            avxvnni_add(&sum[1][quad % CHAINS], read(step, 1, quad), xq);
        }
    }
    PANEL_UNROLL
    for (int chain = 0; chain < min_int(quads, CHAINS); chain++)
        for (int half = 0; half < 2; half++)
            acc[half] = _mm256_add_epi32(acc[half], sum[half][chain]);
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
        avxvnni_stream(step, steps, x, acc, YMM_##CODE##_QUADS, YMM_##CODE##_LINES, ymm_##code);                      \
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
