/* Clipping searched: the range is the share p of the widest that minimizes the squared error of the group, p = 1.00, 0.99 … 0.21
 * (the grid of GPTQ's quantizer, Frantar et al. 2022, arXiv 2210.17323, with the plain square as its norm). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "quant.h"

static float squared_error(const float *w, int n, struct grid g, float lo, float hi)
{
    float inverse = 1 / g.scale, sum = 0;
    for (int i = 0; i < n; i++) {
        float d = round_even(clamp_float((w[i] - g.shift) * inverse, lo, hi)) * g.scale + g.shift - w[i];
        sum += d * d;
    }
    return sum;
}

static float power_error(const float *w, int n, struct grid g)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        float d = (float)format_nearest(FORMAT_POT4, w[i] / g.scale) * g.scale - w[i];
        sum += d * d;
    }
    return sum;
}

static struct grid grid_mse(const float *w, int n, enum format format, bool zero_point)
{
    const struct format_info *f = &formats[format];
    struct grid widest = grid_widest(w, n, format, zero_point), best = widest;
    float least = INFINITY, lo = (float)(zero_point ? f->qmin : -f->qmax), hi = (float)f->qmax;
    if (format == FORMAT_BIN) /* mean|w| is the optimum */
        return grid_rtn(w, n, format, false);
    for (int i = 0; i < 80 && widest.scale > 0; i++) {
        float share = 1 - (float)i / 100;
        struct grid g = {widest.scale * share, widest.shift * share};
        float error = format == FORMAT_POT4 ? power_error(w, n, g) : squared_error(w, n, g, lo, hi);
        if (error < least) {
            least = error;
            best = g;
        }
    }
    return best;
}

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, grid_mse); }

const struct quantizer quantizer_mse = {
    .name = "mse",
    .title = "round to nearest, clipping range searched for the least squared error",
    .source = "Choukroun et al. 2019, arXiv 1902.06822; grid as in GPTQ, arXiv 2210.17323",
    .family = FAMILY_PTQ,
    .encode = encode,
};
