/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/*
 * A tile's queries, scores and outputs stay in the second-level cache beside a block of keys and values in the first. STEP
 * positions are scored before their softmax: fewer would spend the time on its sums across a register. A range of a
 * decoding step is long enough that merging costs little beside it.
 */
enum { TILE_ROWS = 64, STEP = 4 * KV_BLOCK, RANGE = 8 * KV_BLOCK };

/* What one thread works in, and a row's running maximum and sum. */
struct room {
    float *q, *out;    /* (TILE_ROWS, head_dim) */
    float *scores;     /* (TILE_ROWS, STEP) */
    float *keys, *values;
    float max[TILE_ROWS];
    double sum[TILE_ROWS];
};

struct attend {
    const struct kvcache *c;
    int heads, group; /* group: query heads that share a kv head */
    int threads, queries; /* queries: of a tile */
    struct room *rooms; /* (threads) owned, and what their pointers lead to */
    /* Of decoding: (batch, heads, ranges) maxima, sums, and outputs (…, head_dim), owned. */
    float *part_max, *part_out;
    double *part_sum;
    /* the call in progress */
    int layer, tokens, position, tiles, ranges;
    const float *q;
    float *out;
};

static int ranges_of(int positions) { return (positions + RANGE - 1) / RANGE; }

static enum status open_room(struct room *r, const struct kvcache *c)
{
    size_t hd = (size_t)c->head_dim;
    r->q = mem_alloc(TILE_ROWS * hd, sizeof *r->q);
    r->out = mem_alloc(TILE_ROWS * hd, sizeof *r->out);
    r->scores = mem_alloc((size_t)TILE_ROWS * STEP, sizeof *r->scores);
    r->keys = mem_alloc(kvcache_room(c), sizeof *r->keys);
    r->values = mem_alloc(kvcache_room(c), sizeof *r->values);
    return r->q && r->out && r->scores && r->keys && r->values ? ST_OK : ST_ENOMEM;
}

enum status attend_open(struct attend **out, const struct kvcache *c, int heads, int threads, struct err *e)
{
    struct attend *a = mem_alloc(1, sizeof *a);
    enum status st = a ? ST_OK : ST_ENOMEM;
    *out = NULL;
    assert(heads % c->kv_heads == 0);
    if (a) {
        int group = heads / c->kv_heads;
        size_t parts = (size_t)c->batch * (size_t)heads * (size_t)ranges_of(c->blocks * KV_BLOCK);
        *a = (struct attend){.c = c, .heads = heads, .group = group, .threads = threads, .queries = max_int(1, TILE_ROWS / group)};
        a->rooms = mem_alloc((size_t)threads, sizeof *a->rooms);
        a->part_max = mem_alloc(parts, sizeof *a->part_max);
        a->part_sum = mem_alloc(parts, sizeof *a->part_sum);
        a->part_out = mem_alloc(parts, (size_t)c->head_dim * sizeof *a->part_out);
        st = a->rooms && a->part_max && a->part_sum && a->part_out ? ST_OK : ST_ENOMEM;
    }
    for (int i = 0; st == ST_OK && i < threads; i++)
        st = open_room(&a->rooms[i], c);
    if (st != ST_OK) {
        attend_close(a);
        return fail(e, st, "no memory for the attention of %d sequences on %d threads", c->batch, threads);
    }
    *out = a;
    return ST_OK;
}

void attend_close(struct attend *a)
{
    if (!a)
        return;
    for (int i = 0; a->rooms && i < a->threads; i++) {
        float *all[] = {a->rooms[i].q, a->rooms[i].out, a->rooms[i].scores, a->rooms[i].keys, a->rooms[i].values};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            mem_free(all[j]);
    }
    mem_free(a->rooms);
    mem_free(a->part_max);
    mem_free(a->part_sum);
    mem_free(a->part_out);
    mem_free(a);
}

/* Queries [first, first + queries) of some heads that share a kv head, over positions [begin, end). */
struct tile {
    int sequence, kv_head, head, heads; /* the first query head, and how many */
    int first, queries;
    int begin, end;
    const struct attend *a;
    struct room *r;
};

static int tile_rows(const struct tile *t) { return t->queries * t->heads; }

