/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "eval.h"

#include <math.h>
#include <string.h>

#include "vec.h"

enum { WINDOW_MAX = 2048 };

int eval_window(const struct model_config *c) { return min_int(c->context, WINDOW_MAX); }

int eval_batch(const struct model_config *c, int window)
{
    size_t logits = (size_t)window * (size_t)c->vocab * sizeof(float), most = (size_t)64 << 20;
    return max_int(1, min_int(16, (int)(most / logits)));
}

void quality_free(struct quality *q)
{
    mem_free(q->nll);
    mem_free(q->ref_nll);
    mem_free(q->block);
    memset(q, 0, sizeof *q);
}

/* One batch of windows, its logits there, being turned into per-token figures: slot i is token i of the batch. */
struct scoring {
    const float *logits, *ref_logits; /* (rows, vocab) */
    const int32_t *targets;           /* (rows); < 0: not scored */
    const struct vec *vec;
    float *room;                      /* (threads, vocab) */
    int rows, vocab;
    float *nll, *ref_nll, *kl;        /* (rows) */
    unsigned char *same, *right;      /* (rows) most likely token: as the reference's, as the target */
};

static void score_rows(void *ctx, int thread, int threads)
{
    struct scoring *s = ctx;
    int begin, end, v = s->vocab;
    float *p = s->room + (size_t)thread * (size_t)v;
    par_span(s->rows, 1, thread, threads, &begin, &end);
    for (int i = begin; i < end; i++) {
        int target = s->targets[i];
        if (target < 0)
            continue;
        const float *x = s->logits + (size_t)i * (size_t)v;
        float lse = s->vec->logsumexp(x, v);
        int top = infer_argmax(x, v);
        s->nll[i] = lse - x[target];
        s->right[i] = top == target;
        if (!s->ref_logits)
            continue;
        const float *r = s->ref_logits + (size_t)i * (size_t)v;
        memcpy(p, r, (size_t)v * sizeof *p);
        float ref_lse = s->vec->softmax(p, v);
        s->ref_nll[i] = ref_lse - r[target];
        /* sum p_ref (log p_ref - log p) */
        s->kl[i] = fmaxf(0, s->vec->dot(p, r, v) - ref_lse - s->vec->dot(p, x, v) + lse);
        s->same[i] = infer_argmax(r, v) == top;
    }
}

struct buffers {
    float *logits, *ref_logits, *room, *nll, *ref_nll, *kl;
    int32_t *ids, *targets;
    unsigned char *same, *right;
};

static void buffers_free(struct buffers *b)
{
    void *all[] = {b->logits, b->ref_logits, b->room, b->nll, b->ref_nll, b->kl, b->ids, b->targets, b->same, b->right};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
}

static enum status buffers_alloc(struct buffers *b, size_t rows, size_t vocab, int threads, bool with_ref, struct err *e)
{
    *b = (struct buffers){
        .logits = mem_alloc(rows * vocab, sizeof(float)), .ref_logits = with_ref ? mem_alloc(rows * vocab, sizeof(float)) : NULL,
        .room = mem_alloc((size_t)threads * vocab, sizeof(float)), .nll = mem_alloc(rows, sizeof(float)), .ref_nll = mem_alloc(rows, sizeof(float)),
        .kl = mem_alloc(rows, sizeof(float)), .ids = mem_alloc(rows, sizeof(int32_t)), .targets = mem_alloc(rows, sizeof(int32_t)),
        .same = mem_alloc(rows, 1), .right = mem_alloc(rows, 1),
    };
    if (b->logits && (b->ref_logits || !with_ref) && b->room && b->nll && b->ref_nll && b->kl && b->ids && b->targets && b->same && b->right)
        return ST_OK;
    return fail(e, ST_ENOMEM, "no memory for the logits of %zu tokens", rows);
}

