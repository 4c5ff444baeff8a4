/* act.h — activations in the form a kernel eats: f32, bf16, or int8 per token with the sums that unsigned weights need. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_ACT_H
#define QBENCH_ACT_H

#include "base.h"
#include "par.h"

enum act { ACT_F32, ACT_BF16, ACT_INT8, ACT_COUNT };
extern const char *const act_names[ACT_COUNT]; /* "f32", "bf16", "int8" */

/*
 * int8 per token: scale = max|x| / 127, code = round-half-even(x / scale) in [-127,127]; a token of zeros (or one so small
 * that its scale underflows) has scale 0 and codes 0. A token that holds a NaN or an infinity has scale NaN and codes 0, so
 * that all its outputs are NaN, as they would be in float: a broken model must not look healthy.
 * bf16: rounded to nearest even. Rows are padded with zero codes to ld columns.
 */
struct acts {
    enum act act;
    int m, k, group;      /* group: columns per sum; 0 = the whole row */
    int groups;           /* sums per row */
    const float *x;       /* ACT_F32: borrowed (m, ldx) */
    int ldx;
    int8_t *q;            /* ACT_INT8: (m, ld) owned, ld = act_ld(k) */
    uint16_t *b;          /* ACT_BF16: the same, in the same memory */
    int ld;
    float *scale;         /* (m) owned */
    int32_t *sum;         /* (m, groups) owned: sum of the codes of each group */
    size_t capacity[3];   /* bytes held by q (and b), scale, sum */
};
enum { ACT_PAD = 64 };

/* k rounded up to ACT_PAD; one ACT_PAD more where equal columns of many rows would fall into the same few cache sets. */
int act_ld(int k);

void acts_free(struct acts *a); /* a zeroed struct acts is empty and valid */

/* Room for up to m tokens of up to k columns in groups of at least smallest_group (0: whole rows only), so that acts_set with
 * act allocates nothing afterwards. Never shrinks. On failure a is empty. */
enum status acts_reserve(struct acts *a, enum act act, int m, int k, int smallest_group, struct err *e);

/* x (m, ldx) float, k columns of it. Splits tokens (or, for little work, nothing) over p's threads; p may be NULL. Room must
 * have been reserved, except for ACT_F32, which only borrows x. */
void acts_set(struct acts *a, struct par *p, enum act act, const float *x, int m, int k, int ldx, int group);

/* The rule alone, for fake quantization: codes (k), not padded; returns the scale. */
float act_quantize_row(const float *x, int k, int8_t *codes);

/* The rule in one instruction set. All agree to the last bit; NULL functions where the build has no such ISA. */
struct act_row {
    const char *name; /* "avx512" */
    uint32_t needs;
    float (*quantize)(const float *x, int k, int8_t *codes);
    /* codes zero padded to a multiple of ACT_PAD; sum (groups) */
    void (*sums)(const int8_t *codes, int k, int group, int32_t *sum);
    void (*bf16)(const float *x, int k, uint16_t *codes);
};
extern const struct act_row act_row_scalar, act_row_avx2, act_row_avx512;
extern const struct act_row *const act_rows[]; /* NULL-terminated, later rows preferred: for tests */

/* max|x| from the largest of its bit patterns without sign -> scale. */
float act_scale(uint32_t max_bits);

/* One code, given scale > 0. Adding and subtracting 1.5 * 2^23 rounds half to even without a call. */
static inline int8_t act_code(float x, float scale)
{
    float v = x / scale;
    v = v > 127.0f ? 127.0f : v;
    v = v < -127.0f ? -127.0f : v;
    return (int8_t)(int)((v + 0x1.8p23f) - 0x1.8p23f);
}

#endif
