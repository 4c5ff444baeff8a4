/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX512VNNI__

#include <immintrin.h>

#define PEAK_CHAIN __m512i
#include "peak_chain.h"

/* The instruction itself, for gcc 12 puts a register copy before and after each intrinsic, which costs a tenth of the peak. */
static inline chain step_int8(chain acc, chain *x, chain w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(*x), "v"(w));
    return acc;
}

static double run_int8(long iterations)
{
    const chain ones = _mm512_set1_epi8(1);
    return chain_run(iterations, 64, _mm512_setzero_si512(), ones, ones, _mm512_set1_epi32(chain_fours(iterations)), step_int8);
}

const struct peak peak_int8_vnni = {
    .name = "int8_vnni",
    .title = "int8 multiply-accumulate by VPDPBUSD, 512 bits",
    .needs = ISA_AVX512 | ISA_AVX512VNNI,
    .unit_op = "op",
    .run = run_int8,
};

#else

const struct peak peak_int8_vnni = {.name = "int8_vnni", .title = "int8 multiply-accumulate by VPDPBUSD, 512 bits",
                                    .needs = ISA_AVX512 | ISA_AVX512VNNI, .unit_op = "op",
                                    .absent = "this build has no AVX-512 VNNI code (not x86-64)"};

#endif
