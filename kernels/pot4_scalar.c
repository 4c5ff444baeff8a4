/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int i = 0; i < SCALAR_LINE; i++) {
        code[i] = panel_pot4[step[i] & 15];
        code[SCALAR_LINE + i] = panel_pot4[step[i] >> 4];
    }
}

SCALAR_KERNEL(pot4, FORMAT_POT4, 8);
