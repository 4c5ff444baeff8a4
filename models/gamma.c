/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gamma.h"

#include <math.h>

#include "act.h"

const char *const gamma_names[GAMMA_COUNT] = {"off", "tensor", "channel"};
const char *const gamma_on_names[GAMMA_ON_COUNT] = {"weight", "act"};

void gamma_add(struct gamma_moments *m, const float *x, const float *q, size_t n)
{
    double sx = 0, sxx = 0, sq = 0, sqq = 0;
    for (size_t i = 0; i < n; i++) {
        double a = x[i], b = q[i];
        sx += a;
        sxx += a * a;
        sq += b;
        sqq += b * b;
    }
    m->n += (double)n;
    m->sum_x += sx;
    m->sum_xx += sxx;
    m->sum_q += sq;
    m->sum_qq += sqq;
}

static double variance(double n, double sum, double sum_squares)
{
    double mean = sum / n, v = sum_squares / n - mean * mean;
    /* What cancellation leaves of a constant is noise of about eps * mean^2, not a spread. */
    return v > 1e-13 * sum_squares / n ? v : 0;
}

bool gamma_value(const struct gamma_moments *m, float *gamma)
{
    double vx = m->n > 0 ? variance(m->n, m->sum_x, m->sum_xx) : 0;
    double vq = m->n > 0 ? variance(m->n, m->sum_q, m->sum_qq) : 0;
    *gamma = 1;
    if (!(vx > 0) || !(vq > 0) || !isfinite(vx) || !isfinite(vq))
        return false;
    *gamma = (float)sqrt(vx / vq);
    return true;
}

static void stat_add(struct gamma_stat *s, float gamma, bool defined)
{
    if (s->count == 0) {
        s->min = s->max = gamma;
        s->mean = 0;
    }
    s->min = fminf(s->min, gamma);
    s->max = fmaxf(s->max, gamma);
    s->mean += (gamma - s->mean) / (float)(s->count + 1);
    s->count++;
    s->undefined += !defined;
}

static void scale_rows(struct qlinear *q, int first, int count, float gamma)
{
    size_t groups = (size_t)qlinear_groups(q->cols, q->plane.group);
    float *parts[] = {q->plane.scale, q->plane.shift}; /* γ (scale * code + shift): it follows the zero point */
    for (int p = 0; p < 2 && parts[p]; p++) {
        float *s = parts[p] + (size_t)first * groups;
        for (size_t i = 0; i < (size_t)count * groups; i++)
            s[i] = q->plane.group ? fp16_round(s[i] * gamma) : s[i] * gamma;
    }
}

enum status gamma_fold_weights(struct qlinear *q, const float *w, enum gamma gamma, struct gamma_stat *stat, struct err *e)
{
    size_t cols = (size_t)q->cols;
    float *dq = mem_alloc((size_t)q->rows * cols, sizeof *dq);
    if (!dq)
        return fail(e, ST_ENOMEM, "no memory for the moments of a %d x %d layer", q->rows, q->cols);
    qlinear_dequantize(q, dq);
    int rows_each = gamma == GAMMA_CHANNEL ? 1 : q->rows;
    *stat = (struct gamma_stat){0};
    for (int r = 0; r < q->rows; r += rows_each) {
        struct gamma_moments m = {0};
        float g;
        gamma_add(&m, w + (size_t)r * cols, dq + (size_t)r * cols, (size_t)rows_each * cols);
        bool defined = gamma_value(&m, &g);
        stat_add(stat, g, defined);
        scale_rows(q, r, rows_each, g);
    }
    mem_free(dq);
    return ST_OK;
}

enum status gamma_of_acts(const float *x, int m, int k, int ldx, float *gamma, struct gamma_stat *stat, struct err *e)
{
    int8_t *codes = mem_alloc((size_t)k, 1);
    float *dq = mem_alloc((size_t)k, sizeof *dq);
    enum status st = ST_OK;
    struct gamma_moments moments = {0};
    if (!codes || !dq) {
        st = fail(e, ST_ENOMEM, "no memory for the moments of %d activations", k);
        goto out;
    }
    for (int i = 0; i < m; i++) {
        const float *row = x + (size_t)i * (size_t)ldx;
        float scale = act_quantize_row(row, k, codes);
        for (int j = 0; j < k; j++)
            dq[j] = scale * (float)codes[j];
        gamma_add(&moments, row, dq, (size_t)k);
    }
    *stat = (struct gamma_stat){0};
    bool defined = gamma_value(&moments, gamma);
    stat_add(stat, *gamma, defined);
out:
    mem_free(codes);
    mem_free(dq);
    return st;
}
