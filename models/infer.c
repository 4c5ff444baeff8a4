/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "infer.h"

#include <math.h>
#include <string.h>

#include "attend.h"
#include "layers.h"

struct infer {
    const struct qmodel *q;
    const struct weights *w;
    struct model_config c;
    struct par *par;
    const struct vec *vec;
    struct infer_shape shape;
    int position;
    struct linear *linear; /* (layers, LIN_COUNT) */
    struct linear head;
    const struct kernel *kernel;
    struct kvcache cache;
    struct attend *attend;
    float *rope_cos, *rope_sin;   /* (max_tokens, head_dim / 2) */
    float *x, *h;                 /* (max_chunk, dim): residual stream, normed input */
    float *query, *key, *value;   /* (max_chunk, dim), (max_chunk, kv_dim) twice */
    float *attention, *delta;     /* (max_chunk, dim): mixed values, what a block adds */
    float *gate, *up;             /* (max_chunk, ffn) */
    float *scale_room;            /* (max_chunk) */
    struct acts acts;
    infer_hook *hook;
    void *hook_ctx;
    double *clock, since;
    /* the call in progress */
    const int32_t *ids;
    int tokens, layer;
    const float *norm;            /* of the next half block, or the last one */
    const struct linear *next;    /* the layer that reads what is normed; NULL: the head */
};

static int kv_dim(const struct model_config *c) { return c->kv_heads * c->head_dim; }
static struct linear *linear_at(const struct infer *s, int layer, enum lin lin) { return &s->linear[(size_t)layer * LIN_COUNT + lin]; }

/* ---- opening */

static enum status alloc_buffers(struct infer *s, struct err *e)
{
    size_t m = (size_t)s->shape.max_chunk, dim = (size_t)s->c.dim, kv = (size_t)kv_dim(&s->c), ffn = (size_t)s->c.ffn;
    size_t turns = (size_t)s->shape.max_tokens * (size_t)s->c.head_dim / 2;
    struct { float **p; size_t n; } want[] = {
        {&s->rope_cos, turns}, {&s->rope_sin, turns}, {&s->x, m * dim}, {&s->h, m * dim}, {&s->query, m * dim}, {&s->key, m * kv}, {&s->value, m * kv},
        {&s->attention, m * dim}, {&s->delta, m * dim}, {&s->gate, m * ffn}, {&s->up, m * ffn}, {&s->scale_room, m},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!(*want[i].p = mem_alloc(want[i].n, sizeof(float))))
            return fail(e, ST_ENOMEM, "no memory for a session of %d x %d tokens", s->shape.batch, s->shape.max_tokens);
    return ST_OK;
}

/* Packing walks every weight: layers go to the threads in turn. */
struct packing {
    struct infer *s;
    struct err *errors; /* (threads) */
};

static void pack_linears(void *ctx, int thread, int threads)
{
    const struct packing *p = ctx;
    int n = p->s->c.layers * LIN_COUNT;
    for (int i = thread; i < n && p->errors[thread].status == ST_OK; i += threads)
        linear_open(&p->s->linear[i], &p->s->q->linear[i], p->s->kernel, &p->errors[thread]);
}

static enum status open_linears(struct infer *s, struct err *e)
{
    int threads = par_threads(s->par);
    s->linear = mem_alloc((size_t)s->c.layers * LIN_COUNT, sizeof *s->linear);
    struct packing p = {s, mem_alloc((size_t)threads, sizeof *p.errors)};
    enum status st = s->linear && p.errors ? ST_OK : fail(e, ST_ENOMEM, "no memory for %d layers", s->c.layers);
    if (st == ST_OK)
        par_run(s->par, pack_linears, &p);
    for (int i = 0; st == ST_OK && i < threads; i++)
        if (p.errors[i].status != ST_OK)
            st = fail(e, p.errors[i].status, "%s", p.errors[i].text);
    mem_free(p.errors);
    return st;
}

