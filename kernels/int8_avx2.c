/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                              \
    .name = "int8_avx2", .title = "AVX2, 32 products an instruction pair", .format = FORMAT_INT8, .needs = ISA_AVX2, \
    .act = ACT_INT8

#ifndef __AVX2__
const struct kernel kernel_int8_avx2 = {DESCRIPTION, .n_step = 16, .k_step = 8, .absent = "not an x86-64 build"};
#else
#include "panel_avx2.h"

/*
 * VPMADDUBSW adds two products in 16 bits. Unsigned codes up to 255 would saturate, so the weight's sign moves to x:
 * |w| * (x with w's sign) <= 2 * 127 * 127 = 32258 fits. Weights are never -128, and so their magnitude fits too.
 */
AVX2_INLINE void int8_step(const uint8_t *step, const int8_t *x, size_t ldx, __m256i acc[AVX2_TOKENS][2], const int T)
{
    const __m256i flip = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    PANEL_UNROLL
    for (int part = 0; part < 4; part++) { /* rows 0..7 and 8..15 of columns 0..3, then of 4..7 */
        __m256i w = _mm256_xor_si256(_mm256_load_si256((const __m256i *)step + part), flip), size = _mm256_abs_epi8(w);
        PANEL_UNROLL
        for (int t = 0; t < T; t++) {
            __m256i signed_x = _mm256_sign_epi8(avx2_x(x + (size_t)t * ldx + 4 * (part / 2)), w);
            __m256i dots = _mm256_madd_epi16(_mm256_maddubs_epi16(size, signed_x), ones);
            acc[t][part % 2] = _mm256_add_epi32(acc[t][part % 2], dots);
        }
    }
}

AVX2_TABLE(int8_step);

static void gemm(const struct gemm_args *a) { avx2_gemm(a, FORMAT_INT8, 0, avx2_tiles_int8_step); }

const struct kernel kernel_int8_avx2 = {
    DESCRIPTION,
    .n_step = PANEL_ROWS,
    .k_step = 8,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
#endif
