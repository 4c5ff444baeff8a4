/* panel_scalar.h — gemm over panels in plain C; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_SCALAR_H
#define QBENCH_PANEL_SCALAR_H

#include <math.h>
#include <string.h>

#include "panel.h"

enum { SCALAR_QUADS = 8, SCALAR_LINE = PANEL_ROWS * PANEL_QUAD };

/* code (quads, 16 lanes, 4 columns) = the signed codes of one step. */
typedef void scalar_read(const uint8_t *step, int8_t code[SCALAR_QUADS * SCALAR_LINE]);

static inline float scalar_value(const uint8_t *at, bool grouped, int lane)
{
    uint16_t half;
    float full;
    if (grouped) {
        memcpy(&half, at + 2 * lane, sizeof half);
        return fp16_to_float(half);
    }
    memcpy(&full, at + 4 * lane, sizeof full);
    return full;
}

/* acc (16) += codes of one step * x (step_columns) */
static inline void scalar_step(const int8_t *code, int quads, const int8_t *x, int32_t *acc)
{
    for (int quad = 0; quad < quads; quad++)
        for (int lane = 0; lane < PANEL_ROWS; lane++)
            for (int c = 0; c < PANEL_QUAD; c++)
                acc[lane] += code[quad * SCALAR_LINE + PANEL_QUAD * lane + c] * x[PANEL_QUAD * quad + c];
}

static inline void scalar_group(const struct panel *p, const uint8_t *panel, int g, const int8_t *x, scalar_read *read,
                                int32_t *acc)
{
    int8_t code[SCALAR_QUADS * SCALAR_LINE];
    const uint8_t *step = panel_step(p, panel, g);
    memset(acc, 0, PANEL_ROWS * sizeof *acc);
    x += (size_t)g * (size_t)p->group;
    for (int j = panel_steps(p, g); j > 0; j--, step += p->step_bytes, x += p->step_columns) {
        read(step, code);
        scalar_step(code, p->step_columns / PANEL_QUAD, x, acc);
    }
}

/* s (16) for token i */
static inline void scalar_token(const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int i, scalar_read *read,
                                float *s)
{
    int32_t acc[PANEL_ROWS];
    memset(s, 0, PANEL_ROWS * sizeof *s);
    for (int g = 0; g < p->groups; g++) {
        const uint8_t *scale = panel_scale(p, panel, g), *shift = scale + p->shift_offset;
        float sum = (float)a->x_sum[(size_t)i * (size_t)a->groups + (size_t)g];
        scalar_group(p, panel, g, a->xq + (size_t)i * (size_t)a->ldx, read, acc);
        for (int lane = 0; lane < PANEL_ROWS; lane++) {
            s[lane] = fmaf(scalar_value(scale, a->group != 0, lane), (float)acc[lane], s[lane]);
            if (a->shift)
                s[lane] = fmaf(scalar_value(shift, a->group != 0, lane), sum, s[lane]);
        }
    }
}

static inline void scalar_gemm(const struct gemm_args *a, enum format format, scalar_read *read)
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
        for (int i = 0; i < a->m; i++) {
            float s[PANEL_ROWS], *y = a->y + (size_t)i * (size_t)a->ldy + (size_t)n;
            scalar_token(a, &p, panel_at(&p, a->w, n), i, read, s);
            for (int lane = 0; lane < min_int(PANEL_ROWS, a->n1 - n); lane++)
                y[lane] = s[lane] * a->x_scale[i];
        }
}

/* The whole descriptor; kstep = the format's columns a step. */
#define SCALAR_KERNEL(format_name, format_id, kstep)                                 static void gemm(const struct gemm_args *a) { scalar_gemm(a, format_id, read_codes); }     const struct kernel kernel_##format_name##_scalar = {                               .name = #format_name "_scalar",                                                 .title = "plain C loops for the baseline instruction set",                      .format = format_id,                                                            .act = ACT_INT8,                                                                .n_step = PANEL_ROWS,                                                           .k_step = kstep,                                                                .shift = true,                                                                  .packed_size = panel_size,                                                      .pack = panel_pack,                                                             .gemm = gemm,                                                               }

#endif
