/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX512VNNI__

#include <immintrin.h>

/* Ones everywhere: each VPDPBUSD adds 4 to a lane. The instruction itself, for gcc 12 puts a register copy before and after
 * each intrinsic, which costs a tenth of the peak. */
static double run_int8(long iterations)
{
    __m512i x = _mm512_set1_epi8(1), w = _mm512_set1_epi8(1);
    __m512i want = _mm512_set1_epi32((int32_t)(uint32_t)(4u * PEAK_REPEAT * (unsigned long)iterations));
#define START(j) PEAK_START(__m512i, acc##j, _mm512_setzero_si512())
#define STEP(j) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc##j) : "v"(x), "v"(w));
#define RIGHT(j) right &= _mm512_cmpeq_epi32_mask(acc##j, want) == 0xffff;
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
    return right ? 2.0 * 64 * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
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
