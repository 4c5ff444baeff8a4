/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backprop.h"

#include <assert.h>
#include <string.h>

#include "layers.h"

enum { CHUNK_TOKENS = 256 }; /* enough rows for sgemm to run at full speed, few enough to stay in the L2 cache */

/* What a layer's forward leaves for its backward, for the n tokens of a chunk. */
struct saved {
    float *x;      /* (n,dim) what enters */
    float *norm1;  /* (n,dim), quantized when activations are */
    float *r1;     /* (n) */
    float *qkv;    /* (n, q + 2 kv) after rope */
    float *att;    /* (n,dim) heads' outputs */
    float *mid;    /* (n,dim) x + attention */
    float *norm2;  /* (n,dim) */
    float *r2;     /* (n) */
    float *gu;     /* (n, 2 ffn) gate and up */
    float *hidden; /* (n,ffn) silu(gate) * up */
};

/* One thread's memory: pointers into one arena. */
struct worker {
    float *arena;        /* owned */
    struct saved *layer; /* (layers) owned */
    int8_t *codes;       /* owned: one token's codes */
    struct weights *grads; /* owned: NULL for thread 0, which adds to the caller's */
    float *out;          /* (n,dim) what leaves the last layer */
    float *norm, *r;     /* (n,dim), (n): the final norm */
    float *dx, *dnorm;   /* (n,dim) */
    float *datt;         /* (n,dim) */
    float *dqkv;         /* (n, q + 2 kv) */
    float *dgu, *dhidden;/* (n, 2 ffn), (n,ffn) */
    float *scores;       /* layers_attention_room */
    float *logits;       /* (LAYERS_LOSS_BLOCK, vocab) */
    double nll;          /* of the sequences done in this run */
};

struct backprop {
    struct layers ops;
    struct model_config config;
    struct attention attention;
    struct par *par;         /* borrowed */
    int batch, seq, chunk;   /* chunk: sequences that go through the layers together */
    int workers_count;       /* min(threads, batch) */
    struct worker *workers;  /* (workers_count) owned */
    float *cosine, *sine, *unsine; /* (seq, head_dim/2) owned; unsine = -sine turns back */
};

/* What one backprop_run is asked. */
struct run {
    struct backprop *b;
    const struct weights *w;
    const int32_t *inputs, *targets;
    bool act_int8;
    struct weights *grads; /* NULL: loss only */
    float weight;          /* 1 / scored targets */
};

/* Deals one arena out in pieces; with base NULL it only counts. */
struct carve {
    float *base;
    size_t used;
};

static float *take(struct carve *c, size_t count)
{
    float *p = c->base ? c->base + c->used : NULL;
    c->used += round_up(count, 16); /* every matrix begins on a cache line */
    return p;
}

/* Points k's members into base; returns the floats that takes. */
static size_t deal(const struct backprop *b, struct worker *k, float *base)
{
    const struct model_config *m = &b->config;
    size_t n = (size_t)b->chunk * b->seq, dim = (size_t)m->dim, ffn = (size_t)m->ffn, qkv = (size_t)b->attention.ld;
    struct carve c = {.base = base};
    for (int i = 0; i < m->layers; i++)
        k->layer[i] = (struct saved){
            .x = take(&c, n * dim),
            .norm1 = take(&c, n * dim),
            .r1 = take(&c, n),
            .qkv = take(&c, n * qkv),
            .att = take(&c, n * dim),
            .mid = take(&c, n * dim),
            .norm2 = take(&c, n * dim),
            .r2 = take(&c, n),
            .gu = take(&c, n * 2 * ffn),
            .hidden = take(&c, n * ffn),
        };
    k->out = take(&c, n * dim);
    k->norm = take(&c, n * dim);
    k->r = take(&c, n);
    k->dx = take(&c, n * dim);
    k->dnorm = take(&c, n * dim);
    k->datt = take(&c, n * dim);
    k->dqkv = take(&c, n * qkv);
    k->dgu = take(&c, n * 2 * ffn);
    k->dhidden = take(&c, n * ffn);
    k->scores = take(&c, layers_attention_room(&b->attention));
    k->logits = take(&c, (size_t)LAYERS_LOSS_BLOCK * m->vocab);
    return c.used;
}

/* ---- opening and closing */

