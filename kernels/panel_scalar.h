/* panel_scalar.h — gemm over panels in plain C; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_SCALAR_H
#define QBENCH_PANEL_SCALAR_H

#include <math.h>
#include <string.h>

#include "panel.h"

/* code (2, 16 lanes, 4 columns) = the signed codes of one step. */
typedef void scalar_read(const uint8_t *step, int8_t code[2 * PANEL_ROWS * 4]);

static inline float scalar_scale(const struct panel *p, const uint8_t *panel, bool grouped, int g, int lane)
{
    const uint8_t *at = panel + p->scale_offset + (size_t)g * p->scale_bytes;
    uint16_t half;
    float full;
    if (grouped) {
        memcpy(&half, at + 2 * lane, sizeof half);
        return fp16_to_float(half);
    }
    memcpy(&full, at + 4 * lane, sizeof full);
    return full;
}

/* acc (16) += codes of one step * x (8) */
static inline void scalar_step(const int8_t *code, const int8_t *x, int32_t *acc)
{
    for (int lane = 0; lane < PANEL_ROWS; lane++)
        for (int c = 0; c < 4; c++)
            acc[lane] += code[4 * lane + c] * x[c] + code[64 + 4 * lane + c] * x[4 + c];
}

static inline void scalar_group(const struct panel *p, const uint8_t *panel, int g, const int8_t *x, scalar_read *read,
                                int32_t *acc)
{
    int8_t code[2 * PANEL_ROWS * 4];
    int col = g * p->group;
    const uint8_t *step = panel + (size_t)(col / PANEL_COLUMNS) * p->step_bytes;
    memset(acc, 0, PANEL_ROWS * sizeof *acc);
    for (int j = panel_steps(p, g); j > 0; j--, step += p->step_bytes, col += PANEL_COLUMNS) {
        read(step, code);
        scalar_step(code, x + col, acc);
    }
}

static inline void scalar_gemm(const struct gemm_args *a, int bits, scalar_read *read)
{
    struct panel p = panel_layout(bits, a->k, a->group);
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
        for (int i = 0; i < a->m; i++) {
            const uint8_t *panel = panel_at(&p, a->w, n);
            float s[PANEL_ROWS] = {0};
            for (int g = 0; g < p.groups; g++) {
                int32_t acc[PANEL_ROWS];
                scalar_group(&p, panel, g, a->xq + (size_t)i * (size_t)a->ldx, read, acc);
                for (int lane = 0; lane < PANEL_ROWS; lane++)
                    s[lane] = fmaf(scalar_scale(&p, panel, a->group != 0, g, lane), (float)acc[lane], s[lane]);
            }
            float *y = a->y + (size_t)i * (size_t)a->ldy + (size_t)n;
            for (int lane = 0; lane < min_int(PANEL_ROWS, a->n1 - n); lane++)
                y[lane] = s[lane] * a->x_scale[i];
        }
}

#endif
