/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_int4_vnni = {VNNI_DESCRIPTION("int4_vnni", FORMAT_INT4, 8), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void int4_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    __m512i both = _mm512_load_si512(step);
    *lo = vnni_bits(both, 0, 15);
    *hi = vnni_bits(both, 4, 15);
}

VNNI_GEMM(int4_codes, FORMAT_INT4, 8, 1)

const struct kernel kernel_int4_vnni = {VNNI_DESCRIPTION("int4_vnni", FORMAT_INT4, 8), VNNI_FUNCTIONS};
#endif