static enum status worker_open(const struct backprop *b, struct worker *k, bool first, struct err *e)
{
    const struct model_config *c = &b->config;
    k->layer = mem_alloc((size_t)c->layers, sizeof *k->layer);
    k->codes = mem_alloc((size_t)max_int(c->dim, c->ffn), 1);
    if (!k->layer || !k->codes)
        return fail(e, ST_ENOMEM, "no memory to train");
    size_t floats = deal(b, k, NULL);
    k->arena = mem_alloc(floats, sizeof(float));
    if (!k->arena)
        return fail(e, ST_ENOMEM, "no memory for %.1f GB of activations a thread; use a smaller seq", (double)floats * 4e-9);
    deal(b, k, k->arena);
    if (first)
        return ST_OK;
    k->grads = weights_alloc(c, e);
    return k->grads ? ST_OK : e ? e->status : ST_ENOMEM;
}

static enum status rope_open(struct backprop *b, struct err *e)
{
    size_t count = (size_t)b->seq * (size_t)(b->config.head_dim / 2);
    b->cosine = mem_alloc(count, sizeof(float));
    b->sine = mem_alloc(count, sizeof(float));
    b->unsine = mem_alloc(count, sizeof(float));
    if (!b->cosine || !b->sine || !b->unsine)
        return fail(e, ST_ENOMEM, "no memory to train");
    layers_rope_table(b->config.rope_base, b->seq, b->config.head_dim, b->cosine, b->sine);
    for (size_t i = 0; i < count; i++)
        b->unsine[i] = -b->sine[i];
    return ST_OK;
}

static enum status fill(struct backprop *b, struct err *e)
{
    const struct model_config *c = &b->config;
    b->attention = (struct attention){b->seq, c->heads, c->kv_heads, c->head_dim, (c->heads + 2 * c->kv_heads) * c->head_dim};
    b->workers_count = min_int(par_threads(b->par), b->batch);
    int share = (b->batch + b->workers_count - 1) / b->workers_count;
    b->chunk = max_int(1, min_int(share, CHUNK_TOKENS / b->seq));
    enum status s = rope_open(b, e);
    b->workers = mem_alloc((size_t)b->workers_count, sizeof *b->workers);
    if (!s && !b->workers)
        s = fail(e, ST_ENOMEM, "no memory to train");
    for (int i = 0; !s && i < b->workers_count; i++)
        s = worker_open(b, &b->workers[i], i == 0, e);
    return s;
}

enum status backprop_open(struct backprop **out, const struct model_config *c, int batch, int seq, struct par *p, struct err *e)
{
    *out = NULL;
    enum status s = config_check(c, e);
    if (s)
        return s;
    if (batch < 1 || seq < 1 || seq > c->context)
        return fail(e, ST_EUSAGE, "batch %d x seq %d: batch must be at least 1 and seq 1 to the model's context of %d", batch, seq,
                    c->context);
    const struct blas *blas = blas_get(e);
    if (!blas)
        return e ? e->status : ST_EUNSUPPORTED;
    struct backprop *b = mem_alloc(1, sizeof *b);
    if (!b)
        return fail(e, ST_ENOMEM, "no memory to train");
    *b = (struct backprop){.ops = {vec_get(), blas}, .config = *c, .par = p, .batch = batch, .seq = seq};
    s = fill(b, e);
    if (s)
        backprop_close(b);
    else
        *out = b;
    return s;
}

void backprop_close(struct backprop *b)
{
    if (!b)
        return;
    for (int i = 0; b->workers && i < b->workers_count; i++) {
        struct worker *k = &b->workers[i];
        mem_free(k->arena);
        mem_free(k->layer);
        mem_free(k->codes);
        weights_free(k->grads);
    }
    mem_free(b->workers);
    mem_free(b->cosine);
    mem_free(b->sine);
    mem_free(b->unsine);
    mem_free(b);
}

/* ---- one layer, n tokens */

/* q, k, v stand together in the arena, and so do gate, up: each group is multiplied as one matrix with the sum of the rows. */
static void check_groups(const struct weights *w)
{
    const struct model_config *c = &w->config;
    size_t dim = (size_t)c->dim, q = dim * c->heads * c->head_dim, kv = dim * c->kv_heads * c->head_dim;
    float *const *linear = w->layer[0].linear;
    (void)linear, (void)q, (void)kv;
    assert(linear[LIN_K] == linear[LIN_Q] + q && linear[LIN_V] == linear[LIN_K] + kv);
    assert(linear[LIN_UP] == linear[LIN_GATE] + dim * c->ffn);
}

