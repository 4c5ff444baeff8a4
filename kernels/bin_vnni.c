/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_vnni.h"

#ifndef __AVX512VNNI__
const struct kernel kernel_bin_vnni = {VNNI_DESCRIPTION("bin_vnni", FORMAT_BIN, 32), .absent = "not an x86-64 build"};
#else
VNNI_INLINE void bin_codes(const uint8_t *step, int pair, __m512i *lo, __m512i *hi)
{
    __m512i eight = _mm512_load_si512(step);
    *lo = vnni_bits(eight, 2 * pair - 1, 2);
    *hi = vnni_bits(eight, 2 * pair, 2);
}

VNNI_GEMM(bin_codes, FORMAT_BIN, 1, 4)

const struct kernel kernel_bin_vnni = {VNNI_DESCRIPTION("bin_vnni", FORMAT_BIN, 32), VNNI_FUNCTIONS};
#endif
