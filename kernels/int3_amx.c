/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#if TILE
#include <immintrin.h>

/* Bit j of every byte as its bit 2; what a shift of 16-bit lanes brings from the neighbour falls on other bits. */
static inline __m512i third_bit(__m512i bits, int j)
{
    __m512i moved = j < 2 ? _mm512_slli_epi16(bits, 2 - j) : _mm512_srli_epi16(bits, j - 2);
    return _mm512_and_si512(moved, _mm512_set1_epi8(4));
}

static void int3_unpack(const uint8_t *step, int steps, int8_t *lines)
{
    const __m512i pair = _mm512_set1_epi8(3), offset = _mm512_set1_epi8(4);
    for (; steps > 0; steps--, step += 3 * 64) {
        __m512i low = _mm512_load_si512(step), high = _mm512_load_si512(step + 2 * 64);
        for (int j = 0; j < 8; j++, lines += 64) {
            __m512i u = _mm512_or_si512(_mm512_and_si512(low, pair), third_bit(high, j));
            _mm512_store_si512(lines, _mm512_sub_epi8(u, offset));
            low = j == 3 ? _mm512_load_si512(step + 64) : _mm512_srli_epi16(low, 2);
        }
    }
}
#endif

AMX_KERNEL(int3, FORMAT_INT3, 32, false);
