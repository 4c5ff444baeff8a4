/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "gemm.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 7, MARGIN = 3, MAX_THREADS = 4, LDY_MORE = 19 };

static const int ms[] = {1, 2, 3, 4, 5, 13, 37}, ns[] = {1, 15, 16, 17, 100, 131}, ks[] = {1, 3, 31, 32, 33, 100, 172, 384, 1000},
                 groups[] = {0, 32, 64, 128};
static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "vnni", "bf16", "amx", "neon", "dotprod", "i8mm", "native"};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* largest: every product has the same sign and the largest size; signs: the largest size, random signs. */
enum fill { FILL_RANDOM, FILL_LARGEST, FILL_SIGNS, FILL_COUNT };
static const char *const fill_names[] = {"random", "largest", "signs"};

struct problem {
    enum format format;
    int m, n, k, group, ldx, ldy;
    enum fill fill;
    struct qlinear q;
    float *dense, *w, *x, *y, *expected; /* w: dequantized */
    float *x_memory;
};

static struct par *teams[MAX_THREADS + 1];

/* Room for whatever a kernel eats: bf16 is the widest, int8 has sums. */
static enum status reserve(struct acts *a, int m, int k, int group, struct err *e)
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
        p->dense[i] = p->fill == FILL_LARGEST ? 1.0f : rng_normal(r);
    for (size_t i = 0; i < count && qmax; i++)
        p->q.plane.codes[i] = code(p->format, p->fill, r);
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
            float v = p->fill == FILL_RANDOM ? rng_normal(r) : p->fill == FILL_LARGEST ? -3.0f : 3.0f * sign(r);
            p->x[(size_t)i * (size_t)p->ldx + (size_t)j] = j < p->k ? v : NAN; /* between rows: never to be read */
        }
    if (p->m > 2 && p->fill == FILL_RANDOM)
        memset(p->x + 2 * p->ldx, 0, (size_t)p->k * sizeof *p->x); /* a token of zeros */
}

static void problem_open(struct problem *p, enum format format, int m, int n, int k, int group, enum fill fill, struct rng *r)
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
    p->w = mem_alloc((size_t)n * (size_t)k, sizeof *p->w);
    assert_true(p->x_memory && p->y && p->expected && p->w);
    fill_weights(p, r);
    qlinear_dequantize(&p->q, p->w);
    fill_x(p, r);
}

static void problem_close(struct problem *p)
{
    mem_free(p->dense);
    mem_free(p->w);
    mem_free(p->x_memory);
    mem_free(p->y);
    mem_free(p->expected);
    if (formats[p->format].qmax)
        qlinear_free(&p->q);
}

/* Any order of k additions and k products errs by at most k u / (1 - k u) of the sum of sizes, u = 2^-24; the oracle
 * rounds once. 1.01: sizes are those of the operands before their rounding to bf16. */
static float float_bound(const struct problem *p, int i, int n)
{
    double size = 0;
    for (int j = 0; j < p->k; j++)
        size += fabs((double)p->x[(size_t)i * (size_t)p->ldx + (size_t)j] * (double)p->w[(size_t)n * (size_t)p->k + (size_t)j]);
    double ku = (p->k + 1) * 0x1p-24;
    return (float)(1.01 * size * ku / (1 - ku) + 0x1p-126);
}

static bool right(const struct problem *p, enum act act, int i, int n, float y)
{
    float expected = p->expected[(size_t)i * (size_t)p->n + (size_t)n];
    if (act == ACT_INT8)
        return memcmp(&y, &expected, sizeof y) == 0;
    return fabsf(y - expected) <= float_bound(p, i, n);
}

static void check_y(const struct problem *p, const struct kernel *k, int threads, uint32_t poison)
{
    for (int i = -1; i <= p->m; i++)
        for (int n = 0; n < p->ldy; n++) {
            float y = p->y[(size_t)(i + 1) * (size_t)p->ldy + (size_t)n];
            bool inside = i >= 0 && i < p->m && n < p->n;
            if (inside ? right(p, k->act, i, n, y) : memcmp(&y, &poison, sizeof y) == 0)
                continue;
            fail_msg("seed %d isa %s: kernel=%s m=%d n=%d k=%d group=%d threads=%d fill=%s: y[%d][%d] = %.9g %s %.9g", SEED,
                     cpu_level(), k->name, p->m, p->n, p->k, p->group, threads, fill_names[p->fill], i, n, (double)y,
                     inside ? "but should be" : "was written; poison was", inside ? (double)p->expected[i * p->n + n] : 0.0);
        }
}

static void run(const struct problem *p, const struct kernel *k, struct acts *a, int threads)
{
    struct err e = {0};
    struct linear l;
    float room[64];
    uint32_t poison = 0xffc0dead; /* a NaN */
    for (size_t i = 0; i < (size_t)(p->m + 2) * (size_t)p->ldy; i++)
        memcpy(p->y + i, &poison, sizeof poison);
    if (linear_open(&l, &p->q, k, &e) != ST_OK)
        fail_msg("%s: %s", k->name, e.text);
    assert_true(l.packed_bytes >= qlinear_bytes(&p->q));
    acts_set(a, teams[threads], k->act, p->x, p->m, p->k, p->ldx, p->group);
    linear_run(&l, teams[threads], a, l.act_gain == 1.0f ? NULL : room, p->y + p->ldy, p->ldy);
    linear_close(&l);
    check_y(p, k, threads, poison);
}

