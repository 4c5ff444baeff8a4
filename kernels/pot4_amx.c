/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#if TILE
#include <immintrin.h>

static void pot4_unpack(const uint8_t *step, int steps, int8_t *lines)
{
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i code = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)panel_pot4));
    for (; steps > 0; steps--, step += 64, lines += 2 * 64) {
        __m512i both = _mm512_load_si512(step), high = _mm512_srli_epi16(both, 4);
        _mm512_store_si512(lines, _mm512_shuffle_epi8(code, _mm512_and_si512(both, nibble)));
        _mm512_store_si512(lines + 64, _mm512_shuffle_epi8(code, _mm512_and_si512(high, nibble)));
    }
}
#endif

AMX_KERNEL(pot4, FORMAT_POT4, 8, false);