/* Row i is query i / heads, head i % heads: rows that see equally far lie together, and those of one query as they do in q and out. */
static size_t at_query(const struct tile *t, int query)
{
    size_t token = (size_t)t->sequence * (size_t)t->a->tokens + (size_t)(t->first + query);
    return (token * (size_t)t->a->heads + (size_t)t->head) * (size_t)t->a->c->head_dim;
}

static size_t query_floats(const struct tile *t) { return (size_t)t->heads * (size_t)t->a->c->head_dim; }

/* How many of the positions [from, end) row i sees. */
static int seen(const struct tile *t, int i, int from)
{
    return max_int(0, min_int(t->end, t->a->position + t->first + i / t->heads + 1) - from);
}

static void start_tile(const struct tile *t)
{
    size_t n = query_floats(t);
    int rows = tile_rows(t), hd = t->a->c->head_dim;
    for (int i = 0; i < t->queries; i++)
        memcpy(t->r->q + (size_t)i * n, t->a->q + at_query(t, i), n * sizeof *t->r->q);
    t->a->c->vec->scale(1 / sqrtf((float)hd), t->r->q, rows * hd);
    for (int i = 0; i < rows; i++) {
        t->r->max[i] = -INFINITY;
        t->r->sum[i] = 0;
    }
}

/* Where a tile's rows go when it has seen all of its positions. */
static void finish_tile(const struct tile *t)
{
    size_t n = query_floats(t);
    int hd = t->a->c->head_dim;
    for (int i = 0; i < tile_rows(t); i++)
        t->a->c->vec->scale((float)(1 / t->r->sum[i]), t->r->out + i * hd, hd);
    for (int i = 0; i < t->queries; i++)
        memcpy(t->a->out + at_query(t, i), t->r->out + (size_t)i * n, n * sizeof *t->r->out);
}

/* Where they go when other tiles have seen the rest: one query, range `range` of its positions. */
static void keep_tile(const struct tile *t, int range)
{
    const struct attend *a = t->a;
    size_t hd = (size_t)a->c->head_dim;
    for (int i = 0; i < t->heads; i++) {
        size_t at = ((size_t)t->sequence * (size_t)a->heads + (size_t)(t->head + i)) * (size_t)a->ranges + (size_t)range;
        a->part_max[at] = t->r->max[i];
        a->part_sum[at] = t->r->sum[i];
        memcpy(a->part_out + at * hd, t->r->out + (size_t)i * hd, hd * sizeof *t->r->out);
    }
}

static struct kv_block block_at(const struct tile *t, int position)
{
    return (struct kv_block){t->a->layer, t->sequence, t->kv_head, position / KV_BLOCK};
}

/*
 * scores (rows, STEP) = softmax of q keys^T so far, for positions [from, to). What a row does not see is -inf before and 0 after;
 * all rows are as long as the longest, and whole registers, because loops of ever other lengths are mispredicted.
 */
static void score_step(const struct tile *t, int from, int to)
{
    const struct kvcache *c = t->a->c;
    struct room *r = t->r;
    int hd = c->head_dim, length = (int)round_up((size_t)(to - from), 16);
    for (int at = from; at < to; at += KV_BLOCK) {
        const float *keys = kvcache_keys(c, block_at(t, at), r->keys);
        c->vec->product(r->q, hd, keys, KV_BLOCK, r->scores + (at - from), STEP, tile_rows(t), min_int(KV_BLOCK, to - at), hd, false);
    }
    for (int i = 0; i < tile_rows(t); i++) {
        float *p = r->scores + (size_t)i * STEP;
        for (int j = seen(t, i, from); j < length; j++)
            p[j] = -INFINITY;
        float grown = c->vec->softmax_part(p, length, &r->max[i], &r->sum[i]);
        if (grown != 1 && from > t->begin)
            c->vec->scale(grown, r->out + (size_t)i * (size_t)hd, hd);
    }
}

/* out += scores values, or = at first */
static void mix_step(const struct tile *t, int from, int to)
{
    const struct kvcache *c = t->a->c;
    struct room *r = t->r;
    int hd = c->head_dim;
    for (int at = from; at < to; at += KV_BLOCK) {
        int count = min_int(KV_BLOCK, to - at);
        const float *values = kvcache_values(c, block_at(t, at), count, r->values);
        c->vec->product(r->scores + (at - from), STEP, values, kvcache_ldv(c), r->out, hd, tile_rows(t), hd, count, at > t->begin);
    }
}

