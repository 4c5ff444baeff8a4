/* gamma.h — the scaling factor γ = σ(x) / σ(Q(x)) of arXiv 2411.06084, as an axis of its own. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GAMMA_H
#define QBENCH_GAMMA_H

#include "format.h"

/*
 * γ restores the second moment that quantization lost. It is estimated after the codes are fixed and folded into the scale
 * that dequantizes, never into the step that chose the codes, so the ablation has the same codes on both sides. Where
 * σ(Q(x)) or σ(x) is 0 it is undefined: counted, and left at 1. Moments are taken in double, about the mean.
 *
 * On weights it is closest to Banner et al. 2019 (NeurIPS, per-channel variance correction without its mean correction);
 * on activations, by tensor from calibration, it is the paper's.
 */
enum gamma { GAMMA_OFF, GAMMA_TENSOR, GAMMA_CHANNEL, GAMMA_COUNT };
enum gamma_on { GAMMA_ON_WEIGHT, GAMMA_ON_ACT, GAMMA_ON_COUNT };
extern const char *const gamma_names[GAMMA_COUNT];
extern const char *const gamma_on_names[GAMMA_ON_COUNT];

struct gamma_stat {
    float mean, min, max; /* over the factors of this layer; 1 when γ is off */
    int count, undefined; /* factors, and how many of them had σ = 0 */
};

/* Running moments of a pair (x, Q(x)). */
struct gamma_moments {
    double n, sum_x, sum_xx, sum_q, sum_qq;
};
void gamma_add(struct gamma_moments *m, const float *x, const float *q, size_t n);
bool gamma_value(const struct gamma_moments *m, float *gamma); /* false: undefined, *gamma = 1 */

/* Folds γ of the weights w (rows, cols) into q's scales; group scales are rounded to fp16 again, as they are stored. */
enum status gamma_fold_weights(struct qlinear *q, const float *w, enum gamma gamma, struct gamma_stat *stat, struct err *e);

/* γ of activations x (m, ldx) under the int8-per-token rule of act.h, over the whole tensor. */
enum status gamma_of_acts(const float *x, int m, int k, int ldx, float *gamma, struct gamma_stat *stat, struct err *e);

#endif
