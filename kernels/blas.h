/* blas.h — OpenBLAS, loaded at run time with the core type chosen for this CPU. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BLAS_H
#define QBENCH_BLAS_H

#include "base.h"

/*
 * Old OpenBLAS builds do not know new CPUs and fall back to their SSE3 kernels (OpenBLAS issue 4267), which would make the
 * fp32 baseline several times too slow. The library reads OPENBLAS_CORETYPE when it is loaded, so it is loaded by dlopen after
 * that variable has been set from CPUID and the ISA mask, whatever the environment says. It runs single-threaded:
 * threads are par.h's, so that every kernel is threaded the same way.
 */
struct blas {
    /* row major, y (m,n) = alpha * op(a) * op(b) + beta * y, as cblas_sgemm with CblasRowMajor */
    void (*sgemm)(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                  int ldb, float beta, float *y, int ldy);
    /* y (rows) = alpha * a (rows,cols) * x + beta * y */
    void (*sgemv)(int rows, int cols, float alpha, const float *a, int lda, const float *x, float beta, float *y);
    char core[32];      /* what the library says it runs: "SkylakeX" */
    char wanted[32];    /* the core type asked for */
    char version[64];   /* "OpenBLAS 0.3.21" */
    bool mismatch;      /* core != wanted: the baseline is not to be trusted */
};

/* Loads once; later calls return the same. NULL with a reason when the library is absent or lacks a symbol. */
const struct blas *blas_get(struct err *e);

#endif
