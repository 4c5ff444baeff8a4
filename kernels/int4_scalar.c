/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int i = 0; i < 64; i++) {
        code[i] = (int8_t)((step[i] & 15) - 8);
        code[64 + i] = (int8_t)((step[i] >> 4) - 8);
    }
}

static void gemm(const struct gemm_args *a) { scalar_gemm(a, 4, read_codes); }

const struct kernel kernel_int4_scalar = {
    .name = "int4_scalar",
    .title = "plain C loops for the baseline instruction set",
    .format = FORMAT_INT4,
    .act = ACT_INT8,
    .n_step = PANEL_ROWS,
    .k_step = PANEL_COLUMNS,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
