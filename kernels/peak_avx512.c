/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX512F__

#include <immintrin.h>

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
#define START(j) PEAK_START(__m512, acc##j, one)
#define STEP(j) acc##j = _mm512_fmadd_ps(acc##j, half, one);
#define RIGHT(j) right &= _mm512_cmp_ps_mask(acc##j, two, _CMP_EQ_OQ) == 0xffff;
    PEAK_EACH_CHAIN(START)
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < PEAK_REPEAT; r++) {
            PEAK_OPAQUE(half);
            PEAK_EACH_CHAIN(STEP)
        }
    bool right = true;
    PEAK_EACH_CHAIN(RIGHT)
#undef START
#undef STEP
#undef RIGHT
    return right ? 2.0 * 16 * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
}

const struct peak peak_f32_avx512 = {
    .name = "f32_avx512",
    .title = "fp32 fused multiply-add, 512 bits",
    .needs = ISA_AVX512,
    .unit_op = "flop",
    .run = run_f32,
};

#else

const struct peak peak_f32_avx512 = {.name = "f32_avx512", .title = "fp32 fused multiply-add, 512 bits", .needs = ISA_AVX512,
                                     .unit_op = "flop", .absent = "this build has no AVX-512 code (not x86-64)"};

#endif
