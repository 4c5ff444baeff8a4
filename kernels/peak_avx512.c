/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "peak.h"

#ifdef __AVX512F__

#include <immintrin.h>

#define PEAK_CHAIN __m512
#include "peak_chain.h"

static inline chain step_f32(chain acc, chain *half, chain one) { return _mm512_fmadd_ps(acc, *half, one); }

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    const chain one = _mm512_set1_ps(1);
    return chain_run(iterations, 16, one, _mm512_set1_ps(0.5f), one, _mm512_set1_ps(2), step_f32);
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
