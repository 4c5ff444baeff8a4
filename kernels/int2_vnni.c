/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {.lines = 1, .quads = 4, .terms = 4, .shift = {0, 2, 4, 6}};

VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    vnni_bits(_mm512_load_si512(step), 2, term);
}

VNNI_GEMM(FORMAT_INT2, code, read_terms)
#endif

VNNI_KERNEL(int2, FORMAT_INT2, 16);