/* The block linears' input, as they see it. */
static void quantize_input(const struct run *run, struct worker *k, float *x, int n, int cols)
{
    if (run->act_int8)
        layers_fake_int8(x, n, cols, k->codes);
}

static void turn(const struct backprop *b, const float *sine, float *qkv, int n)
{
    const struct model_config *c = &b->config;
    layers_rope(&b->ops, b->cosine, sine, n, b->seq, c->heads + c->kv_heads, c->head_dim, qkv, b->attention.ld);
}

static void layer_forward(const struct run *run, struct worker *k, const struct layer_weights *w, struct saved *s, int n,
                          float *out)
{
    const struct backprop *b = run->b;
    const struct model_config *c = &b->config;
    const struct layers *ops = &b->ops;
    int dim = c->dim, ffn = c->ffn, ld = b->attention.ld;
    size_t row = (size_t)n * dim * sizeof *out;

    layers_norm(ops, s->x, w->attn_norm, n, dim, c->norm_eps, s->norm1, s->r1);
    quantize_input(run, k, s->norm1, n, dim);
    layers_linear(ops, s->norm1, w->linear[LIN_Q], n, ld, dim, 0.0f, s->qkv, ld);
    turn(b, b->sine, s->qkv, n);
    for (int i = 0; i < n; i += b->seq)
        layers_attention(ops, &b->attention, s->qkv + (size_t)i * ld, k->scores, s->att + (size_t)i * dim);
    quantize_input(run, k, s->att, n, dim);
    memcpy(s->mid, s->x, row);
    layers_linear(ops, s->att, w->linear[LIN_O], n, dim, dim, 1.0f, s->mid, dim);

    layers_norm(ops, s->mid, w->ffn_norm, n, dim, c->norm_eps, s->norm2, s->r2);
    quantize_input(run, k, s->norm2, n, dim);
    layers_linear(ops, s->norm2, w->linear[LIN_GATE], n, 2 * ffn, dim, 0.0f, s->gu, 2 * ffn);
    layers_swiglu(ops, s->gu, n, ffn, s->hidden);
    quantize_input(run, k, s->hidden, n, ffn);
    memcpy(out, s->mid, row);
    layers_linear(ops, s->hidden, w->linear[LIN_DOWN], n, dim, ffn, 1.0f, out, dim);
}

/* k->dx: d out on entry, d x on return; g gathers the weights' gradients */
static void layer_backward(const struct run *run, struct worker *k, const struct layer_weights *w, const struct saved *s, int n,
                           struct layer_weights *g)
{
    const struct backprop *b = run->b;
    const struct layers *ops = &b->ops;
    int dim = b->config.dim, ffn = b->config.ffn, ld = b->attention.ld;

    layers_linear_grad(ops, s->hidden, w->linear[LIN_DOWN], n, dim, ffn, k->dx, dim, 0.0f, k->dhidden, g->linear[LIN_DOWN]);
    layers_swiglu_grad(ops, s->gu, n, ffn, k->dhidden, k->dgu);
    layers_linear_grad(ops, s->norm2, w->linear[LIN_GATE], n, 2 * ffn, dim, k->dgu, 2 * ffn, 0.0f, k->dnorm, g->linear[LIN_GATE]);
    layers_norm_grad(ops, s->mid, w->ffn_norm, s->r2, n, dim, k->dnorm, k->dx, g->ffn_norm);

    layers_linear_grad(ops, s->att, w->linear[LIN_O], n, dim, dim, k->dx, dim, 0.0f, k->datt, g->linear[LIN_O]);
    for (int i = 0; i < n; i += b->seq)
        layers_attention_grad(ops, &b->attention, s->qkv + (size_t)i * ld, k->datt + (size_t)i * dim, k->scores,
                              k->dqkv + (size_t)i * ld);
    turn(b, b->unsine, k->dqkv, n);
    layers_linear_grad(ops, s->norm1, w->linear[LIN_Q], n, ld, dim, k->dqkv, ld, 0.0f, k->dnorm, g->linear[LIN_Q]);
    layers_norm_grad(ops, s->x, w->attn_norm, s->r1, n, dim, k->dnorm, k->dx, g->attn_norm);
}