static enum status open_head(struct infer *s, struct err *e)
{
    const struct qlinear *head = &s->q->head;
    const struct kernel *kernel = kernel_best(head->format, kernel_act(head->format), formats[head->format].qmax ? head->plane.group : 0, head->plane.shift, e);
    return kernel ? linear_open(&s->head, head, kernel, e) : ST_EUNSUPPORTED;
}

/* Room for whatever the layers and the head want quantized. */
static enum status reserve_acts(struct infer *s, struct err *e)
{
    enum status st = acts_reserve(&s->acts, s->kernel->act, s->shape.max_chunk, max_int(s->c.dim, s->c.ffn), s->q->spec.group, e);
    return st == ST_OK ? acts_reserve(&s->acts, s->head.kernel->act, s->shape.max_chunk, s->c.dim, s->head.group, e) : st;
}

enum status infer_open(struct infer **out, const struct qmodel *q, const struct kernel *kernel, const struct infer_shape *shape,
                       struct par *p, struct err *e)
{
    *out = NULL;
    if (!kernel && !(kernel = kernel_best(q->spec.format, qspec_act(&q->spec), q->spec.group, q->spec.zero_point, e)))
        return ST_EUNSUPPORTED;
    struct infer *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(e, ST_ENOMEM, "no memory for a session");
    *s = (struct infer){.q = q, .w = q->weights, .c = q->weights->config, .par = p, .vec = vec_get(), .shape = *shape, .kernel = kernel};
    enum status st = alloc_buffers(s, e);
    if (st == ST_OK)
        st = kvcache_open(&s->cache, shape->kv, s->c.layers, shape->batch, s->c.kv_heads, s->c.head_dim, shape->max_tokens, e);
    if (st == ST_OK)
        st = attend_open(&s->attend, &s->cache, s->c.heads, par_threads(p), e);
    if (st == ST_OK)
        st = open_linears(s, e);
    if (st == ST_OK)
        st = open_head(s, e);
    if (st == ST_OK)
        st = reserve_acts(s, e);
    if (st != ST_OK) {
        infer_close(s);
        return st;
    }
    layers_rope_table(s->c.rope_base, shape->max_tokens, s->c.head_dim, s->rope_cos, s->rope_sin);
    *out = s;
    return ST_OK;
}

void infer_close(struct infer *s)
{
    if (!s)
        return;
    for (size_t i = 0; s->linear && i < (size_t)s->c.layers * LIN_COUNT; i++)
        linear_close(&s->linear[i]);
    linear_close(&s->head);
    float *buffers[] = {s->rope_cos, s->rope_sin, s->x, s->h, s->query, s->key, s->value, s->attention, s->delta, s->gate, s->up, s->scale_room};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        mem_free(buffers[i]);
    attend_close(s->attend);
    kvcache_close(&s->cache);
    acts_free(&s->acts);
    mem_free(s->linear);
    mem_free(s);
}

void infer_reset(struct infer *s) { s->position = 0; }
void infer_rewind(struct infer *s, int position) { s->position = min_int(position, s->position); }
int infer_position(const struct infer *s) { return s->position; }

void infer_observe(struct infer *s, infer_hook *hook, void *ctx)
{
    s->hook = hook;
    s->hook_ctx = ctx;
}

void infer_set_act_gain(struct infer *s, int layer, enum lin lin, float gain) { linear_at(s, layer, lin)->act_gain = gain; }

static void random_block(struct infer *s, int layer, int sequence, int positions, struct rng *r)
{
    for (int i = 0; i < positions; i++) {
        for (int j = 0; j < kv_dim(&s->c); j++) {
            s->key[j] = rng_normal(r);
            s->value[j] = rng_normal(r);
        }
        kvcache_append(&s->cache, layer, sequence, i, s->key, s->value);
    }
}

enum status infer_fill(struct infer *s, int positions, uint64_t seed, struct err *e)
{
    struct rng r;
    if (positions < 0 || positions > s->shape.max_tokens)
        return fail(e, ST_EUSAGE, "%d positions do not fit a session of %d tokens", positions, s->shape.max_tokens);
    rng_seed(&r, seed);
    for (int layer = 0; layer < s->c.layers; layer++)
        for (int b = 0; b < s->shape.batch; b++)
            random_block(s, layer, b, min_int(positions, KV_BLOCK), &r);
    kvcache_repeat(&s->cache, positions);
    s->position = positions;
    return ST_OK;
}

