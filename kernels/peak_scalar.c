/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "peak.h"

/* The baseline's own vectors (SSE2 on x86-64), no fused multiply-add: what generic code can reach. */
typedef float floats4 __attribute__((vector_size(16)));

/* acc = acc / 2 + 1 settles at 2, exactly. */
static double run_f32(long iterations)
{
    floats4 half = {0.5f, 0.5f, 0.5f, 0.5f}, one = {1, 1, 1, 1};
#define START(j) PEAK_START(floats4, acc##j, one)
#define STEP(j) acc##j = acc##j * half + one;
#define RIGHT(j)                   \
    for (int l = 0; l < 4; l++)    \
        right &= acc##j[l] == 2.0f;
    PEAK_EACH_CHAIN(START)
    for (long i = 0; i < iterations; i++)
        for (int r = 0; r < PEAK_REPEAT; r++) {
            PEAK_OPAQUE(half);
            PEAK_EACH_CHAIN(STEP)
        }
    bool right = true;
    PEAK_EACH_CHAIN(RIGHT)
#undef START
#undef STEP
#undef RIGHT
    return right ? 2.0 * 4 * PEAK_CHAINS * PEAK_REPEAT * (double)iterations : 0;
}

const struct peak peak_f32_scalar = {
    .name = "f32_scalar",
    .title = "fp32 multiply and add, baseline vectors of 4",
    .unit_op = "flop",
    .run = run_f32,
};
