/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                             \
    .name = "int8_vnni", .title = "AVX-512 VNNI, 64 products an instruction", .format = FORMAT_INT8, \
    .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI, .act = ACT_INT8

#ifndef __AVX512VNNI__
const struct kernel kernel_int8_vnni = {DESCRIPTION, .n_step = 16, .k_step = 8, .absent = "not an x86-64 build"};
#else
#include "panel_vnni.h"

VNNI_INLINE void int8_codes(const uint8_t *step, __m512i *lo, __m512i *hi)
{
    *lo = _mm512_load_si512(step);
    *hi = _mm512_load_si512(step + 64);
}

VNNI_TABLE(int8_codes, 128);

static void gemm(const struct gemm_args *a)
{
    struct panel p = panel_layout(FORMAT_INT8, a->k, a->group, a->shift);
    if (a->m > 1)
        vnni_prefill(a, &p, vnni_tiles_int8_codes);
    else if (a->group)
        vnni_decode(a, &p, 128, true, int8_codes);
    else
        vnni_decode(a, &p, 128, false, int8_codes);
}

const struct kernel kernel_int8_vnni = {
    DESCRIPTION,
    .n_step = PANEL_ROWS,
    .k_step = 8,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
#endif
