/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                              \
    .name = "int4_avx2", .title = "AVX2, 32 products an instruction pair", .format = FORMAT_INT4, .needs = ISA_AVX2, \
    .act = ACT_INT8

#ifndef __AVX2__
const struct kernel kernel_int4_avx2 = {DESCRIPTION, .n_step = 16, .k_step = 8, .absent = "not an x86-64 build"};
#else
#include "panel_avx2.h"

/* Codes + 8 are at most 15: four products, 4 * 15 * 127 = 7620, fit 16 bits, so both halves of a step share one widening. */
AVX2_INLINE void int4_step(const uint8_t *step, const int8_t *x, size_t ldx, __m256i acc[AVX2_TOKENS][2], const int T)
{
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    PANEL_UNROLL
    for (int half = 0; half < 2; half++) {
        __m256i both = _mm256_load_si256((const __m256i *)step + half), lo = _mm256_and_si256(both, nibble);
        __m256i hi = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
        PANEL_UNROLL
        for (int t = 0; t < T; t++) {
            const int8_t *xt = x + (size_t)t * ldx;
            __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(lo, avx2_x(xt)), _mm256_maddubs_epi16(hi, avx2_x(xt + 4)));
            acc[t][half] = _mm256_add_epi32(acc[t][half], _mm256_madd_epi16(pairs, ones));
        }
    }
}

AVX2_TABLE(int4_step);

static void gemm(const struct gemm_args *a) { avx2_gemm(a, FORMAT_INT4, 8, avx2_tiles_int4_step); }

const struct kernel kernel_int4_avx2 = {
    DESCRIPTION,
    .n_step = PANEL_ROWS,
    .k_step = 8,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
#endif
