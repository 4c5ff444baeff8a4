/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "infer.h"

#include <math.h>
#include <string.h>

#include "blas.h"
#include "vec.h"

/* Queries of one attention task: the block of scores (QUERY_BLOCK, positions) stays in the second-level cache. */
enum { QUERY_BLOCK = 32 };

struct infer {
    const struct qmodel *q;
    const struct weights *w;
    struct model_config c;
    struct par *par;
    const struct blas *blas;
    const struct vec *vec;
    int batch, max_tokens, max_chunk, position;
    struct linear *linear; /* (layers, LIN_COUNT) */
    struct linear head;
    const struct kernel *kernel;
    float *cache_k, *cache_v;     /* (layers, batch, max_tokens, kv_dim) */
    float *rope_cos, *rope_sin;   /* (max_tokens, head_dim / 2) */
    float *x, *h;                 /* (max_chunk, dim): residual stream, normed input */
    float *query, *key, *value;   /* (max_chunk, dim), (max_chunk, kv_dim) twice */
    float *attention, *delta;     /* (max_chunk, dim): mixed values, what a block adds */
    float *gate, *up;             /* (max_chunk, ffn) */
    float *scores;                /* (threads, QUERY_BLOCK, max_tokens) */
    float *scale_room;            /* (max_chunk) */
    struct acts acts;
    infer_hook *hook;
    void *hook_ctx;
    /* the call in progress */
    const int32_t *ids;
    int tokens, layer;
};

static int kv_dim(const struct model_config *c) { return c->kv_heads * c->head_dim; }

static void fill_rope(struct infer *s)
{
    int half = s->c.head_dim / 2;
    for (int t = 0; t < s->max_tokens; t++)
        for (int i = 0; i < half; i++) {
            double angle = t * pow(s->c.rope_base, -2.0 * i / s->c.head_dim);
            s->rope_cos[t * half + i] = (float)cos(angle);
            s->rope_sin[t * half + i] = (float)sin(angle);
        }
}

static enum status alloc_buffers(struct infer *s, struct err *e)
{
    size_t m = (size_t)s->max_chunk, dim = (size_t)s->c.dim, kv = (size_t)kv_dim(&s->c), ffn = (size_t)s->c.ffn;
    size_t t = (size_t)s->max_tokens, cache = (size_t)s->c.layers * (size_t)s->batch * t * kv, f = sizeof(float);
    struct { float **p; size_t n; } want[] = {
        {&s->cache_k, cache}, {&s->cache_v, cache}, {&s->rope_cos, t * (size_t)s->c.head_dim / 2}, {&s->rope_sin, t * (size_t)s->c.head_dim / 2},
        {&s->x, m * dim}, {&s->h, m * dim}, {&s->query, m * dim}, {&s->key, m * kv}, {&s->value, m * kv}, {&s->attention, m * dim},
        {&s->delta, m * dim}, {&s->gate, m * ffn}, {&s->up, m * ffn}, {&s->scores, (size_t)par_threads(s->par) * QUERY_BLOCK * t}, {&s->scale_room, m},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!(*want[i].p = mem_alloc(want[i].n, f)))
            return fail(e, ST_ENOMEM, "no memory for a session of %d x %d tokens", s->batch, s->max_tokens);
    return ST_OK;
}

static enum status open_linears(struct infer *s, struct err *e)
{
    size_t n = (size_t)s->c.layers * LIN_COUNT;
    int widest = max_int(s->c.dim, s->c.ffn);
    const struct kernel *f32 = kernel_best(FORMAT_F32, ACT_F32, 0, false, e);
    struct qlinear head = {.rows = s->c.vocab, .cols = s->c.dim, .format = FORMAT_F32, .dense = s->w->head, .act_gain = 1};
    s->linear = mem_alloc(n, sizeof *s->linear);
    if (!f32)
        return ST_EUNSUPPORTED;
    if (!s->linear)
        return fail(e, ST_ENOMEM, "no memory for %zu layers", n);
    enum status st = linear_open(&s->head, &head, f32, e);
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = linear_open(&s->linear[i], &s->q->linear[i], s->kernel, e);
    if (st == ST_OK)
        st = acts_reserve(&s->acts, s->kernel->act, s->max_chunk, widest, s->q->spec.group ? s->q->spec.group : widest, e);
    return st;
}

