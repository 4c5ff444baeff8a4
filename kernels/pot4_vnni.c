/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_pot4_vnni = {VNNI_DESCRIPTION("pot4_vnni", FORMAT_POT4, 8), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void pot4_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    const __m512i levels = _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)panel_pot4)), _mm512_set1_epi8(64));
    __m512i both = _mm512_load_si512(step);
    *lo = _mm512_shuffle_epi8(levels, vnni_bits(both, 0, 15));
    *hi = _mm512_shuffle_epi8(levels, vnni_bits(both, 4, 15));
}

VNNI_GEMM(pot4_codes, FORMAT_POT4, 64, 1)

const struct kernel kernel_pot4_vnni = {VNNI_DESCRIPTION("pot4_vnni", FORMAT_POT4, 8), VNNI_FUNCTIONS};
#endif
