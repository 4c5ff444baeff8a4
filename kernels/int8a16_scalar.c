/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "a16_scalar.h"

static void read_codes(const uint8_t *step, int8_t *code)
{
    for (int i = 0; i < 2 * SCALAR_LINE; i++)
        code[i] = (int8_t)(step[i] - 128);
}

static void gemm(const struct gemm_args *a) { a16_gemm(a, FORMAT_INT8, read_codes); }

const struct kernel kernel_int8a16_scalar = {
    .name = "int8a16_scalar",
    .title = "plain C loops, bf16 activations",
    .format = FORMAT_INT8,
    .act = ACT_BF16,
    .n_step = PANEL_ROWS,
    .k_step = 8,
    .shift = true,
    .packed_size = panel_size,
    .pack = panel_pack,
    .gemm = gemm,
};
