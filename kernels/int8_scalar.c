/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int i = 0; i < 2 * SCALAR_LINE; i++)
        code[i] = (int8_t)(step[i] - 128);
}

SCALAR_KERNEL(int8, FORMAT_INT8, 8);
