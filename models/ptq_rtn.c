/* Round to nearest on the widest grid per row or group, nothing else. The baseline of every comparison. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant.h"

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, grid_rtn); }

const struct quantizer quantizer_rtn = {
    .name = "rtn",
    .title = "round to nearest: absmax scale, or min to max with a zero point; mean|w| for tern and bin",
    .source = "Nagel et al. 2021, arXiv 2106.08295, section 2",
    .family = FAMILY_PTQ,
    .encode = encode,
};
