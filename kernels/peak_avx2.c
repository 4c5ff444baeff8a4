/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX2__

#include <immintrin.h>

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
#define START(j) PEAK_START(__m256, acc##j, one)
#define STEP(j) acc##j = _mm256_fmadd_ps(acc##j, half, one);
#define RIGHT(j) right &= _mm256_movemask_ps(_mm256_cmp_ps(acc##j, two, _CMP_EQ_OQ)) == 0xff;
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
    return right ? 2.0 * 8 * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
}

const struct peak peak_f32_avx2 = {
    .name = "f32_avx2",
    .title = "fp32 fused multiply-add, 256 bits",
    .needs = ISA_AVX2,
    .unit_op = "flop",
    .run = run_f32,
};

/* u8 x s8 -> pairs in s16 -> quads in s32, the way AVX2 kernels do it. Ones everywhere: each step adds 4 to a lane. */
static double run_int8(long iterations)
{
    __m256i x = _mm256_set1_epi8(1), w = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
    __m256i want = _mm256_set1_epi32((int32_t)(uint32_t)(4u * PEAK_REPEAT * (unsigned long)iterations));
#define START(j) PEAK_START(__m256i, acc##j, _mm256_setzero_si256())
#define STEP(j)                                              \
    PEAK_OPAQUE(x); /* else one product serves all chains */ \
    acc##j = _mm256_add_epi32(acc##j, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), ones));
#define RIGHT(j) right &= _mm256_movemask_epi8(_mm256_cmpeq_epi32(acc##j, want)) == -1;
    PEAK_EACH_CHAIN(START)
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < PEAK_REPEAT; r++) {
            PEAK_EACH_CHAIN(STEP)
        }
    bool right = true;
    PEAK_EACH_CHAIN(RIGHT)
#undef START
#undef STEP
#undef RIGHT
    return right ? 2.0 * 32 * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
}

const struct peak peak_int8_avx2 = {
    .name = "int8_avx2",
    .title = "int8 multiply-accumulate by maddubs, madd and add, 256 bits",
    .needs = ISA_AVX2,
    .unit_op = "op",
    .run = run_int8,
};

#else

static const char why[] = "this build has no AVX2 code (not x86-64)";
const struct peak peak_f32_avx2 = {.name = "f32_avx2", .title = "fp32 fused multiply-add, 256 bits", .needs = ISA_AVX2,
                                   .unit_op = "flop", .absent = why};
const struct peak peak_int8_avx2 = {.name = "int8_avx2", .title = "int8 multiply-accumulate, 256 bits", .needs = ISA_AVX2,
                                    .unit_op = "op", .absent = why};

#endif