/* ---- the clock */

void infer_clock(struct infer *s, double *seconds) { s->clock = seconds; }

static void start_clock(struct infer *s)
{
    if (s->clock)
        s->since = now_seconds();
}

/* What was done since the last call was this phase. */
static void spent(struct infer *s, enum infer_phase phase)
{
    if (!s->clock)
        return;
    double now = now_seconds();
    s->clock[phase] += now - s->since;
    s->since = now;
}

/* ---- steps over rows: a token of a sequence each */

static float *row(const float *base, int i, int width) { return (float *)base + (size_t)i * (size_t)width; }

/* Splits the call's rows over the threads; what is done in less than waking them takes is not worth it. */
static void each_row(struct infer *s, int width, void (*fn)(void *ctx, int thread, int threads))
{
    int rows = s->shape.batch * s->tokens;
    if (rows == 1 || (long)rows * width < 8192)
        fn(s, 0, 1);
    else
        par_run(s->par, fn, s);
}

static void rows_of(const struct infer *s, int thread, int threads, int *begin, int *end)
{
    par_span(s->shape.batch * s->tokens, 1, thread, threads, begin, end);
}

/* acts_set for the rows [begin, end) of x (m, k) alone, by the thread that has just made them; the threads together do what one call would. */
static void set_rows(struct infer *s, const float *x, int k, int group, int begin, int end)
{
    struct acts part = s->acts;
    if (s->kernel->act == ACT_F32 || begin == end)
        return;
    part.q += (size_t)begin * (size_t)act_ld(k);
    part.b += (size_t)begin * (size_t)act_ld(k);
    part.scale += begin;
    part.sum += (size_t)begin * (size_t)qlinear_groups(k, group);
    acts_set(&part, NULL, s->kernel->act, row(x, begin, k), end - begin, k, k, group);
}

/* After set_rows of all rows; where there is nothing to quantize, x is borrowed. */
static void set_acts(struct infer *s, const float *x, int m, int k, int group)
{
    if (s->kernel->act == ACT_F32) {
        acts_set(&s->acts, s->par, ACT_F32, x, m, k, k, group);
        return;
    }
    s->acts.act = s->kernel->act;
    s->acts.m = m;
    s->acts.k = k;
    s->acts.ld = act_ld(k);
    s->acts.group = group;
    s->acts.groups = qlinear_groups(k, group);
}

/* A table that is head and embedding in one is quantized as the head, and looked up as what it then stands for. */
static void embed(const struct infer *s, int32_t id, float *x)
{
    const struct qlinear *head = &s->q->head;
    size_t dim = (size_t)s->c.dim, at = (size_t)id * dim;
    if (!s->c.tied || head->format == FORMAT_F32) {
        memcpy(x, s->w->embed + at, dim * sizeof *x);
        return;
    }
    struct qlinear one = *head;
    one.rows = 1;
    if (formats[head->format].qmax) {
        one.plane.codes += at;
        one.plane.scale += (size_t)id * (size_t)qlinear_groups(head->cols, head->plane.group);
    } else {
        one.dense += at;
    }
    qlinear_dequantize(&one, x);
}

/* h = norm(x), ready for the layer that reads it. */
static void norm_rows(struct infer *s, int begin, int end)
{
    int dim = s->c.dim;
    for (int i = begin; i < end; i++)
        s->vec->rmsnorm(row(s->x, i, dim), s->norm, row(s->h, i, dim), dim, s->c.norm_eps);
    if (s->next)
        set_rows(s, s->h, dim, s->next->group, begin, end);
}

static void embed_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++)
        embed(s, s->ids[i], row(s->x, i, s->c.dim));
    norm_rows(s, begin, end);
}

/* x += delta, and on to the next half block */
static void add_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, dim = s->c.dim;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++)
        s->vec->axpy(1, row(s->delta, i, dim), row(s->x, i, dim), dim);
    norm_rows(s, begin, end);
}

