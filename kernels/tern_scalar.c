/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int quad = 0; quad < 4; quad++)
        for (int i = 0; i < SCALAR_LINE; i++)
            code[quad * SCALAR_LINE + i] = (int8_t)((step[i] >> 2 * quad & 3) - 1);
}

SCALAR_KERNEL(tern, FORMAT_TERN, 16);
