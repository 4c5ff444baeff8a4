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

static float max_abs(const float *w, int n)
{
    float max = 0;
    for (int i = 0; i < n; i++) {
        float a = fabsf(w[i]);
        max = a > max ? a : max;
    }
    return max;
}

struct grid grid_widest(const float *w, int n, enum format format, bool zero_point)
{
    const struct format_info *f = &formats[format];
    if (!zero_point)
        return (struct grid){max_abs(w, n) / (float)f->qmax, 0};
    float lo = w[0], hi = w[0];
    for (int i = 1; i < n; i++) {
        lo = w[i] < lo ? w[i] : lo;
        hi = w[i] > hi ? w[i] : hi;
    }
    float scale = (hi - lo) / (float)(f->qmax - f->qmin);
    return (struct grid){scale, lo - scale * (float)f->qmin};
}

struct grid grid_rtn(const float *w, int n, enum format format, bool zero_point)
{
    double sum = 0;
    if (format != FORMAT_BIN && format != FORMAT_TERN)
        return grid_widest(w, n, format, zero_point);
    for (int i = 0; i < n; i++)
        sum += (double)fabsf(w[i]);
    return (struct grid){(float)(sum / n), 0};
}

static void encode_integers(int8_t *codes, const float *w, int n, struct grid g, float lo, float hi)
{
    for (int i = 0; i < n; i++)
        codes[i] = (int8_t)round_even(clamp_float((w[i] - g.shift) / g.scale, lo, hi));
}

void encode_group(int8_t *codes, const float *w, int n, struct grid g, enum format format, bool zero_point)
{
    const struct format_info *f = &formats[format];
    bool integers = format != FORMAT_BIN && format != FORMAT_POT4;
    if (integers && g.scale > 0) {
        encode_integers(codes, w, n, g, (float)(zero_point ? f->qmin : -f->qmax), (float)f->qmax);
        return;
    }
    for (int i = 0; i < n; i++)
        codes[i] = format_nearest(format, g.scale > 0 ? w[i] / g.scale : 0);
}

struct encode_job {
    struct qlinear *out;
    const float *w;
    grid_rule *rule;
};

/* As a file holds them: a group's in fp16. GGUF's Q4_1 holds the value of the lowest code instead of the shift, so int4's shift is chosen
 * such that both are fp16. */
static struct grid as_stored(struct grid g, enum format format, bool grouped)
{
    if (!grouped)
        return g;
    float scale = fp16_round(g.scale), lowest = format == FORMAT_INT4 ? scale * (float)formats[format].qmin : 0;
    return (struct grid){scale, g.shift == 0 ? 0 : fp16_round(fp16_round(g.shift + lowest) - lowest)};
}

static void encode_rows(void *ctx, int thread, int threads)
{
    const struct encode_job *j = ctx;
    struct qplane *plane = &j->out->plane;
    int cols = j->out->cols, group = plane->group ? plane->group : cols;
    int groups = qlinear_groups(cols, plane->group), begin, end;
    par_span(j->out->rows, 1, thread, threads, &begin, &end);
    for (int r = begin; r < end; r++) {
        for (int i = 0; i < groups; i++) {
            size_t at = (size_t)r * (size_t)cols + (size_t)i * (size_t)group, slot = (size_t)r * (size_t)groups + (size_t)i;
            int n = min_int(group, cols - i * group);
            struct grid g = as_stored(j->rule(j->w + at, n, plane->format, plane->shift), plane->format, plane->group);
            plane->scale[slot] = g.scale;
            if (plane->shift)
                plane->shift[slot] = g.shift;
            encode_group(plane->codes + at, j->w + at, n, g, plane->format, plane->shift);
        }
    }
}

void encode_groups(struct qlinear *out, const float *w, struct par *p, grid_rule *rule)
{
    struct encode_job j = {out, w, rule};
    par_run(p, encode_rows, &j);
}

enum act qspec_act(const struct qspec *s) { return s->weight_only ? ACT_BF16 : kernel_act(s->format); }

