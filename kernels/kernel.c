/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kernel.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"

#define KERNEL(name) extern const struct kernel kernel_##name;
#include "kernels.def"
#undef KERNEL

#define KERNEL(name) &kernel_##name,
const struct kernel *const kernels[] = {
#include "kernels.def"
    NULL};
#undef KERNEL

const struct kernel *kernel_find(const char *name)
{
    for (int i = 0; kernels[i]; i++)
        if (strcmp(kernels[i]->name, name) == 0)
            return kernels[i];
    return NULL;
}

void kernel_reason(const struct kernel *k, char *buf, size_t n)
{
    struct err e = {0};
    snprintf(buf, n, "%s", k->absent ? k->absent : "");
    if (!k->absent)
        cpu_missing(k->needs, buf, n);
    if (!buf[0] && k->ready && k->ready(&e) != ST_OK)
        snprintf(buf, n, "%s", e.text);
}

/* "" or why k does not run here with this group. */
static void refusal(const struct kernel *k, int group, char *buf, size_t n)
{
    kernel_reason(k, buf, n);
    if (!buf[0] && group % k->k_step != 0)
        snprintf(buf, n, "takes groups of a multiple of %d columns", k->k_step);
}

const struct kernel *kernel_best(enum format format, int group, struct err *e)
{
    char why[sizeof e->text], all[900] = "";
    size_t used = 0;
    const struct kernel *best = NULL;
    for (int i = 0; kernels[i]; i++) {
        if (kernels[i]->format != format)
            continue;
        refusal(kernels[i], group, why, sizeof why);
        if (!why[0])
            best = kernels[i];
        else if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s: %s", used ? "; " : "", kernels[i]->name, why);
    }
    if (!best)
        fail(e, ST_EUNSUPPORTED, "no %s kernel runs here with group %d (%s)", formats[format].name, group, all);
    return best;
}

static void oracle_float(const struct qlinear *q, const float *x, float *y)
{
    for (int r = 0; r < q->rows; r++) {
        const float *w = q->dense + (size_t)r * (size_t)q->cols;
        double sum = 0;
        for (int c = 0; c < q->cols; c++)
            sum += (double)x[c] * (double)w[c];
        y[r] = (float)sum;
    }
}

static float oracle_row(const struct qlinear *q, int r, const int8_t *code)
{
    int groups = qlinear_groups(q->cols, q->plane.group), group = q->plane.group ? q->plane.group : q->cols;
    const int8_t *w = q->plane.codes + (size_t)r * (size_t)q->cols;
    const float *scale = q->plane.scale + (size_t)r * (size_t)groups;
    float s = 0;
    for (int g = 0; g < groups; g++) {
        int32_t acc = 0;
        for (int c = g * group; c < min_int((g + 1) * group, q->cols); c++)
            acc += code[c] * w[c];
        s = fmaf(scale[g], (float)acc, s);
    }
    return s;
}

void kernel_oracle(const struct qlinear *q, const float *x, int m, int ldx, float *y, int ldy)
{
    int8_t code[KERNEL_MAX_COLUMNS];
    for (int i = 0; i < m; i++) {
        const float *xi = x + (size_t)i * (size_t)ldx;
        float *yi = y + (size_t)i * (size_t)ldy;
        if (formats[q->format].qmax == 0) {
            oracle_float(q, xi, yi);
            continue;
        }
        assert(q->cols <= KERNEL_MAX_COLUMNS);
        float x_scale = act_quantize_row(xi, q->cols, code) * q->act_gain;
        for (int r = 0; r < q->rows; r++)
            yi[r] = oracle_row(q, r, code) * x_scale;
    }
}
