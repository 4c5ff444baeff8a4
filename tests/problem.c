/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "problem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { MARGIN = 3, LDY_MORE = 19 };

static const char *const fill_names[] = {"random", "largest", "signs", "subnormal"};

/* bf16 is the widest, int8 has sums */
enum status problem_reserve(struct acts *a, int m, int k, int group, struct err *e)
{
    enum status s = acts_reserve(a, ACT_BF16, m, k, group, e);
    return s ? s : acts_reserve(a, ACT_INT8, m, k, group, e);
}

/* Any code that the format holds; the extremes for the other fills. */
static int8_t code(enum format format, enum fill fill, struct rng *r)
{
    int low = formats[format].qmin, high = formats[format].qmax, c;
    if (fill == FILL_LARGEST)
        return (int8_t)low;
    if (fill == FILL_SIGNS)
        return (int8_t)(rng_u64(r) >> 63 ? low : high);
    do
        c = (int)rng_below(r, (uint32_t)(high - low + 1)) + low;
    while (!format_holds(format, c));
    return (int8_t)c;
}

static float sign(struct rng *r) { return rng_u64(r) >> 63 ? -1.0f : 1.0f; }

static void fill_weights(struct problem *p, struct rng *r)
{
    size_t count = (size_t)p->n * (size_t)p->k;
    int qmax = formats[p->format].qmax;
    for (size_t i = 0; i < count && !qmax; i++)
        p->dense[i] = p->fill == FILL_LARGEST ? 1.0f : p->fill == FILL_SUBNORMAL ? 0x1p-130f * rng_normal(r) : rng_normal(r);
    for (size_t i = 0; i < count && qmax; i++)
        p->q.plane.codes[i] = p->fill == FILL_LARGEST && p->m % 2 ? (int8_t)qmax : code(p->format, p->fill, r); /* either end */
    size_t scales = (size_t)p->n * (size_t)qlinear_groups(p->k, p->group);
    for (size_t i = 0; i < scales && qmax; i++) {
        float scale = rng_below(r, 9) == 0 ? 1e-6f * rng_uniform(r) : rng_normal(r); /* some are subnormal in fp16 */
        p->q.plane.scale[i] = p->group ? fp16_round(scale) : scale;
        if (p->q.plane.shift)
            p->q.plane.shift[i] = fp16_round(rng_normal(r));
    }
}

static void fill_x(struct problem *p, struct rng *r)
{
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->ldx; j++) {
            float v = p->fill == FILL_LARGEST ? -3.0f : p->fill == FILL_SIGNS ? 3.0f * sign(r) : rng_normal(r);
            v *= p->fill == FILL_SUBNORMAL && (p->m % 2 || formats[p->format].qmax) ? 0x1p-130f : 1.0f;
            p->x[(size_t)i * (size_t)p->ldx + (size_t)j] = j < p->k ? v : NAN; /* between rows: never to be read */
        }
    if (p->m > 2 && p->fill == FILL_RANDOM)
        memset(p->x + 2 * p->ldx, 0, (size_t)p->k * sizeof *p->x); /* a token of zeros */
}

void problem_open(struct problem *p, enum format format, int m, int n, int k, int group, enum fill fill, struct rng *r)
{
    struct err e = {0};
    *p = (struct problem){.format = format, .m = m, .n = n, .k = k, .group = group, .ldx = k + MARGIN, .ldy = n + LDY_MORE};
    p->fill = fill;
    if (formats[format].qmax) {
        assert_int_equal(qlinear_alloc(&p->q, format, n, k, group, &e), ST_OK);
        if (n % 2)
            assert_int_equal(qlinear_alloc_shift(&p->q, &e), ST_OK);
        p->q.act_gain = m % 2 ? 1.0f : 1.0625f;
    } else {
        p->dense = mem_alloc((size_t)n * (size_t)k, sizeof *p->dense);
        p->q = (struct qlinear){.rows = n, .cols = k, .format = format, .dense = p->dense, .act_gain = 1.0f};
    }
    p->x_memory = mem_alloc((size_t)m * (size_t)p->ldx + 1, sizeof *p->x);
    p->x = p->x_memory + 1; /* not aligned */
    p->y = mem_alloc((size_t)(m + 2) * (size_t)p->ldy, sizeof *p->y);
    p->expected = mem_alloc((size_t)m * (size_t)n, sizeof *p->expected);
    assert_true(p->x_memory && p->y && p->expected);
    fill_weights(p, r);
    fill_x(p, r);
}