/* Windows first … first + batch of the plan; a short batch repeats its last window unscored. */
static void cut_windows(struct buffers *b, const struct windows *w, int first, int batch)
{
    int room = w->context;
    for (int i = 0; i < batch; i++) {
        bool real = (size_t)(first + i) < w->count;
        windows_fill(w, real ? (size_t)(first + i) : w->count - 1, room, b->ids + i * room, b->targets + i * room);
        for (int j = 0; j < room && !real; j++)
            b->targets[i * room + j] = -1;
    }
}

static void collect(struct quality *q, const struct buffers *b, int first, int window, int batch, const struct tokenizer *tokenizer)
{
    for (int i = 0; i < batch * window; i++) {
        if (b->targets[i] < 0)
            continue;
        q->bytes += token_bytes(tokenizer, b->ids[i], b->targets[i]);
        q->nll[q->n] = b->nll[i];
        q->block[q->n] = first + i / window;
        q->accuracy += b->right[i];
        if (q->ref_nll) {
            q->ref_nll[q->n] = b->ref_nll[i];
            q->kl += b->kl[i];
            q->kl_max = fmax(q->kl_max, b->kl[i]);
            q->top1 += b->same[i];
        }
        q->n++;
    }
}

static enum status quality_alloc(struct quality *q, size_t n, bool with_ref, struct err *e)
{
    *q = (struct quality){.nll = mem_alloc(n, sizeof(float)), .block = mem_alloc(n, sizeof(int32_t)),
                          .ref_nll = with_ref ? mem_alloc(n, sizeof(float)) : NULL};
    if (q->nll && q->block && (q->ref_nll || !with_ref))
        return ST_OK;
    return fail(e, ST_ENOMEM, "no memory for %zu scored tokens", n);
}

static void quality_finish(struct quality *q)
{
    double n = (double)q->n;
    q->accuracy /= n;
    q->kl = q->ref_nll ? q->kl / n : NAN;
    q->top1 = q->ref_nll ? q->top1 / n : NAN;
    q->kl_max = q->ref_nll ? q->kl_max : NAN;
}

enum status eval_windows(struct quality *q, struct infer *model, struct infer *ref, const struct windows *w, const struct tokenizer *tokenizer,
                         int batch, int vocab, struct par *p, struct err *e)
{
    struct buffers b = {0};
    int window = w->context, windows = (int)w->count, rows = batch * window;
    *q = (struct quality){0};
    enum status st = quality_alloc(q, w->targets + 1, ref != NULL, e);
    if (st == ST_OK)
        st = buffers_alloc(&b, (size_t)rows, (size_t)vocab, par_threads(p), ref != NULL, e);
    struct scoring s = {.logits = b.logits, .ref_logits = b.ref_logits, .targets = b.targets, .vec = vec_get(), .room = b.room, .rows = rows,
                        .vocab = vocab, .nll = b.nll, .ref_nll = b.ref_nll, .kl = b.kl, .same = b.same, .right = b.right};
    for (int first = 0; st == ST_OK && first < windows; first += batch) {
        cut_windows(&b, w, first, batch);
        infer_reset(model);
        st = infer_forward(model, b.ids, window, INFER_ALL, b.logits, e);
        if (st == ST_OK && ref) {
            infer_reset(ref);
            st = infer_forward(ref, b.ids, window, INFER_ALL, b.ref_logits, e);
        }
        if (st == ST_OK) {
            par_run(p, score_rows, &s);
            collect(q, &b, first, window, batch, tokenizer);
        }
    }
    if (st == ST_OK && q->n == 0)
        st = fail(e, ST_EUSAGE, "no token of the text can be scored");
    if (st == ST_OK)
        quality_finish(q);
    else
        quality_free(q);
    buffers_free(&b);
    return st;
}

enum status eval_quality(struct quality *q, struct infer *model, struct infer *ref, const struct tokens *t,
                         const struct tokenizer *tokenizer, int window, int batch, int vocab, struct par *p, struct err *e)
{
    struct windows w;
    *q = (struct quality){0};
    enum status st = protocol_plan_tokens(&w, t, t->boundary, window, e);
    if (st != ST_OK)
        return st;
    st = eval_windows(q, model, ref, &w, tokenizer, batch, vocab, p, e);
    windows_free(&w);
    return st;
}
