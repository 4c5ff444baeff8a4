/* gguf_llama_write.c — a model as a GGUF file that other programs load. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_llama.h"
#include "quant.h"

enum { SLAB_BYTES = 1 << 20, QUANTIZATION_VERSION = 2 };

/* How one tensor goes into the file. */
struct plan {
    struct tensor t;
    char name[GGUF_MAX_NAME];
    enum gtype type;
    bool turned;
    const struct qlinear *q; /* its codes; NULL: from floats */
};

static bool is_integer(const struct qlinear *q) { return formats[q->format].qmax != 0; }

/* ---- planning */

/* The place of a layer's weights in (layers, LIN_COUNT); -1 for embedding, norms and head. */
static ptrdiff_t find_linear(const struct weights *w, const float *data)
{
    for (ptrdiff_t i = 0; i < (ptrdiff_t)w->config.layers * LIN_COUNT; i++)
        if (w->layer[i / LIN_COUNT].linear[i % LIN_COUNT] == data)
            return i;
    return -1;
}

static enum status plan_codes(struct plan *p, struct err *e)
{
    if (p->q->plane.group != GGUF_BLOCK)
        return fail(e, ST_EUNSUPPORTED, "tensor '%s': one scale for %d weights; blocks of GGUF have one for %d", p->name,
                    p->q->plane.group ? p->q->plane.group : p->t.cols, GGUF_BLOCK);
    if (p->q->act_gain != 1.0f)
        return fail(e, ST_EUNSUPPORTED, "tensor '%s': a gain on its input (gamma on activations) has no place in GGUF", p->name);
    if (p->q->format == FORMAT_INT8 && !p->q->plane.shift)
        p->type = GTYPE_Q8_0;
    else if (p->q->format == FORMAT_INT4)
        p->type = p->q->plane.shift ? GTYPE_Q4_1 : GTYPE_Q4_0;
    else
        return fail(e, ST_EUNSUPPORTED, "tensor '%s': GGUF has no type for %s%s", p->name, formats[p->q->format].name,
                    p->q->plane.shift ? " with a shift" : "");
    return ST_OK;
}

static enum status plan_tensor(struct plan *p, const struct weights *w, int i, const struct gguf_llama_file *f, struct err *e)
{
    *p = (struct plan){.t = weights_tensor(w, i)};
    if (!gguf_llama_name(p->t.name, p->name, &p->turned))
        return fail(e, ST_EUNSUPPORTED, "tensor '%s' has no name in a llama file", p->t.name);
    ptrdiff_t at = find_linear(w, p->t.data);
    p->type = p->t.rank == 1 ? GTYPE_F32 : at < 0 ? f->embed : f->matrices;
    enum status s = ST_OK;
    if (at >= 0 && f->linear && is_integer(&f->linear[at])) {
        p->q = &f->linear[at];
        s = plan_codes(p, e);
    }
    const struct gtype_info *type = gtype_info(p->type);
    if (!s && !gtype_row_bytes(type, (size_t)p->t.cols) && p->t.rank == 2)
        s = fail(e, ST_EUNSUPPORTED, "tensor '%s': %s needs rows of a multiple of %d weights, and these have %d", p->name, type->name,
                 type->weights, p->t.cols);
    return s;
}

static struct plan *plan_all(const struct weights *w, const struct gguf_llama_file *f, struct err *e)
{
    int n = weights_tensors(&w->config);
    struct plan *plans = calloc((size_t)n, sizeof *plans);
    if (!plans)
        fail(e, ST_ENOMEM, "no memory for a list of %d tensors", n);
    for (int i = 0; plans && i < n; i++)
        if (plan_tensor(&plans[i], w, i, f, e) != ST_OK) {
            free(plans);
            return NULL;
        }
    return plans;
}

/* ---- the header */

/* What programs print as the file's kind, by the type of its matrices; its numbers are GGUF's own. */
static uint32_t file_type(enum gtype matrices)
{
    static const struct {
        enum gtype type;
        uint32_t number;
    } kinds[] = {{GTYPE_F16, 1}, {GTYPE_Q4_0, 2}, {GTYPE_Q4_1, 3}, {GTYPE_Q8_0, 7}, {GTYPE_BF16, 32}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].type == matrices)
            return kinds[i].number;
    return 0; /* F32 */
}

