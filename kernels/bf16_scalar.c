/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_bf16.h"

static void gemm(const struct gemm_args *a)
{
    for (int n = a->n0; n < a->n1; n++)
        for (int i = 0; i < a->m; i++) {
            const uint16_t *x = a->xb + (size_t)i * (size_t)a->ldx, *w = bf16_panel(a, n) + BF16_PAIR * (n % BF16_ROWS);
            float sum = 0;
            for (int j = 0; j < bf16_pairs(a->k); j++, w += BF16_ROWS * BF16_PAIR)
                sum += bf16_to_float(x[2 * j]) * bf16_to_float(w[0]) + bf16_to_float(x[2 * j + 1]) * bf16_to_float(w[1]);
            a->y[(size_t)i * (size_t)a->ldy + (size_t)n] = sum;
        }
}

const struct kernel kernel_bf16_scalar = {
    .name = "bf16_scalar",
    .title = "plain C loops for the baseline instruction set",
    .format = FORMAT_BF16,
    .act = ACT_BF16,
    .n_step = BF16_ROWS,
    .k_step = 1,
    .packed_size = bf16_size,
    .pack = bf16_pack,
    .gemm = gemm,
};
