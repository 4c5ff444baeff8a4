/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX2__

#include <immintrin.h>

#define PEAK_CHAIN __m256i
#include "peak_chain.h"

static chain all_f32(float x) { return _mm256_castps_si256(_mm256_set1_ps(x)); }

static inline chain step_f32(chain acc, chain *half, chain one)
{
    return _mm256_castps_si256(
        _mm256_fmadd_ps(_mm256_castsi256_ps(acc), _mm256_castsi256_ps(*half), _mm256_castsi256_ps(one)));
}

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    const chain one = all_f32(1);
    return chain_run(iterations, 8, one, all_f32(0.5f), one, all_f32(2), step_f32);
}

const struct peak peak_f32_avx2 = {
    .name = "f32_avx2",
    .title = "fp32 fused multiply-add, 256 bits",
    .needs = ISA_AVX2,
    .unit_op = "flop",
    .run = run_f32,
};

/* u8 x s8 -> pairs in s16 -> quads in s32, the way AVX2 kernels do it. */
static inline chain step_int8(chain acc, chain *x, chain w)
{
    PEAK_OPAQUE(*x);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(*x, w), _mm256_set1_epi16(1)));
}

static double run_int8(long iterations)
{
    const chain ones = _mm256_set1_epi8(1);
    return chain_run(iterations, 32, _mm256_setzero_si256(), ones, ones, _mm256_set1_epi32(chain_fours(iterations)), step_int8);
}

const struct peak peak_int8_avx2 = {
    .name = "int8_avx2",
    .title = "int8 multiply-accumulate by maddubs, madd and add, 256 bits",
    .needs = ISA_AVX2,
    .unit_op = "op",
    .run = run_int8,
};

/* Products of codes of 4 bits or fewer need no more than 16 bits for a while, and leave out the second instruction. */
static inline chain step_int4(chain acc, chain *x, chain w)
{
    PEAK_OPAQUE(*x);
    acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(*x, w));
    PEAK_OPAQUE(acc);
    return acc;
}

static double run_int4(long iterations)
{
    const chain ones = _mm256_set1_epi8(1), want = _mm256_set1_epi16((short)(2u * PEAK_REPEAT * (unsigned long)iterations));
    return chain_run(iterations, 32, _mm256_setzero_si256(), ones, ones, want, step_int4);
}

const struct peak peak_int4_avx2 = {
    .name = "int4_avx2",
    .title = "int4 x int8 multiply-accumulate by maddubs, added in 16 bits, 256 bits",
    .needs = ISA_AVX2,
    .unit_op = "op",
    .run = run_int4,
};

#else

static const char why[] = "this build has no AVX2 code (not x86-64)";
const struct peak peak_f32_avx2 = {.name = "f32_avx2", .title = "fp32 fused multiply-add, 256 bits", .needs = ISA_AVX2,
                                   .unit_op = "flop", .absent = why};
const struct peak peak_int8_avx2 = {.name = "int8_avx2", .title = "int8 multiply-accumulate, 256 bits", .needs = ISA_AVX2,
                                    .unit_op = "op", .absent = why};
const struct peak peak_int4_avx2 = {.name = "int4_avx2", .title = "int4 x int8 multiply-accumulate, 256 bits", .needs = ISA_AVX2,
                                    .unit_op = "op", .absent = why};

#endif
