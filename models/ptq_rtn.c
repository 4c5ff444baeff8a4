/* Round to nearest: scale = max|w| / qmax per row or group, nothing else. The baseline of every comparison. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant.h"

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, scale_absmax); }

const struct quantizer quantizer_rtn = {
    .name = "rtn",
    .title = "round to nearest, symmetric, absmax scale",
    .source = "Nagel et al. 2021, arXiv 2106.08295, section 2",
    .family = FAMILY_PTQ,
    .encode = encode,
};
