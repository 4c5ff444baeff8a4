/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#if TILE
#include <immintrin.h>

/* Bit j set: 1, else -1. */
static void bin_unpack(const uint8_t *step, int steps, int8_t *lines)
{
    const __m512i plus = _mm512_set1_epi8(1), minus = _mm512_set1_epi8(-1);
    for (; steps > 0; steps--, step += 64) {
        __m512i bits = _mm512_load_si512(step);
        for (int j = 0; j < 8; j++, lines += 64)
            _mm512_store_si512(lines, _mm512_mask_blend_epi8(_mm512_test_epi8_mask(bits, _mm512_set1_epi8((char)(1 << j))), minus, plus));
    }
}
#endif

AMX_KERNEL(bin, FORMAT_BIN, 32, false);
