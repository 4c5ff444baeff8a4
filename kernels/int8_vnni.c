/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {.lines = 2, .quads = 2, .terms = 2};

VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    term[0] = _mm512_load_si512(step);
    term[1] = _mm512_load_si512(step + VNNI_LINE);
}

VNNI_GEMM(FORMAT_INT8, code, read_terms)
#endif

VNNI_KERNEL(int8, FORMAT_INT8, 8);