void problem_close(struct problem *p)
{
    mem_free(p->dense);
    mem_free(p->x_memory);
    mem_free(p->y);
    mem_free(p->expected);
    if (formats[p->format].qmax)
        qlinear_free(&p->q);
}

/* The bound of kernel.h; the oracle rounds once more. */
static double float_bound(const struct problem *p, enum act act, int i, int n)
{
    double sum = 0, flushed = 0;
    int per_row = formats[p->format].qmax ? qlinear_groups(p->k, p->group) : 0;
    for (int j = 0; j < p->k; j++) {
        size_t at = (size_t)n * (size_t)p->k + (size_t)j, g = per_row ? (size_t)(n * per_row + (p->group ? j / p->group : 0)) : 0;
        float xj = p->x[(size_t)i * (size_t)p->ldx + (size_t)j];
        double x = fabs((double)(act == ACT_BF16 ? bf16_round(xj) : xj)), scale = per_row ? fabs((double)p->q.plane.scale[g]) : 1;
        double w = per_row ? scale * fabs((double)p->q.plane.codes[at]) : fabs((double)(p->format == FORMAT_BF16 ? bf16_round(p->dense[at]) : p->dense[at]));
        double shift = p->q.plane.shift ? fabs((double)p->q.plane.shift[g]) : 0;
        sum += x * (w + shift);
        flushed += 2 * fmax(1, scale) + x + w;
    }
    double nu = (p->k + 2 * per_row + 1) * 0x1p-24;
    return sum * nu / (1 - nu) + flushed * 0x1p-126;
}

static bool right(const struct problem *p, enum act act, int i, int n, float y)
{
    float expected = p->expected[(size_t)i * (size_t)p->n + (size_t)n];
    if (act == ACT_INT8)
        return memcmp(&y, &expected, sizeof y) == 0;
    return fabs((double)y - (double)expected) <= float_bound(p, act, i, n);
}

static void check_y(const struct problem *p, const struct kernel *k, int threads, int seed, uint32_t poison)
{
    for (int i = -1; i <= p->m; i++)
        for (int n = 0; n < p->ldy; n++) {
            float y = p->y[(size_t)(i + 1) * (size_t)p->ldy + (size_t)n];
            bool inside = i >= 0 && i < p->m && n < p->n;
            if (inside ? right(p, k->act, i, n, y) : memcmp(&y, &poison, sizeof y) == 0)
                continue;
            fail_msg("seed %d isa %s: kernel=%s m=%d n=%d k=%d group=%d threads=%d fill=%s: y[%d][%d] = %.9g %s %.9g", seed,
                     cpu_level(), k->name, p->m, p->n, p->k, p->group, threads, fill_names[p->fill], i, n, (double)y,
                     inside ? "but should be" : "was written; poison was", inside ? (double)p->expected[i * p->n + n] : 0.0);
        }
}

void problem_expect(struct problem *p, enum act act) { kernel_oracle(&p->q, act, p->x, p->m, p->ldx, p->expected, p->n); }

void problem_run(const struct problem *p, const struct kernel *k, struct acts *a, struct par *team, int seed)
{
    struct err e = {0};
    struct linear l;
    float *room = mem_alloc((size_t)p->m, sizeof *room);
    uint32_t poison = 0xffc0dead; /* a NaN */
    for (size_t i = 0; i < (size_t)(p->m + 2) * (size_t)p->ldy; i++)
        memcpy(p->y + i, &poison, sizeof poison);
    if (linear_open(&l, &p->q, k, &e) != ST_OK)
        fail_msg("%s: %s", k->name, e.text);
    assert_true(l.packed_bytes >= qlinear_bytes(&p->q));
    acts_set(a, team, k->act, p->x, p->m, p->k, p->ldx, p->group);
    linear_run(&l, team, a, l.act_gain == 1.0f ? NULL : room, p->y + p->ldy, p->ldy);
    linear_close(&l);
    mem_free(room);
    check_y(p, k, par_threads(team), seed, poison);
}