static void rotate_and_cache_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, hd = s->c.head_dim;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        int position = s->position + i % s->tokens;
        const float *cosine = row(s->rope_cos, position, hd / 2), *sine = row(s->rope_sin, position, hd / 2);
        float *key = row(s->key, i, kv_dim(&s->c));
        for (int head = 0; head < s->c.heads; head++)
            s->vec->rope(row(s->query, i, s->c.dim) + head * hd, cosine, sine, hd / 2);
        for (int head = 0; head < s->c.kv_heads; head++)
            s->vec->rope(key + head * hd, cosine, sine, hd / 2);
        kvcache_append(&s->cache, s->layer, i / s->tokens, position, key, row(s->value, i, kv_dim(&s->c)));
    }
}

static void set_attention_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end;
    rows_of(s, thread, threads, &begin, &end);
    set_rows(s, s->attention, s->c.dim, linear_at(s, s->layer, LIN_O)->group, begin, end);
}

static void swiglu_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, ffn = s->c.ffn;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        s->vec->swiglu(row(s->gate, i, ffn), row(s->up, i, ffn), row(s->gate, i, ffn), ffn);
        set_rows(s, s->gate, ffn, linear_at(s, s->layer, LIN_DOWN)->group, i, i + 1); /* while the row is in the nearest cache */
    }
}

/* ---- a call */

/* Runs `count` layers from `first` that share the input x (m, k), whose rows were set. */
static void run_linears(struct infer *s, enum lin first, int count, const float *x, float *const *out)
{
    struct linear *l = linear_at(s, s->layer, first);
    int m = s->shape.batch * s->tokens, k = l->cols;
    for (int i = 0; s->hook && i < count; i++)
        s->hook(s->hook_ctx, s->layer, (enum lin)(first + i), x, m, k);
    set_acts(s, x, m, k, l->group);
    for (int i = 0; i < count; i++)
        linear_run(&l[i], s->par, &s->acts, s->scale_room, out[i], l[i].rows);
    spent(s, INFER_LINEAR);
}

static void attention(struct infer *s)
{
    run_linears(s, LIN_Q, 3, s->h, (float *[]){s->query, s->key, s->value});
    each_row(s, s->c.dim + kv_dim(&s->c), rotate_and_cache_rows);
    attend_run(s->attend, s->par, s->layer, s->query, s->tokens, s->position, s->attention);
    spent(s, INFER_ATTENTION);
    if (s->kernel->act != ACT_F32)
        each_row(s, s->c.dim, set_attention_rows);
    spent(s, INFER_OTHER);
    run_linears(s, LIN_O, 1, s->attention, &s->delta);
}

static void feed_forward(struct infer *s)
{
    run_linears(s, LIN_GATE, 2, s->h, (float *[]){s->gate, s->up});
    each_row(s, s->c.ffn, swiglu_rows);
    spent(s, INFER_OTHER);
    run_linears(s, LIN_DOWN, 1, s->gate, &s->delta);
}

/* Adds what a half block made; norm and next say what comes then. */
static void add_and_norm(struct infer *s, const float *norm, const struct linear *next)
{
    s->norm = norm;
    s->next = next;
    each_row(s, s->c.dim, add_rows);
    spent(s, INFER_OTHER);
}

static void run_layer(struct infer *s, int layer)
{
    bool last = layer + 1 == s->c.layers;
    s->layer = layer;
    attention(s);
    add_and_norm(s, s->w->layer[layer].ffn_norm, linear_at(s, layer, LIN_GATE));
    feed_forward(s);
    add_and_norm(s, last ? s->w->norm : s->w->layer[layer + 1].attn_norm, last ? NULL : linear_at(s, layer + 1, LIN_Q));
}

static void run_head(struct infer *s, enum infer_logits which, float *logits)
{
    int m = s->shape.batch * s->tokens, dim = s->c.dim;
    if (which == INFER_LAST && s->tokens > 1) {
        m = s->shape.batch;
        for (int b = 0; b < m; b++)
            memmove(row(s->h, b, dim), row(s->h, b * s->tokens + s->tokens - 1, dim), (size_t)dim * sizeof(float));
    }
    acts_set(&s->acts, s->par, s->head.kernel->act, s->h, m, dim, dim, s->head.group);
    spent(s, INFER_OTHER);
    linear_run(&s->head, s->par, &s->acts, s->scale_room, logits, s->c.vocab);
    spent(s, INFER_HEAD);
}

