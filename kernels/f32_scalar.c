/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "kernel.h"

/* Nothing is packed: the blob holds the address of the row-major weights. */
static size_t packed_size(const struct qlinear *q) { return sizeof q->dense; }

static void pack(void *dst, const struct qlinear *q) { memcpy(dst, &q->dense, sizeof q->dense); }

/* Eight partial sums: one would wait out the adder's latency at every column. */
static float dot(const float *x, const float *w, int k)
{
    float s[8] = {0};
    int j = 0;
    for (; j + 8 <= k; j += 8)
        for (int i = 0; i < 8; i++)
            s[i] += x[j + i] * w[j + i];
    float sum = ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
    for (; j < k; j++)
        sum += x[j] * w[j];
    return sum;
}

static void gemm(const struct gemm_args *a)
{
    const float *dense;
    memcpy(&dense, a->w, sizeof dense);
    for (int n = a->n0; n < a->n1; n++) {
        const float *w = dense + (size_t)n * (size_t)a->k;
        for (int i = 0; i < a->m; i++)
            a->y[(size_t)i * (size_t)a->ldy + (size_t)n] = dot(a->x + (size_t)i * (size_t)a->ldx, w, a->k);
    }
}

const struct kernel kernel_f32_scalar = {
    .name = "f32_scalar",
    .title = "plain C loops for the baseline instruction set",
    .format = FORMAT_F32,
    .act = ACT_F32,
    .n_step = 16,
    .k_step = 1,
    .packed_size = packed_size,
    .pack = pack,
    .gemm = gemm,
};
