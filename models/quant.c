/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "infer.h"

#define QUANTIZER(name) extern const struct quantizer quantizer_##name;
#include "quantizers.def"
#undef QUANTIZER

const struct quantizer *const quantizers[] = {
#define QUANTIZER(name) &quantizer_##name,
#include "quantizers.def"
#undef QUANTIZER
    NULL,
};

const char *const family_names[] = {"PTQ", "QAT"};

const struct quantizer *quantizer_find(const char *name)
{
    for (int i = 0; quantizers[i]; i++)
        if (!strcmp(quantizers[i]->name, name))
            return quantizers[i];
    return NULL;
}

float scale_absmax(const float *w, int n, int qmax)
{
    float max = 0;
    for (int i = 0; i < n; i++) {
        float a = fabsf(w[i]);
        max = a > max ? a : max;
    }
    return max / (float)qmax;
}

void encode_group(int8_t *codes, const float *w, int n, float scale, enum format format)
{
    for (int i = 0; i < n; i++)
        codes[i] = format_nearest(format, scale > 0 ? w[i] / scale : 0);
}

struct encode_job {
    struct qlinear *out;
    const float *w;
    scale_rule *rule;
};

static void encode_rows(void *ctx, int thread, int threads)
{
    const struct encode_job *j = ctx;
    struct qplane *plane = &j->out->plane;
    int cols = j->out->cols, group = plane->group ? plane->group : cols;
    int groups = qlinear_groups(cols, plane->group), qmax = formats[plane->format].qmax, begin, end;
    par_span(j->out->rows, 1, thread, threads, &begin, &end);
    for (int r = begin; r < end; r++) {
        for (int g = 0; g < groups; g++) {
            size_t at = (size_t)r * (size_t)cols + (size_t)g * (size_t)group;
            int n = min_int(group, cols - g * group);
            float s = j->rule(j->w + at, n, qmax);
            if (plane->group)
                s = fp16_round(s);
            plane->scale[(size_t)r * (size_t)groups + (size_t)g] = s;
            encode_group(plane->codes + at, j->w + at, n, s, plane->format);
        }
    }
}

void encode_groups(struct qlinear *out, const float *w, struct par *p, scale_rule *rule)
{
    struct encode_job j = {out, w, rule};
    par_run(p, encode_rows, &j);
}

enum status qspec_check(const struct qspec *s, struct err *e)
{
    bool is_float = formats[s->format].qmax == 0;
    if (is_float && (s->method || s->group || s->gamma != GAMMA_OFF))
        return fail(e, ST_EUSAGE, "format %s is not quantized: it takes no method, group or gamma", formats[s->format].name);
    if (!is_float && !s->method)
        return fail(e, ST_EUSAGE, "format %s needs a method; `qbench list methods` shows them", formats[s->format].name);
    if (s->group < 0 || s->group % 8)
        return fail(e, ST_EUSAGE, "group %d: take 0 (one scale per output channel) or a multiple of 8, such as 32, 64 or 128", s->group);
    if (s->gamma == GAMMA_CHANNEL && s->gamma_on == GAMMA_ON_ACT)
        return fail(e, ST_EUSAGE, "gamma channel on activations cannot leave the integer dot product; take gamma tensor, or gamma_on weight");
    return ST_OK;
}

struct act_gamma {
    struct qmodel *q;
    struct infer *session;
    enum status status;
    struct err *e;
};

static void measure_act_gamma(void *ctx, int layer, enum lin lin, const float *x, int m, int k)
{
    struct act_gamma *a = ctx;
    size_t at = (size_t)layer * LIN_COUNT + lin;
    float g = 1;
    if (a->status == ST_OK)
        a->status = gamma_of_acts(x, m, k, k, &g, &a->q->gamma[at], a->e);
    a->q->linear[at].act_gain = g;
    infer_set_act_gain(a->session, layer, lin, g);
}

/* All calibration tokens go through a layer before the next one sees them, so one pass measures each γ on top of those below. */
static enum status calibrate_act_gamma(struct qmodel *q, const struct tokens *calib, struct par *p, struct err *e)
{
    int window = q->weights->config.context;
    if (!calib || calib->count < 2)
        return fail(e, ST_EUSAGE, "gamma on activations needs calibration text, and there is none");
    if ((size_t)window > calib->count)
        window = (int)calib->count;
    int batch = (int)(calib->count / (size_t)window);
    struct act_gamma a = {q, NULL, ST_OK, e};
    enum status st = infer_open(&a.session, q, NULL, batch, window, batch * window, p, e);
    float *logits = mem_alloc((size_t)batch * (size_t)q->weights->config.vocab, sizeof *logits);
    if (st == ST_OK && !logits)
        st = fail(e, ST_ENOMEM, "no memory for the logits of %d calibration windows", batch);
    if (st == ST_OK) {
        infer_observe(a.session, measure_act_gamma, &a);
        st = infer_forward(a.session, calib->id, window, INFER_LAST, logits, e);
    }
    infer_close(a.session);
    mem_free(logits);
    return st != ST_OK ? st : a.status;
}