static bool runs_here(const struct kernel *k)
{
    char why[512];
    kernel_reason(k, why, sizeof why);
    return !why[0];
}

static void run_all(struct problem *p, struct acts *a, int threads)
{
    char why[512];
    for (enum act act = 0; act < ACT_COUNT; act++) {
        float gain = p->q.act_gain;
        p->q.act_gain = act == ACT_INT8 ? gain : 1.0f;
        bool asked = false;
        for (int i = 0; kernels[i]; i++) {
            const struct kernel *k = kernels[i];
            kernel_refusal(k, p->group, p->q.plane.shift, why, sizeof why);
            if (k->format != p->format || k->act != act || why[0])
                continue;
            if (!asked)
                kernel_oracle(&p->q, act, p->x, p->m, p->ldx, p->expected, p->n);
            asked = true;
            run(p, k, a, threads);
        }
        p->q.act_gain = gain;
    }
}

static void shape(struct acts *a, enum format format, int m, int n, int k, int group, int turn, struct rng *r)
{
    struct problem p;
    problem_open(&p, format, m, n, k, group, (enum fill)(turn % FILL_COUNT), r);
    run_all(&p, a, 1 + turn % MAX_THREADS); /* turns of fills and of threads have no common divisor: all pairs come up */
    problem_close(&p);
}

static void test_shapes(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    int turn = 0;
    rng_seed(&r, SEED);
    assert_int_equal(reserve(&a, 37, 1000, 32, &e), ST_OK);
    for (int i = 0; kernels[i]; i++) {
        char why[512];
        kernel_reason(kernels[i], why, sizeof why);
        if (why[0])
            print_message("skipped: %s: %s\n", kernels[i]->name, why);
    }
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int g = 0; g < (formats[f].qmax ? COUNT(groups) : 1); g++)
            for (int m = 0; m < COUNT(ms); m++)
                for (int n = 0; n < COUNT(ns); n++)
                    for (int k = 0; k < COUNT(ks); k++)
                        shape(&a, (enum format)f, ms[m], ns[n], ks[k], groups[g], turn++, &r);
    acts_free(&a);
}

/* Every number of tokens, so that every register block runs, and enough of them that the cache blocks do. */
static void test_tokens(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(reserve(&a, 64, 65536, 64, &e), ST_OK);
    for (int f = 0; f < FORMAT_COUNT; f++) {
        for (int m = 1; m <= 27; m++)
            shape(&a, (enum format)f, m, 48, 136, formats[f].qmax && m % 2 ? 64 : 0, m, &r);
        shape(&a, (enum format)f, 29, 33, 20000, 0, 0, &r);
    }
    acts_free(&a);
}

static void test_every_level(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(reserve(&a, 13, 200, 32, &e), ST_OK);
    for (int i = 0; i < COUNT(levels); i++) {
        struct err why = {0};
        if (cpu_set_level(levels[i], &why) != ST_OK) {
            print_message("skipped: %s\n", why.text);
            continue;
        }
        for (int f = 0; f < FORMAT_COUNT; f++)
            for (int turn = 0; turn < FILL_COUNT; turn++) {
                shape(&a, (enum format)f, 13, 35, 200, formats[f].qmax ? 32 : 0, turn, &r);
                shape(&a, (enum format)f, 1, 35, 100, 0, turn, &r);
            }
    }
    cpu_set_mask(UINT32_MAX);
    acts_free(&a);
}

/* The most columns allowed, all products largest: sums stay inside 32 bits. */
static void test_widest(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(reserve(&a, 2, KERNEL_MAX_COLUMNS, 128, &e), ST_OK);
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int m = 1; formats[f].qmax && m <= 2; m++)
            for (int turn = 0; turn < FILL_COUNT; turn++)
                shape(&a, (enum format)f, m, 17, KERNEL_MAX_COLUMNS, m % 2 ? 0 : 128, turn, &r);
    acts_free(&a);
}

/* One token that is not finite makes its own outputs NaN and nobody else's. */
static void test_not_finite(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(reserve(&a, 3, 40, 0, &e), ST_OK);
    for (int i = 0; kernels[i]; i++) {
        if (!runs_here(kernels[i]) || kernels[i]->act != ACT_INT8)
            continue;
        struct problem p;
        struct linear l;
        problem_open(&p, kernels[i]->format, 3, 20, 40, 0, FILL_RANDOM, &r);
        p.x[1 * p.ldx + 5] = i % 2 ? NAN : -INFINITY;
        assert_int_equal(linear_open(&l, &p.q, kernels[i], &e), ST_OK);
        acts_set(&a, NULL, ACT_INT8, p.x, 3, 40, p.ldx, 0);
        linear_run(&l, NULL, &a, NULL, p.y, p.ldy);
        for (int row = 0; row < 3; row++)
            for (int n = 0; n < 20; n++)
                assert_int_equal(isnan(p.y[row * p.ldy + n]) != 0, row == 1);
        linear_close(&l);
        problem_close(&p);
    }
    acts_free(&a);
}

