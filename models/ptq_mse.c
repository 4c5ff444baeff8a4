/* Clipping searched: the scale is the share p of absmax that minimizes the squared error of the group, p = 1.00, 0.99 … 0.21
 * (the grid of GPTQ's quantizer, Frantar et al. 2022, arXiv 2210.17323, with the plain square as its norm). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "quant.h"

static float squared_error(const float *w, int n, float scale, float qmax)
{
    float inverse = 1 / scale, sum = 0;
    for (int i = 0; i < n; i++) {
        float d = round_even(clamp_float(w[i] * inverse, -qmax, qmax)) * scale - w[i];
        sum += d * d;
    }
    return sum;
}

static float scale_mse(const float *w, int n, int qmax)
{
    float widest = scale_absmax(w, n, qmax), best = widest, least = INFINITY;
    if (!(widest > 0))
        return 0;
    for (int i = 0; i < 80; i++) {
        float s = widest * (1 - (float)i / 100), error = squared_error(w, n, s, (float)qmax);
        if (error < least) {
            least = error;
            best = s;
        }
    }
    return best;
}

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, scale_mse); }

const struct quantizer quantizer_mse = {
    .name = "mse",
    .title = "round to nearest, clipping range searched for the least squared error",
    .source = "Choukroun et al. 2019, arXiv 1902.06822; grid as in GPTQ, arXiv 2210.17323",
    .family = FAMILY_PTQ,
    .encode = encode,
};
