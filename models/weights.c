/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations */

struct preset {
    const char *name;
    int layers, dim, ffn, heads, kv_heads, vocab, context;
};

static const struct preset presets[] = {
#define PRESET(...) {__VA_ARGS__},
#include "presets.def"
#undef PRESET
};
enum { PRESETS = sizeof presets / sizeof presets[0] };

const char *config_preset_name(int i) { return i >= 0 && i < PRESETS ? presets[i].name : NULL; }

static enum status no_such_preset(const char *name, struct err *e)
{
    char list[256] = "";
    for (size_t i = 0, n = 0; i < PRESETS && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, " %s", presets[i].name);
    return fail(e, ST_ENOENT, "no model preset '%s'; there are:%s", name, list);
}

enum status config_preset(struct model_config *c, const char *name, struct err *e)
{
    for (int i = 0; i < PRESETS; i++) {
        const struct preset *p = &presets[i];
        if (strcmp(p->name, name))
            continue;
        *c = (struct model_config){
            .layers = p->layers, .dim = p->dim, .ffn = p->ffn, .heads = p->heads, .kv_heads = p->kv_heads,
            .head_dim = p->dim / p->heads, .vocab = p->vocab, .context = p->context,
            .tied = true, .rope_base = 10000.0f, .norm_eps = 1e-5f,
        };
        snprintf(c->preset, sizeof c->preset, "%s", p->name);
        return ST_OK;
    }
    return no_such_preset(name, e);
}

/* The limits keep every product of two dimensions inside int and a count of parameters inside size_t. */
static enum status check_ranges(const struct model_config *c, struct err *e)
{
    const struct {
        const char *name;
        int value, max;
    } ranges[] = {
        {"layers", c->layers, 1 << 10},   {"dim", c->dim, 1 << 16},           {"ffn", c->ffn, 1 << 16},
        {"heads", c->heads, 1 << 10},     {"kv_heads", c->kv_heads, 1 << 10}, {"head_dim", c->head_dim, 1 << 12},
        {"vocab", c->vocab, 1 << 20},     {"context", c->context, 1 << 20},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value < 1 || ranges[i].value > ranges[i].max)
            return fail(e, ST_EFORMAT, "model configuration: %s is %d; it must be 1 to %d", ranges[i].name, ranges[i].value,
                        ranges[i].max);
    return ST_OK;
}

enum status config_check(const struct model_config *c, struct err *e)
{
    enum status s = check_ranges(c, e);
    if (s)
        return s;
    if (c->heads % c->kv_heads)
        return fail(e, ST_EFORMAT, "model configuration: heads %d is no multiple of kv_heads %d", c->heads, c->kv_heads);
    if (c->heads * c->head_dim != c->dim)
        return fail(e, ST_EFORMAT, "model configuration: heads %d x head_dim %d is not dim %d", c->heads, c->head_dim, c->dim);
    if (c->head_dim % 2)
        return fail(e, ST_EFORMAT, "model configuration: head_dim %d is odd; rotary positions need pairs", c->head_dim);
    if (!isfinite(c->rope_base) || c->rope_base < 1)
        return fail(e, ST_EFORMAT, "model configuration: rope_base %g is not a number of at least 1", (double)c->rope_base);
    if (!isfinite(c->norm_eps) || c->norm_eps < 0 || c->norm_eps > 1)
        return fail(e, ST_EFORMAT, "model configuration: norm_eps %g is not between 0 and 1", (double)c->norm_eps);
    return ST_OK;
}

/* ---- shapes */

const char *const lin_names[LIN_COUNT] = {"q", "k", "v", "o", "gate", "up", "down"};

void lin_shape(const struct model_config *c, enum lin lin, int *rows, int *cols)
{
    int q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const int shapes[LIN_COUNT][2] = {
        [LIN_Q] = {q, c->dim}, [LIN_K] = {kv, c->dim},      [LIN_V] = {kv, c->dim},  [LIN_O] = {c->dim, q},
        [LIN_GATE] = {c->ffn, c->dim}, [LIN_UP] = {c->ffn, c->dim}, [LIN_DOWN] = {c->dim, c->ffn},
    };
    *rows = shapes[lin][0];
    *cols = shapes[lin][1];
}

static size_t lin_count(const struct model_config *c, enum lin lin)
{
    int rows, cols;
    lin_shape(c, lin, &rows, &cols);
    return (size_t)rows * (size_t)cols;
}

size_t config_parameters(const struct model_config *c)
{
    size_t dim = (size_t)c->dim, embed = (size_t)c->vocab * dim, layer = 2 * dim;
    for (int i = 0; i < LIN_COUNT; i++)
        layer += lin_count(c, (enum lin)i);
    return embed * (c->tied ? 1 : 2) + (size_t)c->layers * layer + dim;
}

/* ---- the arena */

/* Gives every tensor its place, in the order of weights_tensor(). */
static void lay_out(struct weights *w)
{
    const struct model_config *c = &w->config;
    size_t dim = (size_t)c->dim;
    float *p = w->data;
    w->embed = p;
    p += (size_t)c->vocab * dim;
    for (int l = 0; l < c->layers; l++) {
        struct layer_weights *layer = &w->layer[l];
        layer->attn_norm = p;
        p += dim;
        for (int i = LIN_Q; i < LIN_COUNT; i++) {
            if (i == LIN_GATE) {
                layer->ffn_norm = p;
                p += dim;
            }
            layer->linear[i] = p;
            p += lin_count(c, (enum lin)i);
        }
    }
    w->norm = p;
    w->head = c->tied ? w->embed : p + dim;
}