enum status infer_open(struct infer **out, const struct qmodel *q, const struct kernel *kernel, int batch, int max_tokens,
                       int max_chunk, struct par *p, struct err *e)
{
    *out = NULL;
    if (!kernel && !(kernel = kernel_best(q->spec.format, qspec_act(&q->spec), q->spec.group, q->spec.zero_point, e)))
        return ST_EUNSUPPORTED;
    const struct blas *blas = blas_get(e);
    if (!blas)
        return ST_EUNSUPPORTED;
    struct infer *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(e, ST_ENOMEM, "no memory for a session");
    *s = (struct infer){.q = q, .w = q->weights, .c = q->weights->config, .par = p, .blas = blas, .vec = vec_get(), .batch = batch,
                        .max_tokens = max_tokens, .max_chunk = max_chunk, .kernel = kernel};
    enum status st = alloc_buffers(s, e);
    if (st == ST_OK)
        st = open_linears(s, e);
    if (st != ST_OK) {
        infer_close(s);
        return st;
    }
    fill_rope(s);
    *out = s;
    return ST_OK;
}

void infer_close(struct infer *s)
{
    if (!s)
        return;
    if (s->linear)
        for (size_t i = 0; i < (size_t)s->c.layers * LIN_COUNT; i++)
            linear_close(&s->linear[i]);
    linear_close(&s->head);
    float *buffers[] = {s->cache_k, s->cache_v, s->rope_cos, s->rope_sin, s->x, s->h, s->query, s->key, s->value,
                        s->attention, s->delta, s->gate, s->up, s->scores, s->scale_room};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        mem_free(buffers[i]);
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

void infer_set_act_gain(struct infer *s, int layer, enum lin lin, float gain) { s->linear[(size_t)layer * LIN_COUNT + lin].act_gain = gain; }

/* Splits the call's rows over the threads; a handful of rows is not worth waking them. */
static void each_row(struct infer *s, void (*fn)(void *ctx, int thread, int threads))
{
    if (s->batch * s->tokens < 4 * par_threads(s->par))
        fn(s, 0, 1);
    else
        par_run(s->par, fn, s);
}

static void rows_of(const struct infer *s, int thread, int threads, int *begin, int *end)
{
    par_span(s->batch * s->tokens, 1, thread, threads, begin, end);
}

static float *row(float *base, int i, int width) { return base + (size_t)i * (size_t)width; }

static void embed_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, dim = s->c.dim;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        memcpy(row(s->x, i, dim), s->w->embed + (size_t)s->ids[i] * (size_t)dim, (size_t)dim * sizeof(float));
        s->vec->rmsnorm(row(s->x, i, dim), s->w->layer[0].attn_norm, row(s->h, i, dim), dim, s->c.norm_eps);
    }
}

/* x += delta; h = norm(x) for what comes next: `layer` counts half blocks. */
static void add_and_norm_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, dim = s->c.dim, l = s->layer / 2;
    const float *w = s->layer % 2 == 0 ? s->w->layer[l].ffn_norm : l + 1 < s->c.layers ? s->w->layer[l + 1].attn_norm : s->w->norm;
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        s->vec->axpy(1, row(s->delta, i, dim), row(s->x, i, dim), dim);
        s->vec->rmsnorm(row(s->x, i, dim), w, row(s->h, i, dim), dim, s->c.norm_eps);
    }
}

static size_t cache_at(const struct infer *s, int layer, int sequence, int position)
{
    return (((size_t)layer * (size_t)s->batch + (size_t)sequence) * (size_t)s->max_tokens + (size_t)position) * (size_t)kv_dim(&s->c);
}

