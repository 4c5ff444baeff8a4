/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVXVNNI__

#include <immintrin.h>

#define PEAK_CHAIN __m256i
#include "peak_chain.h"

/* The instruction itself: gcc 12 copies registers around the intrinsic. */
static inline chain step_int8(chain acc, chain *x, chain w)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(*x), "x"(w));
    return acc;
}

static double run_int8(long iterations)
{
    const chain ones = _mm256_set1_epi8(1);
    return chain_run(iterations, 32, _mm256_setzero_si256(), ones, ones, _mm256_set1_epi32(chain_fours(iterations)), step_int8);
}

const struct peak peak_int8_avxvnni = {
    .name = "int8_avxvnni",
    .title = "int8 multiply-accumulate by VPDPBUSD, 256 bits",
    .needs = ISA_AVX2 | ISA_AVXVNNI,
    .unit_op = "op",
    .run = run_int8,
};

#else

const struct peak peak_int8_avxvnni = {.name = "int8_avxvnni", .title = "int8 multiply-accumulate by VPDPBUSD, 256 bits",
                                       .needs = ISA_AVX2 | ISA_AVXVNNI, .unit_op = "op",
                                       .absent = "this build has no AVX-VNNI code (not x86-64)"};

#endif