static enum status check_call(const struct infer *s, const int32_t *ids, int tokens, struct err *e)
{
    const struct infer_shape *shape = &s->shape;
    if (tokens < 1 || tokens > shape->max_chunk / shape->batch || tokens > shape->max_tokens - s->position)
        return fail(e, ST_EUSAGE, "%d tokens at position %d do not fit a session of %d x %d tokens", tokens, s->position, shape->batch,
                    shape->max_tokens);
    for (int i = 0; i < shape->batch * tokens; i++)
        if (ids[i] < 0 || ids[i] >= s->c.vocab)
            return fail(e, ST_EUSAGE, "token id %d at %d is outside the vocabulary of %d", ids[i], i, s->c.vocab);
    return ST_OK;
}

enum status infer_forward(struct infer *s, const int32_t *ids, int tokens, enum infer_logits which, float *logits, struct err *e)
{
    enum status st = check_call(s, ids, tokens, e);
    if (st != ST_OK)
        return st;
    s->ids = ids;
    s->tokens = tokens;
    s->norm = s->w->layer[0].attn_norm;
    s->next = linear_at(s, 0, LIN_Q);
    start_clock(s);
    each_row(s, s->c.dim, embed_rows);
    spent(s, INFER_OTHER);
    for (int l = 0; l < s->c.layers; l++)
        run_layer(s, l);
    s->position += tokens;
    run_head(s, which, logits);
    return ST_OK;
}

/* The largest of a block, in lanes that a compiler makes a register of. */
static float block_max(const float *x, int n)
{
    float lanes[8] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    int i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (int j = 1; j < 8; j++)
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return lanes[0];
}

/* Block by block: a vocabulary is long, and only where a block holds more than all before need its elements be looked at. */
int infer_argmax(const float *x, int n)
{
    enum { BLOCK = 256 };
    float most = -INFINITY;
    int best = 0;
    for (int from = 0; from < n; from += BLOCK) {
        int to = min_int(n, from + BLOCK);
        if (!(block_max(x + from, to - from) > most))
            continue;
        for (int i = from; i < to; i++)
            if (x[i] > most) {
                most = x[i];
                best = i;
            }
    }
    return best;
}

/* ---- amounts */

double infer_session_bytes(const struct model_config *c, const struct infer_shape *shape)
{
    const struct kv_info *kv = &kv_infos[shape->kv];
    double head = (double)c->head_dim * kv->bits / 8 + (kv->qmax ? 2 : 0), tokens = (double)shape->batch * shape->max_tokens;
    double row = 5.0 * c->dim + 2.0 * kv_dim(c) + 2.0 * c->ffn;
    return 2.0 * c->layers * c->kv_heads * head * tokens + 4 * row * shape->max_chunk + 4.0 * c->head_dim * shape->max_tokens;
}

size_t infer_weight_bytes(const struct infer *s)
{
    size_t bytes = s->head.packed_bytes + (size_t)(2 * s->c.layers + 2) * (size_t)s->c.dim * sizeof(float);
    for (size_t i = 0; i < (size_t)s->c.layers * LIN_COUNT; i++)
        bytes += s->linear[i].packed_bytes;
    return bytes;
}

size_t infer_kv_bytes_per_token(const struct infer *s) { return kvcache_bytes_per_token(&s->cache); }

double infer_ops(const struct infer *s)
{
    double n = (double)s->c.vocab * s->c.dim;
    for (size_t i = 0; i < (size_t)s->c.layers * LIN_COUNT; i++)
        n += (double)s->linear[i].rows * s->linear[i].cols;
    return 2 * n;
}

double infer_attention_ops(const struct infer *s, int tokens, int position) { return s->c.layers * attend_ops(s->attend, tokens, position); }
