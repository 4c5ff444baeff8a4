/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {.lines = 1, .quads = 8, .terms = 8, .shift = {-1, 0, 1, 2, 3, 4, 5, 6}}; /* 0 or 2 */

VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    vnni_bits(_mm512_load_si512(step), 1, term);
}

VNNI_GEMM(FORMAT_BIN, code, read_terms)
#endif

VNNI_KERNEL(bin, FORMAT_BIN, 32);