struct weights *weights_alloc(const struct model_config *c, struct err *e)
{
    if (config_check(c, e))
        return NULL;
    struct weights *w = mem_alloc(1, sizeof *w);
    if (w) {
        w->config = *c;
        w->count = config_parameters(c);
        w->layer = mem_alloc((size_t)c->layers, sizeof *w->layer);
        w->data = mem_alloc(w->count, sizeof *w->data);
    }
    if (!w || !w->layer || !w->data) {
        fail(e, ST_ENOMEM, "no memory for a model of %.1f million parameters (%.1f GB); choose a smaller one",
             (double)config_parameters(c) / 1e6, (double)config_parameters(c) * 4e-9);
        weights_free(w);
        return NULL;
    }
    lay_out(w);
    return w;
}

void weights_free(struct weights *w)
{
    if (!w)
        return;
    mem_free(w->data);
    mem_free(w->layer);
    mem_free(w);
}

/* ---- the directory */

enum { PER_LAYER = LIN_COUNT + 2 };

int weights_tensors(const struct model_config *c) { return c->layers * PER_LAYER + (c->tied ? 2 : 3); }

static struct tensor matrix(float *data, int rows, int cols)
{
    return (struct tensor){.rows = rows, .cols = cols, .rank = 2, .data = data, .decays = true};
}

static struct tensor vector(float *data, int rows)
{
    return (struct tensor){.rows = rows, .cols = 1, .rank = 1, .data = data, .decays = false};
}

static struct tensor layer_tensor(const struct weights *w, int layer, int i)
{
    static const char *const names[PER_LAYER] = {
        "input_layernorm",  "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    };
    const struct layer_weights *lw = &w->layer[layer];
    const struct model_config *c = &w->config;
    struct tensor t;
    if (i == 0 || i == 5) {
        t = vector(i ? lw->ffn_norm : lw->attn_norm, c->dim);
    } else {
        enum lin lin = (enum lin)(i < 5 ? i - 1 : i - 2);
        int rows, cols;
        lin_shape(c, lin, &rows, &cols);
        t = matrix(lw->linear[lin], rows, cols);
    }
    snprintf(t.name, sizeof t.name, "model.layers.%d.%s.weight", layer, names[i]);
    return t;
}

struct tensor weights_tensor(const struct weights *w, int i)
{
    const struct model_config *c = &w->config;
    int in_layers = c->layers * PER_LAYER;
    if (i >= 1 && i <= in_layers)
        return layer_tensor(w, (i - 1) / PER_LAYER, (i - 1) % PER_LAYER);
    struct tensor t;
    const char *name;
    if (i == 0) {
        t = matrix(w->embed, c->vocab, c->dim);
        name = "model.embed_tokens.weight";
    } else if (i == in_layers + 1) {
        t = vector(w->norm, c->dim);
        name = "model.norm.weight";
    } else {
        t = matrix(w->head, c->vocab, c->dim);
        name = "lm_head.weight";
    }
    snprintf(t.name, sizeof t.name, "%s", name);
    return t;
}

/* ---- initialization */

/*
 * Marsaglia's polar method, two values a draw: a billion weights take seconds instead of the better part of a minute with
 * rng_normal's sine and double logarithm.
 */
static void fill_normal(float *x, size_t n, float sd, struct rng *r)
{
    for (size_t i = 0; i < n;) {
        uint64_t bits = rng_u64(r);
        float u = (float)((int32_t)(bits >> 40) - (1 << 23)) * 0x1p-23f;
        float v = (float)((int32_t)(bits >> 8 & 0xffffff) - (1 << 23)) * 0x1p-23f;
        float s = u * u + v * v;
        if (s >= 1 || s <= 0)
            continue;
        float f = sd * sqrtf(-2 * logf(s) / s);
        x[i++] = u * f;
        if (i < n)
            x[i++] = v * f;
    }
}

/* The layers that write to the residual stream: 2 x layers of them add up. */
static bool is_residual(const struct weights *w, const float *data)
{
    for (int l = 0; l < w->config.layers; l++)
        if (data == w->layer[l].linear[LIN_O] || data == w->layer[l].linear[LIN_DOWN])
            return true;
    return false;
}

/* Weights are drawn in pieces, each from a seed of its own, so that threads can draw them in any order. */
enum { PIECE = 1 << 18 };

struct drawing {
    struct weights *w;
    uint64_t seed;
};

static void draw_piece(struct weights *w, const struct tensor *t, size_t from, uint64_t seed)
{
    size_t left = (size_t)t->rows * (size_t)t->cols - from, n = left < PIECE ? left : PIECE;
    float residual = 0.02f / sqrtf(2.0f * (float)w->config.layers);
    struct rng r;
    rng_seed(&r, seed);
    if (t->decays)
        fill_normal(t->data + from, n, is_residual(w, t->data) ? residual : 0.02f, &r);
    for (size_t k = 0; !t->decays && k < n; k++)
        t->data[from + k] = 1;
}

static void draw_pieces(void *ctx, int thread, int threads)
{
    const struct drawing *d = ctx;
    struct rng seeds;
    size_t piece = 0;
    rng_seed(&seeds, d->seed);
    for (int i = 0; i < weights_tensors(&d->w->config); i++) {
        struct tensor t = weights_tensor(d->w, i);
        for (size_t from = 0; from < (size_t)t.rows * (size_t)t.cols; from += PIECE) {
            uint64_t seed = rng_u64(&seeds);
            if (piece++ % (size_t)threads == (size_t)thread)
                draw_piece(d->w, &t, from, seed);
        }
    }
}

void weights_random(struct weights *w, uint64_t seed, struct par *p)
{
    struct drawing d = {w, seed};
    if (p)
        par_run(p, draw_pieces, &d);
    else
        draw_pieces(&d, 0, 1);
}
