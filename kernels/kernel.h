/* kernel.h — one linear-layer kernel: y = x * W^T for a packed W; and the table of all kernels. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_KERNEL_H
#define QBENCH_KERNEL_H

#include "act.h"
#include "format.h"

/*
 * Arithmetic contract of the kernels that eat int8 activations, so that all of them agree to the last bit:
 *     acc_g = sum over the group's columns of code_x * code_w           (int32, exact)
 *     s     = fmaf(scale_w[g], (float)acc_g, s)                         (for g = 0, 1, 2 … from s = 0, in this order)
 *     s     = fmaf(shift_w[g], (float)x_sum[g], s)                      (right after it, if the plane has shifts)
 *     y     = s * x_scale
 * where scale_w and shift_w are the plane's as stored. With one scale per row there is a single group.
 * Accumulators cannot overflow: |acc_g| <= 255 * 127 * columns < 2^31 for columns <= KERNEL_MAX_COLUMNS, checked by
 * linear_open.
 *
 * Kernels that eat float activations owe the dot product of those (rounded to bf16 for ACT_BF16) and the dequantized weights, to the
 * rounding of any order of addition. With u = 2^-24, G = groups a row (0 for float formats) and gamma(n) = n u / (1 - n u), y is off by
 * at most
 *     gamma(k + 2 G) * sum of |x| (|scale_w code_w| + |shift_w|)        (|x| |w| for float formats)
 * so they may scale a weight or the sum of a group, whose codes bf16 holds exactly, and add shift_w * sum of x apart; but an offset
 * that makes codes unsigned must be gone, exactly, before anything is rounded. VDPBF16PS takes subnormal operands and results as 0,
 * which adds 2^-126 (2 max(1, |scale_w|) + |x| + |w|) a column. A token that is not finite spoils no other token's outputs.
 */
enum { KERNEL_MAX_COLUMNS = 65536, KERNEL_ROW_SCALES = KERNEL_MAX_COLUMNS + 1 };

struct gemm_args {
    int m, n, k, group;
    bool shift;           /* the plane has shifts */
    int n0, n1;           /* columns [n0,n1) of y are this call's share */
    const void *w;        /* made by pack() */
    const float *x;       /* ACT_F32: (m, ldx) */
    const int8_t *xq;     /* ACT_INT8: (m, ldx), zero padded from k to a multiple of ACT_PAD at least */
    const uint16_t *xb;   /* ACT_BF16: the same */
    int ldx;
    const float *x_scale; /* (m): dequantizing scales, γ on activations already in them */
    const int32_t *x_sum; /* (m, groups) sums of codes */
    int groups;
    float *y;             /* (m, ldy) */
    int ldy;              /* floats between rows of y */
};

struct kernel {
    const char *name;     /* "<format>_<isa>", or "<format>a16_<isa>" for integer weights that eat bf16 activations: the file,
                             the suite value, the database value */
    const char *title;    /* one line for `qbench list kernels` */
    enum format format;
    uint32_t needs;       /* ISA bits */
    enum act act;         /* activation format that it eats */
    int n_step;           /* n0 is a multiple of it, n1 too unless it is n */
    int k_step;           /* group % k_step == 0; KERNEL_ROW_SCALES: only one scale a row */
    bool shift;           /* takes planes with shifts */
    bool many;            /* made for many tokens, wasteful for one */
    size_t (*packed_size)(const struct qlinear *q); /* bytes of what pack() writes */
    void (*pack)(void *dst, const struct qlinear *q);
    void (*gemm)(const struct gemm_args *a); /* allocates nothing, touches only its share of y */
    enum status (*ready)(struct err *e); /* NULL: nothing but ISA bits is needed; f32_blas loads its library here */
    const char *absent;   /* why gemm is NULL in this build */
    void (*describe)(char *buf, size_t n); /* NULL, or what it adds to its title: the choice of a kernel that measures others */
};

extern const struct kernel *const kernels[]; /* NULL-terminated; within a format, later rows are faster, then comes one that chooses */
const struct kernel *kernel_find(const char *name); /* NULL: unknown */

/* "" when k can run here and now, else the reason in words. */
void kernel_reason(const struct kernel *k, char *buf, size_t n);
/* The same, with so many columns a scale, and shifts or not. */
void kernel_refusal(const struct kernel *k, int group, bool shift, char *buf, size_t n);

/* What a format's kernels eat unless weight-only ones are asked for. */
enum act kernel_act(enum format format);

/*
 * The most preferred kernel of this format and act that can run here with this group; NULL and a reason when there is none. That is
 * the last one that does not choose among others, so that its name says what ran; but where that one is made for many tokens only,
 * it is the one that chooses.
 */
const struct kernel *kernel_best(enum format format, enum act act, int group, bool shift, struct err *e);

/* y (m, rows) by the contract above, straight from codes: slow, exact (in float64 where activations are float), and the judge of
 * every kernel. x (m, ldx) float. */
void kernel_oracle(const struct qlinear *q, enum act act, const float *x, int m, int ldx, float *y, int ldy);

#endif
