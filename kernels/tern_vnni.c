/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_tern_vnni = {VNNI_DESCRIPTION("tern_vnni", FORMAT_TERN, 16), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void tern_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    __m512i four = _mm512_load_si512(step);
    *lo = vnni_bits(four, 4 * pair, 3);
    *hi = vnni_bits(four, 4 * pair + 2, 3);
}

VNNI_GEMM(tern_codes, FORMAT_TERN, 1, 2)

const struct kernel kernel_tern_vnni = {VNNI_DESCRIPTION("tern_vnni", FORMAT_TERN, 16), VNNI_FUNCTIONS};
#endif