static void set_config(struct gguf_writer *g, const struct model_config *c)
{
    const struct {
        const char *key;
        int x;
    } numbers[] = {
        {"llama.block_count", c->layers},           {"llama.context_length", c->context}, {"llama.embedding_length", c->dim},
        {"llama.feed_forward_length", c->ffn},      {"llama.attention.head_count", c->heads}, {"llama.attention.head_count_kv", c->kv_heads},
        {"llama.rope.dimension_count", c->head_dim}, {"llama.vocab_size", c->vocab},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        gguf_set_u32(g, numbers[i].key, (uint32_t)numbers[i].x);
    gguf_set_f32(g, "llama.attention.layer_norm_rms_epsilon", c->norm_eps);
    gguf_set_f32(g, "llama.rope.freq_base", c->rope_base);
}

static void describe(struct gguf_writer *g, const struct weights *w, const struct plan *plans, const struct gguf_llama_file *f)
{
    const struct model_config *c = &w->config;
    enum gtype matrices = GTYPE_F32;
    int n = weights_tensors(c);
    for (int i = 0; i < n; i++)
        if (find_linear(w, plans[i].t.data) == 0)
            matrices = plans[i].type;
    gguf_set_text(g, "general.architecture", "llama");
    gguf_set_text(g, "general.name", f->name ? f->name : c->preset[0] ? c->preset : "qbench");
    gguf_set_u32(g, "general.file_type", file_type(matrices));
    gguf_set_u32(g, "general.quantization_version", QUANTIZATION_VERSION);
    set_config(g, c);
    gguf_vocab_write(g, f->vocab);
    for (int i = 0; i < n; i++) {
        const struct tensor *t = &plans[i].t;
        uint64_t rows = (uint64_t)t->rows, cols = (uint64_t)t->cols;
        gguf_declare(g, plans[i].name, plans[i].type, t->rank, t->rank == 1 ? (uint64_t[]){rows} : (uint64_t[]){cols, rows});
    }
}

/* ---- the data */

static enum status pack_row(uint8_t *dst, const struct plan *p, size_t row, struct err *e)
{
    size_t cols = (size_t)p->t.cols, groups = cols / GGUF_BLOCK;
    if (!p->q)
        return gtype_from_float(p->type, dst, p->t.data + row * cols, cols, e);
    const int8_t *codes = p->q->plane.codes + row * cols;
    const float *scale = p->q->plane.scale + row * groups;
    if (p->type == GTYPE_Q8_0)
        return gtype_pack_q8_0(dst, codes, scale, groups, e);
    if (p->type == GTYPE_Q4_0)
        return gtype_pack_q4_0(dst, codes, scale, groups, e);
    return gtype_pack_q4_1(dst, codes, scale, p->q->plane.shift + row * groups, groups, e);
}

/* A norm is one row of the file, but rows of one weight here: they come out the same. */
static enum status write_rows(struct gguf_writer *g, const struct model_config *c, const struct plan *p, uint8_t *slab, size_t slab_rows,
                              size_t row_bytes, struct err *e)
{
    enum status s = ST_OK;
    for (int first = 0; first < p->t.rows && !s; first += (int)slab_rows) {
        int n = min_int((int)slab_rows, p->t.rows - first);
        for (int i = 0; i < n && !s; i++) {
            struct err why = {0};
            int row = p->turned ? gguf_llama_row(c, first + i) : first + i;
            s = pack_row(slab + (size_t)i * row_bytes, p, (size_t)row, &why);
            if (s)
                fail(e, s, "tensor '%s', row %d: %s", p->name, row, why.text);
        }
        if (!s)
            s = gguf_write(g, slab, (size_t)n * row_bytes, e);
    }
    return s;
}

static enum status write_planned(struct gguf_writer *g, const struct model_config *c, const struct plan *p, struct err *e)
{
    size_t row_bytes = gtype_row_bytes(gtype_info(p->type), (size_t)p->t.cols), slab_rows = row_bytes < SLAB_BYTES ? SLAB_BYTES / row_bytes : 1;
    uint8_t *slab = malloc(slab_rows * row_bytes);
    enum status s = slab ? write_rows(g, c, p, slab, slab_rows, row_bytes, e) : fail(e, ST_ENOMEM, "no memory to write a tensor");
    free(slab);
    return s;
}

static bool all_finite(const struct tensor *t)
{
    size_t n = (size_t)t->rows * (size_t)t->cols, bad = 0;
    for (size_t i = 0; i < n; i++)
        bad += !(fabsf(t->data[i]) <= FLT_MAX);
    return bad == 0;
}

/* A tensor of an integer type that comes without codes is rounded to nearest first. */
static enum status write_tensor(struct gguf_writer *g, const struct model_config *c, const struct plan *plan, struct par *par, struct err *e)
{
    struct plan p = *plan;
    struct qlinear rounded;
    bool integer = p.type == GTYPE_Q8_0 || p.type == GTYPE_Q4_0;
    if (p.q || !integer)
        return write_planned(g, c, &p, e);
    if (!all_finite(&p.t))
        return fail(e, ST_EWRONG, "tensor '%s': some of its weights are infinite or not a number", p.name);
    enum status s = qlinear_alloc(&rounded, p.type == GTYPE_Q8_0 ? FORMAT_INT8 : FORMAT_INT4, p.t.rows, p.t.cols, GGUF_BLOCK, e);
    if (s)
        return s;
    encode_groups(&rounded, p.t.data, par, grid_widest);
    p.q = &rounded;
    s = write_planned(g, c, &p, e);
    qlinear_free(&rounded);
    return s;
}

static enum status write_all(struct gguf_writer *g, const struct weights *w, const struct plan *plans, const struct gguf_llama_file *f,
                             struct err *e)
{
    enum status s = ST_OK;
    for (int i = 0; i < weights_tensors(&w->config) && !s; i++)
        s = f->stop && *f->stop ? fail(e, ST_EINTERRUPTED, "interrupted") : write_tensor(g, &w->config, &plans[i], f->par, e);
    return s ? s : gguf_writer_finish(g, e);
}

static enum status check(const struct weights *w, const struct gguf_llama_file *f, struct err *e)
{
    static const enum gtype writable[] = {GTYPE_F32, GTYPE_F16, GTYPE_BF16, GTYPE_Q8_0, GTYPE_Q4_0};
    bool matrices = false, embed = false;
    for (size_t i = 0; i < sizeof writable / sizeof writable[0]; i++) {
        matrices |= writable[i] == f->matrices;
        embed |= writable[i] == f->embed;
    }
    if (!matrices || !embed)
        return fail(e, ST_EUSAGE, "floats are written as F32, F16, BF16, Q8_0 or Q4_0 only");
    if (f->vocab->count != w->config.vocab)
        return fail(e, ST_EUSAGE, "a vocabulary of %d tokens beside an embedding of %d", f->vocab->count, w->config.vocab);
    return ST_OK;
}

static enum status write_file(const char *path, const struct weights *w, const struct plan *plans, const struct gguf_llama_file *f, struct err *e)
{
    struct gguf_writer *g = gguf_writer_new();
    if (!g)
        return fail(e, ST_ENOMEM, "no memory for its header");
    describe(g, w, plans, f);
    enum status s = gguf_writer_begin(g, path, e);
    if (!s)
        s = write_all(g, w, plans, f, e);
    gguf_writer_free(g);
    return s;
}

enum status gguf_llama_write(const char *path, const struct weights *w, const struct gguf_llama_file *f, struct err *e)
{
    struct err why = {0};
    enum status s = check(w, f, &why);
    struct plan *plans = s ? NULL : plan_all(w, f, &why);
    s = plans ? write_file(path, w, plans, f, &why) : why.status;
    free(plans);
    if (s == ST_EIO) /* it names the file already */
        return fail(e, s, "%s", why.text);
    return s ? fail(e, s, "%s: not written: %s", path, why.text) : ST_OK;
}
