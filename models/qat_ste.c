/* Quantization-aware training with the straight-through estimator (Bengio et al. 2013, arXiv 1308.3432): the forward uses the
 * weights and activations that rtn would store; the backward treats rounding as the identity. (Clipping the gradient outside the range
 * would change nothing: rtn's integer grids reach their widest weight, and bin and tern are trained without, as BitNet is.) */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "quant.h"

struct ste {
    struct model_config config;
    struct qlinear *linear; /* (layers, LIN_COUNT) owned: the codes and scales of the last forward */
};

static void encode(struct qlinear *out, const float *w, struct par *p) { encode_groups(out, w, p, grid_rtn); }

struct fake_job {
    struct qlinear *q;
    float *out;
};

static void dequantize_rows(void *ctx, int thread, int threads)
{
    const struct fake_job *j = ctx;
    int begin, end;
    par_span(j->q->rows, 1, thread, threads, &begin, &end);
    if (begin < end)
        qlinear_dequantize_rows(j->q, begin, end, j->out + (size_t)begin * (size_t)j->q->cols);
}

static enum status fake_weights(void *ctx, const struct weights *master, struct weights *shadow, struct par *p, struct err *e)
{
    struct ste *s = ctx;
    for (int l = 0; l < s->config.layers; l++)
        for (int i = 0; i < LIN_COUNT; i++) {
            struct fake_job j = {&s->linear[l * LIN_COUNT + i], shadow->layer[l].linear[i]};
            encode(j.q, master->layer[l].linear[i], p);
            par_run(p, dequantize_rows, &j);
        }
    return ST_OK;
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
    *f = (struct fake_quant){.ctx = s, .weights = fake_weights, .act_int8 = !spec->weight_only};
    if (s) {
        s->config = *c;
        s->linear = mem_alloc((size_t)n, sizeof *s->linear);
    }
    enum status st = s && s->linear ? ST_OK : fail(e, ST_ENOMEM, "no memory for quantization-aware training");
    for (int i = 0; st == ST_OK && i < n; i++) {
        int rows, cols;
        lin_shape(c, (enum lin)(i % LIN_COUNT), &rows, &cols);
        st = qlinear_alloc(&s->linear[i], spec->format, rows, cols, spec->group, e);
        if (st == ST_OK && spec->zero_point)
            st = qlinear_alloc_shift(&s->linear[i], e);
    }
    if (st != ST_OK)
        release(f);
    return st;
}

const struct quantizer quantizer_qat_ste = {
    .name = "qat_ste",
    .title = "fake quantization in the forward, straight-through gradient",
    .source = "Bengio et al. 2013, arXiv 1308.3432; Jacob et al. 2018, arXiv 1712.05877",
    .family = FAMILY_QAT,
    .encode = encode,
    .fake_quant = fake_quant,
    .release = release,
};