static void run_tile(const struct tile *t)
{
    start_tile(t);
    for (int from = t->begin; from < t->end; from += STEP) {
        int to = min_int(t->end, from + STEP);
        score_step(t, from, to);
        mix_step(t, from, to);
    }
}

/* A task is a tile; its number counts blocks of queries (or ranges of positions), within kv heads, within sequences. */
static void run_task(const struct attend *a, struct room *r, int task)
{
    const struct kvcache *c = a->c;
    int per_head = a->tiles * a->ranges, part = task % per_head, head = task / per_head % c->kv_heads;
    struct tile t = {.sequence = task / per_head / c->kv_heads, .kv_head = head, .a = a, .r = r};
    t.first = part / a->ranges * a->queries;
    t.queries = min_int(a->queries, a->tokens - t.first);
    t.begin = part % a->ranges * RANGE;
    t.end = a->position + t.first + t.queries;
    if (a->ranges > 1)
        t.end = min_int(t.end, t.begin + RANGE);
    for (int first = 0; first < a->group; first += TILE_ROWS) {
        t.head = head * a->group + first;
        t.heads = min_int(TILE_ROWS, a->group - first);
        run_tile(&t);
        if (a->ranges == 1)
            finish_tile(&t);
        else
            keep_tile(&t, part % a->ranges);
    }
}

static int tasks_of(const struct attend *a) { return a->c->batch * a->c->kv_heads * a->tiles * a->ranges; }

/* Later tiles see more positions: dealing forth and back gives every thread early and late ones. */
static void run_tasks(void *ctx, int thread, int threads)
{
    const struct attend *a = ctx;
    for (int round = 0, n = tasks_of(a); round * threads < n; round++) {
        int task = round * threads + (round % 2 ? threads - 1 - thread : thread);
        if (task < n)
            run_task(a, &a->rooms[thread], task);
    }
}

/* out of one (sequence, head) of one token: partial outputs, each brought to the common maximum. */
static void merge_row(const struct attend *a, int row)
{
    const struct vec *vec = a->c->vec;
    int hd = a->c->head_dim;
    size_t first = (size_t)row * (size_t)a->ranges;
    const float *max = a->part_max + first;
    float *out = a->out + (size_t)row * (size_t)hd, most = -INFINITY;
    double sum = 0;
    for (int i = 0; i < a->ranges; i++)
        most = max[i] > most ? max[i] : most;
    memset(out, 0, (size_t)hd * sizeof *out);
    for (int i = 0; i < a->ranges; i++) {
        float weight = max[i] == most ? 1 : expf(max[i] - most); /* equal also where both are -inf: every score was NaN */
        sum += (double)weight * a->part_sum[first + (size_t)i];
        vec->axpy(weight, a->part_out + (first + (size_t)i) * (size_t)hd, out, hd);
    }
    vec->scale((float)(1 / sum), out, hd);
}

static void merge_rows(void *ctx, int thread, int threads)
{
    const struct attend *a = ctx;
    int begin, end;
    par_span(a->c->batch * a->heads, 1, thread, threads, &begin, &end);
    for (int row = begin; row < end; row++)
        merge_row(a, row);
}

double attend_ops(const struct attend *a, int tokens, int position)
{
    double seen_by_all = (double)tokens * (position + 0.5 * (tokens + 1));
    return 4.0 * a->c->batch * a->heads * a->c->head_dim * seen_by_all;
}

static void share(struct attend *a, struct par *p, double ops, void (*fn)(void *ctx, int thread, int threads))
{
    /* Below this, waking the team costs more than it saves. */
    if (p && ops >= 1 << 18)
        par_run(p, fn, a);
    else
        fn(a, 0, 1);
}

void attend_run(struct attend *a, struct par *p, int layer, const float *q, int tokens, int position, float *out)
{
    assert(!p || par_threads(p) <= a->threads);
    a->layer = layer;
    a->tokens = tokens;
    a->position = position;
    a->q = q;
    a->out = out;
    a->tiles = (tokens + a->queries - 1) / a->queries;
    a->ranges = tokens == 1 ? ranges_of(position + 1) : 1;
    share(a, p, attend_ops(a, tokens, position), run_tasks);
    if (a->ranges > 1)
        share(a, p, 4.0 * a->c->batch * a->heads * a->ranges * a->c->head_dim, merge_rows);
}
