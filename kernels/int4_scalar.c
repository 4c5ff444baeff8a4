/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int i = 0; i < SCALAR_LINE; i++) {
        code[i] = (int8_t)((step[i] & 15) - 8);
        code[SCALAR_LINE + i] = (int8_t)((step[i] >> 4) - 8);
    }
}

SCALAR_KERNEL(int4, FORMAT_INT4, 8);
