/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int quad = 0; quad < 8; quad++)
        for (int i = 0; i < SCALAR_LINE; i++)
            code[quad * SCALAR_LINE + i] = step[i] >> quad & 1 ? 1 : -1;
}

SCALAR_KERNEL(bin, FORMAT_BIN, 32);
