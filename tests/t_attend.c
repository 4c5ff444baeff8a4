/* Attention against plain double arithmetic over what the cache holds: every format, shape and depth, prefill and decoding. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attend.h"
#include "cpu.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 13, LAYER = 1, LAYERS = 2 };

struct shape {
    int batch, heads, kv_heads, head_dim, tokens, position;
};

/* Few and many tokens, short pasts and long ones (several steps and, for one token, several ranges), ragged everything. */
static const struct shape shapes[] = {
    {1, 1, 1, 8, 1, 0},     {2, 4, 2, 12, 7, 0},    {1, 2, 2, 64, 70, 0},   {2, 8, 1, 5, 3, 61},     {1, 6, 3, 16, 65, 300},
    {3, 4, 2, 8, 1, 63},    {2, 4, 4, 17, 1, 64},   {1, 8, 2, 64, 1, 511},  {2, 8, 2, 32, 1, 1500},  {1, 130, 1, 8, 2, 40},
    {1, 100, 1, 4, 1, 700},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

struct fixture {
    struct shape s;
    struct kvcache cache;
    struct attend *attend;
    struct par *par;
    float *q, *out;
    size_t n; /* floats of q, of out */
};

static void open_fixture(struct fixture *f, struct shape s, enum kv kv, int threads)
{
    int seen = s.position + s.tokens, width = s.kv_heads * s.head_dim;
    *f = (struct fixture){.s = s, .n = (size_t)s.batch * (size_t)s.tokens * (size_t)s.heads * (size_t)s.head_dim};
    assert_int_equal(par_open(&f->par, threads, NULL), ST_OK);
    assert_int_equal(kvcache_open(&f->cache, kv, LAYERS, s.batch, s.kv_heads, s.head_dim, seen, NULL), ST_OK);
    assert_int_equal(attend_open(&f->attend, &f->cache, s.heads, threads, NULL), ST_OK);
    f->q = mem_alloc(f->n, sizeof *f->q);
    f->out = mem_alloc(f->n, sizeof *f->out);
    float *token = mem_alloc(2 * (size_t)width, sizeof *token);
    tiny_normal(f->q, f->n, SEED);
    for (int b = 0; b < s.batch; b++)
        for (int t = 0; t < seen; t++) {
            tiny_normal(token, 2 * (size_t)width, SEED + 1 + (uint64_t)(b * seen + t));
            kvcache_append(&f->cache, LAYER, b, t, token, token + width);
        }
    mem_free(token);
}

static void close_fixture(struct fixture *f)
{
    attend_close(f->attend);
    kvcache_close(&f->cache);
    par_close(f->par);
    mem_free(f->q);
    mem_free(f->out);
}

static void run(struct fixture *f, struct par *p) { attend_run(f->attend, p, LAYER, f->q, f->s.tokens, f->s.position, f->out); }

/* One head of one query, over the rounded keys and values that the cache gives out. */
static void reference(const struct fixture *f, int b, int t, int head, double *out, double *size)
{
    const struct shape *s = &f->s;
    int seen = s->position + t + 1, kv_head = head / (s->heads / s->kv_heads);
    const float *q = f->q + (((size_t)b * (size_t)s->tokens + (size_t)t) * (size_t)s->heads + (size_t)head) * (size_t)s->head_dim;
    float *room = mem_alloc(kvcache_room(&f->cache), sizeof *room);
    double *p = calloc((size_t)seen, sizeof *p), most = -INFINITY, sum = 0;
    for (int i = 0; i < seen; i++) {
        const float *k = kvcache_keys(&f->cache, (struct kv_block){LAYER, b, kv_head, i / KV_BLOCK}, room);
        for (int j = 0; j < s->head_dim; j++)
            p[i] += (double)q[j] * k[j * KV_BLOCK + i % KV_BLOCK];
        p[i] /= sqrt(s->head_dim);
        most = fmax(most, p[i]);
    }
    for (int i = 0; i < seen; i++)
        sum += p[i] = exp(p[i] - most);
    for (int j = 0; j < s->head_dim; j++)
        out[j] = size[j] = 0;
    for (int i = 0; i < seen; i++) {
        const float *v = kvcache_values(&f->cache, (struct kv_block){LAYER, b, kv_head, i / KV_BLOCK}, KV_BLOCK, room);
        for (int j = 0; j < s->head_dim; j++) {
            double x = p[i] / sum * v[i % KV_BLOCK * kvcache_ldv(&f->cache) + j];
            out[j] += x;
            size[j] += fabs(x);
        }
    }
    free(p);
    mem_free(room);
}

/* Scores of at most about 10 are wrong by head_dim + 4 roundings of such sizes, which e^x makes relative; sums over positions add
 * theirs by the step, the range and the lane. */
static void check_outputs(const struct fixture *f, const char *what)
{
    const struct shape *s = &f->s;
    double *want = calloc((size_t)s->head_dim, sizeof *want), *size = calloc((size_t)s->head_dim, sizeof *size);
    double bound = 0x1p-24 * (10.0 * (s->head_dim + 4) + 200);
    for (int b = 0; b < s->batch; b++)
        for (int t = 0; t < s->tokens; t += s->tokens > 8 ? 3 : 1)
            for (int head = 0; head < s->heads; head += s->heads > 16 ? 7 : 1) {
                const float *out = f->out + (((size_t)b * (size_t)s->tokens + (size_t)t) * (size_t)s->heads + (size_t)head) * (size_t)s->head_dim;
                reference(f, b, t, head, want, size);
                for (int j = 0; j < s->head_dim; j++)
                    if (!(fabs(out[j] - want[j]) <= bound * size[j]))
                        fail_msg("%s %s: sequence %d, token %d, head %d: [%d] is %.9g, not %.9g", what, kv_infos[f->cache.kv].name, b, t, head, j,
                                 (double)out[j], want[j]);
            }
    free(want);
    free(size);
}

static void every_shape_and_format(void **state)
{
    for (int v = 0; vecs[v]; v++) {
        if (vecs[v]->needs & ~cpu_isa_detected())
            continue;
        cpu_set_mask(vecs[v]->needs);
        for (int kv = 0; kv < KV_COUNT; kv++)
            for (int i = 0; i < SHAPES; i++) {
                struct fixture f;
                open_fixture(&f, shapes[i], (enum kv)kv, 2);
                run(&f, f.par);
                check_outputs(&f, vecs[v]->name);
                close_fixture(&f);
            }
    }
    cpu_set_mask(UINT32_MAX);
}

static void threads_change_no_bit(void **state)
{
    for (int kv = 0; kv < KV_COUNT; kv++)
        for (int i = 0; i < SHAPES; i++) {
            struct fixture one, many;
            open_fixture(&one, shapes[i], (enum kv)kv, 1);
            run(&one, NULL);
            for (int threads = 1; threads <= 4; threads++) {
                open_fixture(&many, shapes[i], (enum kv)kv, threads);
                run(&many, many.par);
                assert_memory_equal(one.out, many.out, one.n * sizeof *one.out);
                close_fixture(&many);
            }
            close_fixture(&one);
        }
}

/* A sequence alone gives the bits that it gives in company. */
static void sequences_are_independent(void **state)
{
    for (int kv = 0; kv < KV_COUNT; kv++)
        for (int i = 0; i < SHAPES; i++) {
            struct shape alone = shapes[i];
            struct fixture all, first;
            alone.batch = 1;
            open_fixture(&all, shapes[i], (enum kv)kv, 2);
            open_fixture(&first, alone, (enum kv)kv, 2);
            run(&all, all.par);
            run(&first, first.par);
            assert_memory_equal(all.out, first.out, first.n * sizeof *first.out);
            close_fixture(&all);
            close_fixture(&first);
        }
}

static void a_broken_key_stays_in_its_sequence(void **state)
{
    for (int kv = 0; kv < KV_COUNT; kv++)
        for (int i = 0; i < SHAPES; i++) {
            struct fixture f, sane;
            if (shapes[i].batch < 2)
                continue;
            open_fixture(&sane, shapes[i], (enum kv)kv, 2);
            open_fixture(&f, shapes[i], (enum kv)kv, 2);
            int width = f.s.kv_heads * f.s.head_dim, heads = f.s.heads * f.s.head_dim;
            float *bad = mem_alloc((size_t)width, sizeof *bad);
            for (int j = 0; j < width; j++)
                bad[j] = NAN;
            kvcache_append(&f.cache, LAYER, 1, 0, bad, bad);
            run(&f, f.par);
            run(&sane, sane.par);
            size_t each = (size_t)f.s.tokens * (size_t)heads;
            assert_memory_equal(f.out, sane.out, each * sizeof *f.out);
            for (size_t j = each; j < 2 * each; j++) /* and is not hidden there */
                assert_true(isnan(f.out[j]));
            mem_free(bad);
            close_fixture(&sane);
            close_fixture(&f);
        }
}

/* Stale positions behind the ones in use, as rewinding leaves them, are never read. */
static void what_was_forgotten_is_not_seen(void **state)
{
    struct shape s = {1, 4, 2, 8, 1, 100}, longer = s;
    longer.position = 140;
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct fixture f;
        float bad[16];
        for (int j = 0; j < 16; j++)
            bad[j] = NAN;
        open_fixture(&f, longer, (enum kv)kv, 1);
        f.s = s;
        for (int t = s.position + 1; t <= longer.position; t++)
            kvcache_append(&f.cache, LAYER, 0, t, bad, bad);
        run(&f, NULL);
        for (size_t j = 0; j < f.n; j++)
            assert_true(isfinite(f.out[j]));
        close_fixture(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_and_format),          cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(sequences_are_independent),       cmocka_unit_test(a_broken_key_stays_in_its_sequence),
        cmocka_unit_test(what_was_forgotten_is_not_seen),
    };
    printf("seed %d\n", SEED);
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
