/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {.lines = 1, .quads = 2, .terms = 2, .shift = {0, 4}};

VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    const __m512i both = _mm512_load_si512(step);
    term[0] = _mm512_and_si512(both, _mm512_set1_epi8(0x0f));
    term[1] = _mm512_and_si512(both, _mm512_set1_epi8((char)0xf0));
}

VNNI_GEMM(FORMAT_INT4, code, read_terms)
#endif

VNNI_KERNEL(int4, FORMAT_INT4, 8);
