/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_amx.h"

#if TILE
#include <immintrin.h>

static void int8_unpack(const uint8_t *step, int steps, int8_t *lines)
{
    const __m512i sign = _mm512_set1_epi8(-128);
    for (int i = 0; i < 2 * steps; i++, step += 64, lines += 64)
        _mm512_store_si512(lines, _mm512_xor_si512(_mm512_load_si512(step), sign));
}
#endif

AMX_KERNEL(int8, FORMAT_INT8, 8, true);
