/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_vnni_few.h"

#ifdef __AVX512VNNI__
static const struct vnni_code code = {
    .lines = 3,
    .quads = 8,
    .terms = 16,
    .shift = {0, 2, 4, 6, 0, 2, 4, 6, -2, -1, 0, 1, 2, 3, 4, 5}, /* the high bit counts 4 */
};

VNNI_INLINE void read_terms(const uint8_t *step, __m512i term[VNNI_TERMS])
{
    vnni_bits(_mm512_load_si512(step), 2, term);
    vnni_bits(_mm512_load_si512(step + VNNI_LINE), 2, term + 4);
    vnni_bits(_mm512_load_si512(step + 2 * VNNI_LINE), 1, term + 8);
}

VNNI_GEMM(FORMAT_INT3, code, read_terms)
#endif

VNNI_KERNEL(int3, FORMAT_INT3, 32);