static void test_table(void **state)
{
    for (int i = 0; kernels[i]; i++) {
        const struct kernel *k = kernels[i];
        size_t prefix = strlen(formats[k->format].name);
        assert_ptr_equal(kernel_find(k->name), k);
        assert_non_null(k->title);
        assert_true(strncmp(k->name, formats[k->format].name, prefix) == 0);
        bool a16 = formats[k->format].qmax && k->act == ACT_BF16;
        assert_true(strncmp(k->name + prefix, a16 ? "a16_" : "_", a16 ? 4 : 1) == 0);
        assert_true(k->n_step > 0 && k->k_step > 0);
        assert_true(k->absent ? k->gemm == NULL : k->gemm && k->pack && k->packed_size);
    }
    assert_null(kernel_find("int8_abacus"));
}

static void test_best(void **state)
{
    char why[512];
    for (int i = 0; i < COUNT(levels); i++) {
        struct err e = {0};
        if (cpu_set_level(levels[i], &e) != ST_OK)
            continue;
        for (int f = 0; f < FORMAT_COUNT; f++) {
            enum act act = kernel_act((enum format)f);
            const struct kernel *best = kernel_best((enum format)f, act, 32, formats[f].qmax != 0, &e), *last = NULL;
            for (int k = 0; kernels[k]; k++)
                if (kernels[k]->format == (enum format)f && kernels[k]->act == act && kernels[k]->shift == (formats[f].qmax != 0) && runs_here(kernels[k]))
                    last = kernels[k];
            assert_non_null(best);
            assert_ptr_equal(best, last);
        }
        for (int k = 0; kernels[k]; k++) { /* a masked kernel says so */
            kernel_reason(kernels[k], why, sizeof why);
            if (!kernels[k]->absent && (kernels[k]->needs & ~cpu_isa()) != 0)
                assert_true(strstr(why, "needs") || strstr(why, "masked"));
        }
    }
    cpu_set_mask(UINT32_MAX);
    struct err e = {0};
    assert_null(kernel_best(FORMAT_INT4, ACT_INT8, 12, false, &e));
    assert_int_equal(e.status, ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "multiple of 8"));
}

static void refuse(const struct qlinear *q, const char *kernel, enum status status, const char *says)
{
    struct err e = {0};
    struct linear l;
    assert_int_equal(linear_open(&l, q, kernel_find(kernel), &e), status);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_null(l.packed);
    linear_close(&l);
}

static void test_refusals(void **state)
{
    struct err e = {0};
    struct qlinear q;
    float w[4] = {0};
    assert_int_equal(qlinear_alloc(&q, FORMAT_INT4, 3, 40, 32, &e), ST_OK);
    refuse(&q, "int8_scalar", ST_EUSAGE, "not int4");
    q.plane.codes[45] = -9;
    refuse(&q, "int4_scalar", ST_EUSAGE, "code -9 at row 1, column 5");
    q.plane.codes[45] = -8;
    q.plane.scale[3] = 0.1f;
    refuse(&q, "int4_scalar", ST_EUSAGE, "row 1, group 1");
    q.plane.scale[3] = fp16_round(0.1f);
    q.plane.group = 20;
    refuse(&q, "int4_scalar", ST_EUNSUPPORTED, "multiple of 8");
    q.plane.group = 32;
    cpu_set_level("scalar", &e);
    refuse(&q, "int4_avx2", ST_EUNSUPPORTED, "int4_avx2 cannot run here: ");
    cpu_set_mask(UINT32_MAX);
    qlinear_free(&q);
    assert_int_equal(qlinear_alloc(&q, FORMAT_INT8, 1, KERNEL_MAX_COLUMNS + 1, 0, &e), ST_OK);
    refuse(&q, "int8_scalar", ST_EUNSUPPORTED, "65537 columns");
    qlinear_free(&q);
    struct qlinear dense = {.rows = 2, .cols = 2, .format = FORMAT_F32, .act_gain = 1.0f};
    refuse(&dense, "f32_scalar", ST_EUSAGE, "no weights");
    dense.dense = w;
    dense.act_gain = 2.0f;
    refuse(&dense, "f32_scalar", ST_EUSAGE, "γ");
}

static int open_teams(void **state)
{
    struct err e = {0};
    for (int t = 1; t <= MAX_THREADS; t++)
        if (par_open(&teams[t], t, &e) != ST_OK) {
            print_error("%s\n", e.text);
            return -1;
        }
    return 0;
}

static int close_teams(void **state)
{
    for (int t = 1; t <= MAX_THREADS; t++)
        par_close(teams[t]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_shapes), cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_every_level), cmocka_unit_test(test_widest), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_best),       cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_teams, close_teams);
}
