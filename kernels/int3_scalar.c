/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    const uint8_t *high = step + 2 * SCALAR_LINE;
    for (int quad = 0; quad < 8; quad++)
        for (int i = 0; i < SCALAR_LINE; i++) {
            int low = step[quad / 4 * SCALAR_LINE + i] >> 2 * (quad % 4) & 3;
            code[quad * SCALAR_LINE + i] = (int8_t)((low | (high[i] >> quad & 1) << 2) - 4);
        }
}

SCALAR_KERNEL(int3, FORMAT_INT3, 32);
