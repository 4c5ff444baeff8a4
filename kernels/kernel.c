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

enum act kernel_act(enum format format)
{
    return formats[format].qmax ? ACT_INT8 : format == FORMAT_BF16 ? ACT_BF16 : ACT_F32;
}

void kernel_refusal(const struct kernel *k, int group, bool shift, char *buf, size_t n)
{
    kernel_reason(k, buf, n);
    if (!buf[0] && shift && !k->shift)
        snprintf(buf, n, "takes no zero points");
    if (buf[0] || (group >= 0 && group % k->k_step == 0))
        return;
    if (k->k_step == KERNEL_ROW_SCALES)
        snprintf(buf, n, "takes one scale a row (group 0), not one per %d columns", group);
    else
        snprintf(buf, n, "takes groups of a multiple of %d columns (or 0, one a row), not %d", k->k_step, group);
}

/* The last row of the table; a row before the one chosen is not asked, as asking may load its library. */
static int last_kernel(void)
{
    int n = 0;
    while (kernels[n])
        n++;
    return n - 1;
}

/* The kernel that chooses among those of best's format by the number of tokens; best itself where there is none. */
static const struct kernel *chooser(const struct kernel *best, int group, bool shift)
{
    char why[512];
    for (int i = 0; kernels[i]; i++) {
        if (!kernels[i]->describe || kernels[i]->format != best->format || kernels[i]->act != best->act)
            continue;
        kernel_refusal(kernels[i], group, shift, why, sizeof why);
        if (!why[0])
            return kernels[i];
    }
    return best;
}

const struct kernel *kernel_best(enum format format, enum act act, int group, bool shift, struct err *e)
{
    char why[sizeof e->text], all[900] = "";
    size_t used = 0;
    const struct kernel *best = NULL;
    for (int i = last_kernel(); i >= 0 && !best; i--) {
        if (kernels[i]->format != format || kernels[i]->act != act || kernels[i]->describe)
            continue;
        kernel_refusal(kernels[i], group, shift, why, sizeof why);
        if (!why[0])
            best = kernels[i];
        else if (used < sizeof all)
            used += (size_t)snprintf(all + used, sizeof all - used, "%s%s: %s", used ? "; " : "", kernels[i]->name, why);
    }
    if (!best)
        fail(e, ST_EUNSUPPORTED, "no %s kernel runs here with group %d and %s activations (%s)", formats[format].name, group,
             act_names[act], all);
    return best && best->many ? chooser(best, group, shift) : best;
}

static double oracle_weight(const struct qlinear *q, int r, int c)
{
    size_t at = (size_t)r * (size_t)q->cols + (size_t)c;
    if (formats[q->format].qmax == 0)
        return (double)(q->format == FORMAT_BF16 ? bf16_round(q->dense[at]) : q->dense[at]);
    int groups = qlinear_groups(q->cols, q->plane.group);
    size_t g = (size_t)r * (size_t)groups + (size_t)(q->plane.group ? c / q->plane.group : 0);
    return (double)q->plane.scale[g] * q->plane.codes[at] + (q->plane.shift ? (double)q->plane.shift[g] : 0);
}

static void oracle_float(const struct qlinear *q, enum act act, const float *x, float *y)
{
    for (int r = 0; r < q->rows; r++) {
        double sum = 0;
        for (int c = 0; c < q->cols; c++)
            sum += (double)(act == ACT_BF16 ? bf16_round(x[c]) : x[c]) * oracle_weight(q, r, c);
        y[r] = (float)(sum * (double)q->act_gain);
    }
}

static float oracle_row(const struct qlinear *q, int r, const int8_t *code)
{
    int groups = qlinear_groups(q->cols, q->plane.group), group = q->plane.group ? q->plane.group : q->cols;
    const int8_t *w = q->plane.codes + (size_t)r * (size_t)q->cols;
    const float *scale = q->plane.scale + (size_t)r * (size_t)groups;
    float s = 0;
    for (int g = 0; g < groups; g++) {
        int32_t acc = 0, sum = 0;
        for (int c = g * group; c < min_int((g + 1) * group, q->cols); c++) {
            acc += code[c] * w[c];
            sum += code[c];
        }
        s = fmaf(scale[g], (float)acc, s);
        if (q->plane.shift)
            s = fmaf(q->plane.shift[(size_t)r * (size_t)groups + (size_t)g], (float)sum, s);
    }
    return s;
}

void kernel_oracle(const struct qlinear *q, enum act act, const float *x, int m, int ldx, float *y, int ldy)
{
    int8_t code[KERNEL_MAX_COLUMNS];
    for (int i = 0; i < m; i++) {
        const float *xi = x + (size_t)i * (size_t)ldx;
        float *yi = y + (size_t)i * (size_t)ldy;
        if (act != ACT_INT8) {
            oracle_float(q, act, xi, yi);
            continue;
        }
        assert(q->cols <= KERNEL_MAX_COLUMNS);
        float x_scale = act_quantize_row(xi, q->cols, code) * q->act_gain;
        for (int r = 0; r < q->rows; r++)
            yi[r] = oracle_row(q, r, code) * x_scale;
    }
}