static void rotate_and_cache_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, hd = s->c.head_dim, kv = kv_dim(&s->c);
    rows_of(s, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        int position = s->position + i % s->tokens;
        const float *cosine = s->rope_cos + (size_t)position * (size_t)hd / 2, *sine = s->rope_sin + (size_t)position * (size_t)hd / 2;
        size_t at = cache_at(s, s->layer / 2, i / s->tokens, position);
        for (int head = 0; head < s->c.heads; head++)
            s->vec->rope(row(s->query, i, s->c.dim) + head * hd, cosine, sine, hd / 2);
        memcpy(s->cache_k + at, row(s->key, i, kv), (size_t)kv * sizeof(float));
        memcpy(s->cache_v + at, row(s->value, i, kv), (size_t)kv * sizeof(float));
        for (int head = 0; head < s->c.kv_heads; head++)
            s->vec->rope(s->cache_k + at + head * hd, cosine, sine, hd / 2);
    }
}

/* One query: a decoding step. k and v are one head of one sequence's cache. */
static void attend_one(const struct infer *s, const float *q, const float *k, const float *v, int n, float *scores, float *out)
{
    int hd = s->c.head_dim, ld = kv_dim(&s->c);
    float scale = 1 / sqrtf((float)hd);
    for (int t = 0; t < n; t++)
        scores[t] = s->vec->dot(q, k + (size_t)t * (size_t)ld, hd) * scale;
    s->vec->softmax(scores, n);
    memset(out, 0, (size_t)hd * sizeof *out);
    for (int t = 0; t < n; t++)
        s->vec->axpy(scores[t], v + (size_t)t * (size_t)ld, out, hd);
}

/* `queries` queries whose first sees n0 positions, the next n0 + 1, …; rows of q and out are dim apart. */
static void attend_block(const struct infer *s, const float *q, const float *k, const float *v, int queries, int n0, float *scores, float *out)
{
    int hd = s->c.head_dim, ld = kv_dim(&s->c), dim = s->c.dim, n = n0 + queries - 1;
    s->blas->sgemm(false, true, queries, n, hd, 1 / sqrtf((float)hd), q, dim, k, ld, 0, scores, n);
    for (int i = 0; i < queries; i++) {
        float *p = scores + (size_t)i * (size_t)n;
        s->vec->softmax(p, n0 + i);
        memset(p + n0 + i, 0, (size_t)(n - n0 - i) * sizeof *p);
    }
    s->blas->sgemm(false, false, queries, hd, n, 1, scores, n, v, ld, 0, out, dim);
}

static void attend_tasks(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int hd = s->c.head_dim, per_kv = s->c.heads / s->c.kv_heads, blocks = (s->tokens + QUERY_BLOCK - 1) / QUERY_BLOCK;
    float *scores = s->scores + (size_t)thread * QUERY_BLOCK * (size_t)s->max_tokens;
    /* Later blocks see more positions: dealing forth and back gives every thread early and late ones. */
    for (int round = 0; round * threads < s->batch * s->c.heads * blocks; round++) {
        int task = round * threads + (round % 2 ? threads - 1 - thread : thread);
        if (task >= s->batch * s->c.heads * blocks)
            continue;
        int block = task % blocks, head = task / blocks % s->c.heads, b = task / blocks / s->c.heads;
        int first = block * QUERY_BLOCK, queries = min_int(QUERY_BLOCK, s->tokens - first), i = b * s->tokens + first;
        size_t at = cache_at(s, s->layer / 2, b, 0) + (size_t)(head / per_kv * hd);
        const float *q = row(s->query, i, s->c.dim) + head * hd;
        float *out = row(s->attention, i, s->c.dim) + head * hd;
        if (queries == 1)
            attend_one(s, q, s->cache_k + at, s->cache_v + at, s->position + first + 1, scores, out);
        else
            attend_block(s, q, s->cache_k + at, s->cache_v + at, queries, s->position + first + 1, scores, out);
    }
}

