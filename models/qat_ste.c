/* Quantization-aware training with the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): the forward uses the
 * weights and activations that rtn would store; the backward treats rounding as the identity inside the clipping range. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "quant.h"

struct ste {
    struct model_config config;
    struct qlinear *linear; /* (layers, LIN_COUNT) owned: the codes and scales of the last forward */
};

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, scale_absmax); }

struct group_job {
    const struct qlinear *q;
    const float *master;
    float *out;
    void (*each)(const struct group_job *j, size_t at, int n, float scale);
};

static void walk_groups(void *ctx, int thread, int threads)
{
    const struct group_job *j = ctx;
    int begin, end, cols = j->q->cols, group = j->q->plane.group ? j->q->plane.group : cols;
    const float *scale = j->q->plane.scale;
    par_span(j->q->rows, 1, thread, threads, &begin, &end);
    scale += (size_t)begin * (size_t)qlinear_groups(cols, j->q->plane.group);
    for (int r = begin; r < end; r++)
        for (int c = 0; c < cols; c += group)
            j->each(j, (size_t)r * (size_t)cols + (size_t)c, min_int(group, cols - c), *scale++);
}

static void dequantize(const struct group_job *j, size_t at, int n, float scale)
{
    for (int i = 0; i < n; i++)
        j->out[at + (size_t)i] = scale * (float)j->q->plane.codes[at + (size_t)i];
}

/* Weights past the last code by more than half a step were clipped: no gradient reaches them. */
static void mask(const struct group_job *j, size_t at, int n, float scale)
{
    float limit = ((float)formats[j->q->format].qmax + 0.5f) * scale;
    for (int i = 0; i < n; i++)
        if (fabsf(j->master[at + (size_t)i]) > limit)
            j->out[at + (size_t)i] = 0;
}

static enum status fake_weights(void *ctx, const struct weights *master, struct weights *shadow, struct par *p, struct err *e)
{
    struct ste *s = ctx;
    for (int l = 0; l < s->config.layers; l++)
        for (int i = 0; i < LIN_COUNT; i++) {
            struct qlinear *q = &s->linear[l * LIN_COUNT + i];
            struct group_job j = {q, master->layer[l].linear[i], shadow->layer[l].linear[i], dequantize};
            encode(q, j.master, p);
            par_run(p, walk_groups, &j);
        }
    return ST_OK;
}

static void mask_grads(void *ctx, const struct weights *master, struct weights *grads, struct par *p)
{
    struct ste *s = ctx;
    for (int l = 0; l < s->config.layers; l++)
        for (int i = 0; i < LIN_COUNT; i++) {
            struct group_job j = {&s->linear[l * LIN_COUNT + i], master->layer[l].linear[i], grads->layer[l].linear[i], mask};
            par_run(p, walk_groups, &j);
        }
}

static void release(struct fake_quant *f)
{
    struct ste *s = f->ctx;
    for (int i = 0; s && s->linear && i < s->config.layers * LIN_COUNT; i++)
        qlinear_free(&s->linear[i]);
    if (s)
        mem_free(s->linear);
    mem_free(s);
    memset(f, 0, sizeof *f);
}

static enum status fake_quant(struct fake_quant *f, const struct qspec *spec, const struct model_config *c, struct err *e)
{
    int n = c->layers * LIN_COUNT;
    struct ste *s = mem_alloc(1, sizeof *s);
    *f = (struct fake_quant){.ctx = s, .weights = fake_weights, .grads = mask_grads, .act_int8 = true};
    if (s) {
        s->config = *c;
        s->linear = mem_alloc((size_t)n, sizeof *s->linear);
    }
    enum status st = s && s->linear ? ST_OK : fail(e, ST_ENOMEM, "no memory for quantization-aware training");
    for (int i = 0; st == ST_OK && i < n; i++) {
        int rows, cols;
        lin_shape(c, (enum lin)(i % LIN_COUNT), &rows, &cols);
        st = qlinear_alloc(&s->linear[i], spec->format, rows, cols, spec->group, e);
    }
    if (st != ST_OK)
        release(f);
    return st;
}

const struct quantizer quantizer_qat_ste = {
    .name = "qat_ste",
    .title = "fake quantization in the forward, clipped straight-through gradient",
    .source = "Bengio et al. 2013, arXiv 1308.3432; Jacob et al. 2018, arXiv 1712.05877",
    .family = FAMILY_QAT,
    .encode = encode,
    .fake_quant = fake_quant,
    .release = release,
};