enum status qspec_check(const struct qspec *s, struct err *e)
{
    bool is_float = formats[s->format].qmax == 0;
    if (is_float && (s->method || s->group || s->gamma != GAMMA_OFF || s->zero_point))
        return fail(e, ST_EUSAGE, "format %s is not quantized: it takes no method, group, zero point or gamma", formats[s->format].name);
    if (!is_float && !s->method)
        return fail(e, ST_EUSAGE, "format %s needs a method; `qbench list methods` shows them", formats[s->format].name);
    if (s->group < 0 || s->group % 8)
        return fail(e, ST_EUSAGE, "group %d: take 0 (one scale per output channel) or a multiple of 8, such as 32, 64 or 128", s->group);
    if (s->zero_point && !format_shifts(s->format))
        return fail(e, ST_EUSAGE, "zero_point on: format %s is symmetric by definition; use an integer format", formats[s->format].name);
    if (is_float && s->weight_only)
        return fail(e, ST_EUSAGE, "format %s is not quantized: it has no weight-only form", formats[s->format].name);
    if (s->weight_only && s->gamma != GAMMA_OFF && s->gamma_on == GAMMA_ON_ACT)
        return fail(e, ST_EUSAGE, "gamma on activations needs quantized activations; take act int8, or gamma_on weight");
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
    struct infer_shape shape = {.batch = batch, .max_tokens = window, .max_chunk = batch * window};
    enum status st = infer_open(&a.session, q, NULL, &shape, p, e);
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
    if (st == ST_OK && q->spec.zero_point)
        st = qlinear_alloc_shift(out, e);
    if (st != ST_OK)
        return st;
    q->spec.method->encode(out, dense, p);
    if (q->spec.gamma != GAMMA_OFF && q->spec.gamma_on == GAMMA_ON_WEIGHT)
        st = gamma_fold_weights(out, dense, q->spec.gamma, &q->gamma[(size_t)layer * LIN_COUNT + lin], e);
    return st;
}

static enum status quantize_head(struct qmodel *q, struct par *p, struct err *e)
{
    const struct weights *w = q->weights;
    if (formats[q->spec.head].qmax == 0) {
        q->head = (struct qlinear){.rows = w->config.vocab, .cols = w->config.dim, .format = q->spec.head, .dense = w->head, .act_gain = 1};
        return ST_OK;
    }
    enum status st = qlinear_alloc(&q->head, q->spec.head, w->config.vocab, w->config.dim, 0, e);
    if (st == ST_OK)
        quantizer_find("rtn")->encode(&q->head, w->head, p);
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
    if (st == ST_OK)
        st = quantize_head(q, p, e);
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
    qlinear_free(&q->head);
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

/* What stands in the file in place of this float tensor; NULL: the tensor itself. */
static const struct qlinear *quantized_tensor(const struct qmodel *q, const float *data)
{
    if (data == q->weights->head)
        return q->head.format == FORMAT_F32 ? NULL : &q->head;
    for (size_t i = 0; i < (size_t)q->weights->config.layers * LIN_COUNT; i++)
        if (data == q->weights->layer[i / LIN_COUNT].linear[i % LIN_COUNT])
            return q->linear[i].format == FORMAT_F32 ? NULL : &q->linear[i];
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
            bool coded = formats[l->format].qmax != 0, shifted = l->plane.shift;
            size_t groups = (size_t)qlinear_groups(l->cols, l->plane.group), scales = coded ? rows * groups * (l->plane.group ? 2 : 4) : 0;
            size_t codes = bytes - scales * (shifted ? 2 : 1);
            params_quantized += rows * cols;
            s.quantized += bytes;
            header += header_entry(t.name, "", 2, rows, cols, at, codes);
            header += coded ? header_entry(t.name, ".scale", 2, rows, groups, at + codes, scales) : 0;
            header += shifted ? header_entry(t.name, ".shift", 2, rows, groups, at + codes + scales, scales) : 0;
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
