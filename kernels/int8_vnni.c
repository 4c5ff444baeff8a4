/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_int8_vnni = {VNNI_DESCRIPTION("int8_vnni", FORMAT_INT8, 8), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void int8_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    *lo = _mm512_load_si512(step);
    *hi = _mm512_load_si512(step + 64);
}

VNNI_GEMM(int8_codes, FORMAT_INT8, 128, 1)

const struct kernel kernel_int8_vnni = {VNNI_DESCRIPTION("int8_vnni", FORMAT_INT8, 8), VNNI_FUNCTIONS};
#endif
