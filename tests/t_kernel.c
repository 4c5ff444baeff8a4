/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "problem.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 7, MAX_THREADS = 4 };

static const int ms[] = {1, 2, 3, 4, 5, 13, 37}, ns[] = {1, 15, 16, 17, 100, 131}, ks[] = {1, 3, 31, 32, 33, 100, 172, 384, 1000},
                 groups[] = {0, 32, 64, 128};
static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "vnni", "bf16", "amx", "neon", "dotprod", "i8mm", "native"};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static struct par *teams[MAX_THREADS + 1];

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
                problem_expect(p, act);
            asked = true;
            problem_run(p, k, a, teams[threads], SEED);
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
    assert_int_equal(problem_reserve(&a, 37, 1000, 32, &e), ST_OK);
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
    assert_int_equal(problem_reserve(&a, 64, 65536, 64, &e), ST_OK);
    assert_int_equal(problem_reserve(&a, 1023, 256, 64, &e), ST_OK);
    for (int f = 0; f < FORMAT_COUNT; f++) {
        for (int m = 1; m <= 27; m++)
            shape(&a, (enum format)f, m, 48, 136, formats[f].qmax && m % 2 ? 64 : 0, m, &r);
        shape(&a, (enum format)f, 29, 33, 20000, 0, 0, &r);
        if (f <= FORMAT_INT8) /* more than one block of tokens, neither a whole number of tiles */
            shape(&a, (enum format)f, 1023, 17, 256, 0, 1, &r);
    }
    acts_free(&a);
}

/* Products and weights that VDPBF16PS takes as 0. */
static void test_subnormal(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(problem_reserve(&a, 37, 200, 32, &e), ST_OK);
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int m = 0; m < COUNT(ms); m++) {
            struct problem p;
            problem_open(&p, (enum format)f, ms[m], 35, 200, formats[f].qmax ? 32 : 0, FILL_SUBNORMAL, &r);
            run_all(&p, &a, 1);
            problem_close(&p);
        }
    acts_free(&a);
}

static void test_every_level(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(problem_reserve(&a, 13, 200, 32, &e), ST_OK);
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
    assert_int_equal(problem_reserve(&a, 2, KERNEL_MAX_COLUMNS, 128, &e), ST_OK);
    for (int f = 0; f < FORMAT_COUNT; f++)
        for (int m = 1; formats[f].qmax && m <= 2; m++)
            for (int turn = 0; turn < FILL_COUNT; turn++)
                shape(&a, (enum format)f, m, 17, KERNEL_MAX_COLUMNS, m % 2 ? 0 : 128, turn, &r);
    acts_free(&a);
}

/* One token that is not finite makes its own outputs NaN or infinite and nobody else's; NaN alone where it is quantized. */
static void not_finite(struct acts *a, const struct kernel *k, int m, float value, struct rng *r)
{
    struct err e = {0};
    struct problem p;
    struct linear l;
    problem_open(&p, k->format, m, 20, 41, 0, FILL_SIGNS, r);
    p.q.act_gain = 1;
    p.x[1 * p.ldx + 5] = value;
    assert_int_equal(linear_open(&l, &p.q, k, &e), ST_OK);
    acts_set(a, NULL, k->act, p.x, m, 41, p.ldx, 0);
    linear_run(&l, NULL, a, NULL, p.y, p.ldy);
    for (int row = 0; row < m; row++)
        for (int n = 0; n < 20; n++) {
            float y = p.y[row * p.ldy + n];
            if ((k->act == ACT_INT8 ? !isnan(y) : isfinite(y) != 0) != (row != 1))
                fail_msg("%s: m=%d, x = %g: y[%d][%d] = %g", k->name, m, (double)value, row, n, (double)y);
        }
    linear_close(&l);
    problem_close(&p);
}

static void test_not_finite(void **state)
{
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(problem_reserve(&a, 37, 41, 0, &e), ST_OK);
    for (int i = 0; kernels[i]; i++)
        for (int m = 1; runs_here(kernels[i]) && m < COUNT(ms); m++) {
            not_finite(&a, kernels[i], ms[m], NAN, &r);
            not_finite(&a, kernels[i], ms[m], -INFINITY, &r);
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
                if (kernels[k]->format == (enum format)f && kernels[k]->act == act && kernels[k]->shift == (formats[f].qmax != 0) &&
                    !kernels[k]->describe && runs_here(kernels[k]))
                    last = kernels[k];
            assert_non_null(best);
            if (last->many) /* one that chooses is preferred to it */
                assert_non_null(best->describe);
            else
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
        cmocka_unit_test(test_every_level), cmocka_unit_test(test_widest), cmocka_unit_test(test_subnormal), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_best),       cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, open_teams, close_teams);
}
