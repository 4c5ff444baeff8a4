/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "adamw.h"

#include <math.h>

#include "vec.h"

enum { BLOCK = 4096 }; /* floats that a thread walks at a time through weights, gradient and moments */

struct segment {
    size_t begin, count;
    bool decays;
};

/* Neighbouring tensors of one kind make one segment. */
static enum status open_segments(struct adamw *a, const struct weights *w, struct err *e)
{
    int n = weights_tensors(&w->config);
    a->segments = mem_alloc((size_t)n, sizeof *a->segments);
    if (!a->segments)
        return fail(e, ST_ENOMEM, "no memory to train");
    for (int i = 0; i < n; i++) {
        struct tensor t = weights_tensor(w, i);
        size_t count = (size_t)t.rows * (size_t)t.cols;
        struct segment *last = a->segment_count ? &a->segments[a->segment_count - 1] : NULL;
        if (last && last->decays == t.decays)
            last->count += count;
        else
            a->segments[a->segment_count++] = (struct segment){(size_t)(t.data - w->data), count, t.decays};
    }
    return ST_OK;
}

enum status adamw_open(struct adamw *a, const struct weights *w, double beta1, double beta2, double decay, struct par *p,
                       struct err *e)
{
    *a = (struct adamw){.beta1 = (float)beta1, .beta2 = (float)beta2, .decay = (float)decay, .par = p};
    a->m = weights_alloc(&w->config, e);
    a->v = weights_alloc(&w->config, e);
    a->partial = mem_alloc((size_t)par_threads(p), sizeof *a->partial);
    if (!a->m || !a->v || !a->partial)
        return fail(e, ST_ENOMEM, "no memory for the optimizer's moments");
    return open_segments(a, w, e);
}

void adamw_close(struct adamw *a)
{
    weights_free(a->m);
    weights_free(a->v);
    mem_free(a->segments);
    mem_free(a->partial);
    *a = (struct adamw){0};
}

/* This thread's whole blocks of count floats: [*begin,*end). */
static void share(size_t count, int thread, int threads, size_t *begin, size_t *end)
{
    int first, last;
    par_span((int)((count + BLOCK - 1) / BLOCK), 1, thread, threads, &first, &last);
    *begin = (size_t)first * BLOCK;
    *end = (size_t)last * BLOCK < count ? (size_t)last * BLOCK : count;
}

static int block_length(size_t at, size_t end) { return (int)(end - at < BLOCK ? end - at : BLOCK); }

struct job {
    struct adamw *a;
    const struct weights *grads;
    struct weights *w;
    struct adamw_step decayed, plain;
};

static void square_share(void *ctx, int thread, int threads)
{
    const struct job *j = ctx;
    const struct vec *vec = vec_get();
    size_t begin, end;
    double sum = 0;
    share(j->grads->count, thread, threads, &begin, &end);
    for (size_t at = begin; at < end; at += BLOCK)
        sum += vec->sum_squares(j->grads->data + at, block_length(at, end));
    j->a->partial[thread] = sum;
}

double adamw_norm(struct adamw *a, const struct weights *grads)
{
    struct job j = {.a = a, .grads = grads};
    double sum = 0;
    par_run(a->par, square_share, &j);
    for (int i = 0; i < par_threads(a->par); i++)
        sum += a->partial[i];
    return sqrt(sum);
}

static void update_share(void *ctx, int thread, int threads)
{
    const struct job *j = ctx;
    const struct vec *vec = vec_get();
    for (int i = 0; i < j->a->segment_count; i++) {
        const struct segment *s = &j->a->segments[i];
        size_t begin, end;
        share(s->count, thread, threads, &begin, &end);
        for (size_t at = s->begin + begin; at < s->begin + end; at += BLOCK)
            vec->adamw(j->w->data + at, j->grads->data + at, j->a->m->data + at, j->a->v->data + at,
                       block_length(at, s->begin + end), s->decays ? &j->decayed : &j->plain);
    }
}

void adamw_update(struct adamw *a, struct weights *w, const struct weights *grads, long step, double lr, double grad_scale)
{
    double count = (double)step + 1;
    struct job j = {.a = a,
                    .grads = grads,
                    .w = w,
                    .plain = {.lr = (float)lr,
                              .beta1 = a->beta1,
                              .beta2 = a->beta2,
                              .eps = 1e-8f,
                              .correction1 = (float)(1 / (1 - pow(a->beta1, count))),
                              .correction2 = (float)(1 / (1 - pow(a->beta2, count))),
                              .grad_scale = (float)grad_scale}};
    j.decayed = j.plain;
    j.decayed.decay = a->decay;
    par_run(a->par, update_share, &j);
}
