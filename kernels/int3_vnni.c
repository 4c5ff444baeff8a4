/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_int3_vnni = {VNNI_DESCRIPTION("int3_vnni", FORMAT_INT3, 32), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void int3_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    __m512i low = _mm512_load_si512(step + 64 * (pair / 2)), high = _mm512_load_si512(step + 128);
    *lo = _mm512_or_si512(vnni_bits(low, 4 * (pair % 2), 3), vnni_bits(high, 2 * pair - 2, 4));
    *hi = _mm512_or_si512(vnni_bits(low, 4 * (pair % 2) + 2, 3), vnni_bits(high, 2 * pair - 1, 4));
}

VNNI_GEMM(int3_codes, FORMAT_INT3, 4, 4)

const struct kernel kernel_int3_vnni = {VNNI_DESCRIPTION("int3_vnni", FORMAT_INT3, 32), VNNI_FUNCTIONS};
#endif
