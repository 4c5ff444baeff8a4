/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "peak.h"

/* The baseline's own vectors (SSE2 on x86-64), no fused multiply-add: what generic code can reach. */
typedef float floats4 __attribute__((vector_size(16)));
#define PEAK_CHAIN floats4
#include "peak_chain.h"

static inline chain step_f32(chain acc, chain *half, chain one) { return acc * *half + one; }

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    const chain half = {0.5f, 0.5f, 0.5f, 0.5f}, one = {1, 1, 1, 1}, two = {2, 2, 2, 2};
    return chain_run(iterations, 4, one, half, one, two, step_f32);
}

const struct peak peak_f32_scalar = {
    .name = "f32_scalar",
    .title = "fp32 multiply and add, baseline vectors of 4",
    .unit_op = "flop",
    .run = run_f32,
};