static void swiglu_rows(void *ctx, int thread, int threads)
{
    struct infer *s = ctx;
    int begin, end, ffn = s->c.ffn;
    rows_of(s, thread, threads, &begin, &end);
    s->vec->swiglu(row(s->gate, begin, ffn), row(s->up, begin, ffn), row(s->gate, begin, ffn), (end - begin) * ffn);
}

/* Runs `count` layers from `first` that share the input x (m, k), quantizing it once. */
static void run_linears(struct infer *s, enum lin first, int count, const float *x, int k, float *const *out)
{
    int m = s->batch * s->tokens, layer = s->layer / 2;
    struct linear *l = &s->linear[(size_t)layer * LIN_COUNT + first];
    for (int i = 0; s->hook && i < count; i++)
        s->hook(s->hook_ctx, layer, (enum lin)(first + i), x, m, k);
    acts_set(&s->acts, s->par, s->kernel->act, x, m, k, k, l->group);
    for (int i = 0; i < count; i++)
        linear_run(&l[i], s->par, &s->acts, s->scale_room, out[i], l[i].rows);
}

static void run_layer(struct infer *s, int layer)
{
    s->layer = 2 * layer;
    run_linears(s, LIN_Q, 3, s->h, s->c.dim, (float *[]){s->query, s->key, s->value});
    each_row(s, rotate_and_cache_rows);
    /* A decoding step over a short cache is less work than waking the team. */
    if ((long)s->batch * s->tokens * s->c.dim * (s->position + s->tokens) < 65536)
        attend_tasks(s, 0, 1);
    else
        par_run(s->par, attend_tasks, s);
    run_linears(s, LIN_O, 1, s->attention, s->c.dim, &s->delta);
    each_row(s, add_and_norm_rows);
    s->layer++;
    run_linears(s, LIN_GATE, 2, s->h, s->c.dim, (float *[]){s->gate, s->up});
    each_row(s, swiglu_rows);
    run_linears(s, LIN_DOWN, 1, s->gate, s->c.ffn, &s->delta);
    each_row(s, add_and_norm_rows);
}

static enum status check_call(const struct infer *s, const int32_t *ids, int tokens, struct err *e)
{
    if (tokens < 1 || s->batch * tokens > s->max_chunk || s->position + tokens > s->max_tokens)
        return fail(e, ST_EUSAGE, "%d tokens at position %d do not fit a session of %d x %d tokens", tokens, s->position, s->batch, s->max_tokens);
    for (int i = 0; i < s->batch * tokens; i++)
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
    each_row(s, embed_rows);
    for (int l = 0; l < s->c.layers; l++)
        run_layer(s, l);
    s->position += tokens;
    int m = s->batch * tokens;
    if (which == INFER_LAST && tokens > 1) {
        m = s->batch;
        for (int b = 0; b < m; b++)
            memmove(row(s->h, b, s->c.dim), row(s->h, b * tokens + tokens - 1, s->c.dim), (size_t)s->c.dim * sizeof(float));
    }
    struct acts last = {0};
    acts_set(&last, s->par, ACT_F32, s->h, m, s->c.dim, s->c.dim, 0);
    linear_run(&s->head, s->par, &last, s->scale_room, logits, s->c.vocab);
    return ST_OK;
}

size_t infer_weight_bytes(const struct infer *s)
{
    size_t bytes = s->head.packed_bytes + (size_t)(2 * s->c.layers + 2) * (size_t)s->c.dim * sizeof(float);
    for (size_t i = 0; i < (size_t)s->c.layers * LIN_COUNT; i++)
        bytes += s->linear[i].packed_bytes;
    return bytes;
}

double infer_ops(const struct infer *s)
{
    double n = (double)s->c.vocab * s->c.dim;
    for (size_t i = 0; i < (size_t)s->c.layers * LIN_COUNT; i++)
        n += (double)s->linear[i].rows * s->linear[i].cols;
    return 2 * n;
}
