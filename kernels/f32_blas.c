/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "blas.h"
#include "kernel.h"

/* Nothing is packed: the blob holds the address of the row-major weights, and the library's functions. */
struct blob {
    const float *dense;
    const struct blas *blas;
};

static enum status ready(struct err *e)
{
    struct err why = {0};
    return blas_get(&why) ? ST_OK : fail(e, ST_EUNSUPPORTED, "%s", why.text);
}

static size_t packed_size(const struct qlinear *q) { return sizeof(struct blob); }

static void pack(void *dst, const struct qlinear *q)
{
    struct blob blob = {q->dense, blas_get(NULL)};
    memcpy(dst, &blob, sizeof blob);
}

static void gemm(const struct gemm_args *a)
{
    const struct blob *blob = a->w;
    const float *w = blob->dense + (size_t)a->n0 * (size_t)a->k;
    float *y = a->y + a->n0;
    int n = a->n1 - a->n0;
    if (a->m > 1) {
        blob->blas->sgemm(false, true, a->m, n, a->k, 1.0f, a->x, a->ldx, w, a->k, 0.0f, y, a->ldy);
        return;
    }
    /* sgemv is twice as fast as sgemm here. Some versions compute 0 * y for beta = 0, which a NaN in y survives. */
    memset(y, 0, (size_t)n * sizeof *y);
    blob->blas->sgemv(n, a->k, 1.0f, w, a->k, a->x, 1.0f, y);
}

const struct kernel kernel_f32_blas = {
    .name = "f32_blas",
    .title = "OpenBLAS: sgemv for one token, sgemm for more",
    .format = FORMAT_F32,
    .act = ACT_F32,
    .n_step = 16,
    .k_step = 1,
    .packed_size = packed_size,
    .pack = pack,
    .gemm = gemm,
    .ready = ready,
};
