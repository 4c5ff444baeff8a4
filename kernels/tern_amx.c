/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#if TILE
#include <immintrin.h>

static void tern_unpack(const uint8_t *step, int steps, int8_t *lines)
{
    const __m512i pair = _mm512_set1_epi8(3), offset = _mm512_set1_epi8(1);
    for (; steps > 0; steps--, step += 64) {
        __m512i four = _mm512_load_si512(step);
        for (int j = 0; j < 4; j++, lines += 64, four = _mm512_srli_epi16(four, 2))
            _mm512_store_si512(lines, _mm512_sub_epi8(_mm512_and_si512(four, pair), offset));
    }
}
#endif

AMX_KERNEL(tern, FORMAT_TERN, 16, false);
