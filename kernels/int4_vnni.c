/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                             \
    .name = "int4_vnni", .title = "AVX-512 VNNI, 64 products an instruction", .format = FORMAT_INT4, \
    .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI, .act = ACT_INT8

#ifndef __AVX512VNNI__
const struct kernel kernel_int4_vnni = {DESCRIPTION, .n_step = 16, .k_step = 8, .absent = "not an x86-64 build"};
#else
#include "panel_vnni.h"

VNNI_INLINE void int4_codes(const uint8_t *step, __m512i *lo, __m512i *hi)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i both = _mm512_load_si512(step);
    *lo = _mm512_and_si512(both, nibble);
    *hi = _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble);
}

VNNI_TABLE(int4_codes, 8);

static void gemm(const struct gemm_args *a)
{
    struct panel p = panel_layout(FORMAT_INT4, a->k, a->group, a->shift);
    if (a->m > 1)
        vnni_prefill(a, &p, vnni_tiles_int4_codes);
    else if (a->group)
        vnni_decode(a, &p, 8, true, int4_codes);
    else
        vnni_decode(a, &p, 8, false, int4_codes);
}

const struct kernel kernel_int4_vnni = {
    DESCRIPTION,
    .n_step = PANEL_ROWS,
    .k_step = 8,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
#endif