static enum status quantize_linear(struct qmodel *q, int layer, enum lin lin, struct par *p, struct err *e)
{
    const struct weights *w = q->weights;
    struct qlinear *out = &q->linear[(size_t)layer * LIN_COUNT + lin];
    const float *dense = w->layer[layer].linear[lin];
    int rows, cols;
    lin_shape(&w->config, lin, &rows, &cols);
    if (formats[q->spec.format].qmax == 0) {
        *out = (struct qlinear){.rows = rows, .cols = cols, .format = q->spec.format, .dense = dense, .act_gain = 1};
        return ST_OK;
    }
    enum status st = qlinear_alloc(out, q->spec.format, rows, cols, q->spec.group, e);
    if (st != ST_OK)
        return st;
    q->spec.method->encode(out, dense, p);
    if (q->spec.gamma != GAMMA_OFF && q->spec.gamma_on == GAMMA_ON_WEIGHT)
        st = gamma_fold_weights(out, dense, q->spec.gamma, &q->gamma[(size_t)layer * LIN_COUNT + lin], e);
    return st;
}

enum status quantize(struct qmodel *q, const struct weights *w, const struct qspec *spec, const struct tokens *calib,
                     struct par *p, struct err *e)
{
    size_t n = (size_t)w->config.layers * LIN_COUNT;
    *q = (struct qmodel){.weights = w, .spec = *spec};
    enum status st = qspec_check(spec, e);
    if (st != ST_OK)
        return st;
    q->linear = mem_alloc(n, sizeof *q->linear);
    q->gamma = mem_alloc(n, sizeof *q->gamma);
    if (!q->linear || !q->gamma)
        st = fail(e, ST_ENOMEM, "no memory for a quantized model");
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        q->gamma[i] = (struct gamma_stat){.mean = 1, .min = 1, .max = 1};
        st = quantize_linear(q, (int)(i / LIN_COUNT), (enum lin)(i % LIN_COUNT), p, e);
    }
    if (st == ST_OK && spec->gamma != GAMMA_OFF && spec->gamma_on == GAMMA_ON_ACT)
        st = calibrate_act_gamma(q, calib, p, e);
    if (st != ST_OK)
        qmodel_free(q);
    return st;
}

void qmodel_free(struct qmodel *q)
{
    if (q->linear)
        for (size_t i = 0; i < (size_t)q->weights->config.layers * LIN_COUNT; i++)
            qlinear_free(&q->linear[i]);
    mem_free(q->linear);
    mem_free(q->gamma);
    q->linear = NULL;
    q->gamma = NULL;
}

/* Length of one tensor's entry in a safetensors header that ends up at `offset`. */
static size_t header_entry(const char *name, const char *suffix, int rank, size_t rows, size_t cols, size_t offset, size_t bytes)
{
    int shape = rank == 1 ? snprintf(NULL, 0, "%zu", rows) : snprintf(NULL, 0, "%zu,%zu", rows, cols);
    int n = snprintf(NULL, 0, "\"%s%s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[%zu,%zu]},", name, suffix, offset, offset + bytes);
    return (size_t)(n + shape);
}

static const struct qlinear *quantized_tensor(const struct qmodel *q, const float *data)
{
    for (size_t i = 0; i < (size_t)q->weights->config.layers * LIN_COUNT; i++)
        if (data == q->weights->layer[i / LIN_COUNT].linear[i % LIN_COUNT])
            return formats[q->linear[i].format].qmax ? &q->linear[i] : NULL;
    return NULL;
}

struct model_size qmodel_size(const struct qmodel *q)
{
    struct model_size s = {0};
    size_t params_quantized = 0, header = 8, header_float = 8, at = 0, at32 = 0;
    const struct model_config *c = &q->weights->config;
    for (int i = 0; i < weights_tensors(c); i++) {
        struct tensor t = weights_tensor(q->weights, i);
        size_t rows = (size_t)t.rows, cols = (size_t)t.cols, bytes32 = rows * cols * 4, bytes = bytes32;
        const struct qlinear *l = quantized_tensor(q, t.data);
        header_float += header_entry(t.name, "", t.rank, rows, cols, at32, bytes32);
        if (l) {
            bytes = qlinear_bytes(l);
            size_t groups = (size_t)qlinear_groups(l->cols, l->plane.group), scales = rows * groups * (l->plane.group ? 2 : 4);
            params_quantized += rows * cols;
            s.quantized += bytes;
            header += header_entry(t.name, "", 2, rows, cols, at, bytes - scales);
            header += header_entry(t.name, ".scale", 2, rows, groups, at + bytes - scales, scales);
        } else {
            header += header_entry(t.name, "", t.rank, rows, cols, at, bytes);
        }
        at += bytes;
        at32 += bytes32;
    }
    s.total = round_up(header, 8) + at;
    s.fp32 = round_up(header_float, 8) + at32;
    s.fp16 = round_up(header_float, 8) + at32 / 2;
    s.bits_per_weight = params_quantized ? 8.0 * (double)s.quantized / (double)params_quantized : 32;
    s.quantized_share = (double)params_quantized / (double)q->weights->count;
    return s;
}
