/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_int2_vnni = {VNNI_DESCRIPTION("int2_vnni", FORMAT_INT2, 16), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void int2_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    __m512i four = _mm512_load_si512(step);
    *lo = vnni_bits(four, 4 * pair, 3);
    *hi = vnni_bits(four, 4 * pair + 2, 3);
}

VNNI_GEMM(int2_codes, FORMAT_INT2, 2, 2)

const struct kernel kernel_int2_vnni = {VNNI_DESCRIPTION("int2_vnni", FORMAT_INT2, 16), VNNI_FUNCTIONS};
#endif