/* ---- the model, a chunk of sequences at a time */

static double chunk_forward(const struct run *run, struct worker *k, const int32_t *inputs, const int32_t *targets, int n,
                            struct weights *g)
{
    const struct backprop *b = run->b;
    const struct model_config *c = &b->config;
    layers_embed(run->w->embed, inputs, n, c->dim, k->layer[0].x);
    for (int i = 0; i < c->layers; i++)
        layer_forward(run, k, &run->w->layer[i], &k->layer[i], n, i + 1 < c->layers ? k->layer[i + 1].x : k->out);
    layers_norm(&b->ops, k->out, run->w->norm, n, c->dim, c->norm_eps, k->norm, k->r);
    return layers_loss(&b->ops, k->norm, run->w->head, targets, n, c->dim, c->vocab, run->weight, k->logits,
                       g ? k->dnorm : NULL, g ? g->head : NULL);
}

/* Continues from k->dnorm, which the loss left. */
static void chunk_backward(const struct run *run, struct worker *k, const int32_t *inputs, int n, struct weights *g)
{
    const struct backprop *b = run->b;
    int dim = b->config.dim;
    memset(k->dx, 0, (size_t)n * dim * sizeof *k->dx);
    layers_norm_grad(&b->ops, k->out, run->w->norm, k->r, n, dim, k->dnorm, k->dx, g->norm);
    for (int i = b->config.layers - 1; i >= 0; i--)
        layer_backward(run, k, &run->w->layer[i], &k->layer[i], n, &g->layer[i]);
    layers_embed_grad(&b->ops, inputs, n, dim, k->dx, g->embed);
}

static void run_share(void *ctx, int thread, int threads)
{
    const struct run *run = ctx;
    const struct backprop *b = run->b;
    if (thread >= b->workers_count)
        return;
    struct worker *k = &b->workers[thread];
    struct weights *g = run->grads && thread ? k->grads : run->grads;
    if (g && thread)
        memset(g->data, 0, g->count * sizeof *g->data);
    int begin, end;
    par_span(b->batch, 1, thread, b->workers_count, &begin, &end);
    k->nll = 0;
    for (int first = begin; first < end; first += b->chunk) {
        size_t at = (size_t)first * b->seq;
        int n = min_int(b->chunk, end - first) * b->seq;
        k->nll += chunk_forward(run, k, run->inputs + at, run->targets + at, n, g);
        if (g)
            chunk_backward(run, k, run->inputs + at, n, g);
    }
}

/* grads += every other thread's, in thread order; each thread sums its part of the arena. */
static void sum_share(void *ctx, int thread, int threads)
{
    const struct run *run = ctx;
    const struct backprop *b = run->b;
    enum { STEP = 4096 }; /* floats that stay in the L1 cache while the threads' gradients are added */
    int blocks = (int)((run->grads->count + STEP - 1) / STEP), begin, end;
    par_span(blocks, 1, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        size_t at = (size_t)i * STEP, left = run->grads->count - at;
        for (int t = 1; t < b->workers_count; t++)
            b->ops.vec->axpy(1.0f, b->workers[t].grads->data + at, run->grads->data + at, left < STEP ? (int)left : STEP);
    }
}

static size_t count_scored(const struct backprop *b, const int32_t *targets)
{
    size_t scored = 0;
    for (size_t i = 0; i < (size_t)b->batch * b->seq; i++)
        scored += targets[i] >= 0;
    return scored;
}

double backprop_run(struct backprop *b, const struct weights *w, const int32_t *inputs, const int32_t *targets, bool act_int8,
                    struct weights *grads)
{
    check_groups(w);
    size_t scored = count_scored(b, targets);
    if (!scored)
        return 0;
    struct run run = {b, w, inputs, targets, act_int8, grads, 1.0f / (float)scored};
    par_run(b->par, run_share, &run);
    if (grads && b->workers_count > 1)
        par_run(b->par, sum_share, &run);
    double nll = 0;
    for (int i = 0; i < b->workers_count; i++)
        nll += b->workers[i].nll;
    return nll / (double)scored;
}
