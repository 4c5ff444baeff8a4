/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {.lines = 1, .quads = 2, .terms = 2};

/* What a nibble stands for, looked up: panel_pot4 + 64. */
VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    const __m512i nibble = _mm512_set1_epi8(15), both = _mm512_load_si512(step);
    const __m512i table = _mm512_add_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)panel_pot4)), _mm512_set1_epi8(64));
    term[0] = _mm512_shuffle_epi8(table, _mm512_and_si512(both, nibble));
    term[1] = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble));
}

VNNI_GEMM(FORMAT_POT4, code, read_terms)
#endif

VNNI_KERNEL(pot4, FORMAT_POT4, 8);
