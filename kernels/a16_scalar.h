/* a16_scalar.h — integer weights against bf16 activations in plain C; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_A16_SCALAR_H
#define QBENCH_A16_SCALAR_H

#include "panel_scalar.h"

/* y (16) += scale * (the group's sum of x * code) + shift * its sum of x, for one token. */
static inline void a16_group(const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int g, const uint16_t *x,
                             scalar_read *read, float *y)
{
    int8_t code[SCALAR_QUADS * SCALAR_LINE];
    float sum[PANEL_ROWS] = {0}, x_sum = 0;
    const uint8_t *step = panel_step(p, panel, g), *scale = panel_scale(p, panel, g);
    x += (size_t)g * (size_t)p->group;
    for (int s = panel_steps(p, g); s > 0; s--, step += p->step_bytes, x += p->step_columns) {
        read(step, code);
        for (int c = 0; c < p->step_columns; c++) {
            float xc = bf16_to_float(x[c]);
            const int8_t *column = code + c / PANEL_QUAD * SCALAR_LINE + c % PANEL_QUAD;
            x_sum += xc;
            for (int lane = 0; lane < PANEL_ROWS; lane++)
                sum[lane] += xc * (float)column[PANEL_QUAD * lane];
        }
    }
    for (int lane = 0; lane < PANEL_ROWS; lane++) {
        y[lane] += scalar_value(scale, a->group != 0, lane) * sum[lane];
        if (a->shift)
            y[lane] += scalar_value(scale + p->shift_offset, a->group != 0, lane) * x_sum;
    }
}

static inline void a16_gemm(const struct gemm_args *a, enum format format, scalar_read *read)
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
        for (int i = 0; i < a->m; i++) {
            float y[PANEL_ROWS] = {0};
            for (int g = 0; g < p.groups; g++)
                a16_group(a, &p, panel_at(&p, a->w, n), g, a->xb + (size_t)i * (size_t)a->ldx, read, y);
            memcpy(a->y + (size_t)i * (size_t)a->ldy + (size_t)n, y, (size_t)min_int(PANEL_ROWS, a->n1 - n) * sizeof *y);
        }
}

#endif
