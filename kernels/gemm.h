/* gemm.h — a packed linear layer bound to a kernel, run on a team of threads. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GEMM_H
#define QBENCH_GEMM_H

#include "kernel.h"
#include "par.h"

struct linear {
    const struct kernel *kernel;
    int rows, cols, group;
    bool shift;          /* its plane has shifts */
    float act_gain;
    void *packed;        /* owned; 64-byte aligned */
    size_t packed_bytes; /* of weights that one pass reads: the packed codes and scales with their padding, or the float
                            weights that an f32 layer borrows (those are not copied) */
};

/*
 * Packs q for kernel. q may be freed afterwards (but not the float weights behind an f32 layer). ST_EUNSUPPORTED when the
 * kernel cannot run here or does not take this group or so many columns; ST_EUSAGE when the formats differ or q breaks its
 * format's promises: a code that it does not hold, a group's scale that fp16 cannot hold, γ on float activations.
 * On failure l is empty; linear_close of an empty (zeroed) l is fine.
 */
enum status linear_open(struct linear *l, const struct qlinear *q, const struct kernel *kernel, struct err *e);
void linear_close(struct linear *l);

/*
 * y (a->m, ldy) = a * W^T; floats of y beyond l->rows in a row stay untouched. a was set with the kernel's act, l->cols
 * columns and l->group. scale_room: scratch of a->m floats, used when act_gain != 1 (NULL is fine when it is 1). p may be
 * NULL: this thread alone, as for products too small to share. Integer kernels give the same bits for any number of threads.
 */
void linear_run(const struct linear *l, struct par *p, const struct acts *a, float *scale_room, float *y, int ldy);

#endif
