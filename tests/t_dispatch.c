/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "dispatch.h"
#include "problem.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 5 };
static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "vnni", "bf16", "amx", "neon", "dotprod", "i8mm", "native"};
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static int unmask(void **state)
{
    cpu_set_mask(UINT32_MAX);
    return 0;
}

static void test_rule(void **state)
{
    assert_int_equal(dispatch_pick((const double[]){1.0}, 1), 0);
    assert_int_equal(dispatch_pick((const double[]){9.0, 1.0, 2.0}, 3), 1);
    assert_int_equal(dispatch_pick((const double[]){9.0, 1.0, 1.02}, 3), 2); /* noise: the later row */
    assert_int_equal(dispatch_pick((const double[]){9.0, 1.02, 1.0}, 3), 2);
    assert_int_equal(dispatch_pick((const double[]){9.0, 1.0, 1.04}, 3), 1);
    assert_int_equal(dispatch_pick((const double[]){INFINITY, 5.0, INFINITY}, 3), 1);
    assert_int_equal(dispatch_pick((const double[]){0, 0, 0}, 3), 2); /* nothing was measured: the table's order */
}

/* Twice the tokens halve a handicap at best: 64 times slower at one token can be even at 64, not before. */
static void test_race(void **state)
{
    assert_true(dispatch_in_the_race(1, 64));
    assert_true(dispatch_in_the_race(64, 1));
    assert_false(dispatch_in_the_race(67, 1));
    assert_true(dispatch_in_the_race(4, 16));
    assert_false(dispatch_in_the_race(5, 16));
    assert_false(dispatch_in_the_race(1.1, 64));
}

static const struct kernel *row(int format)
{
    char name[32];
    snprintf(name, sizeof name, "%s_dispatch", formats[format].name);
    return kernel_find(name);
}

static bool runs_here(const struct kernel *k)
{
    char why[512];
    kernel_reason(k, why, sizeof why);
    return !why[0];
}

/* Whatever the mask: what is chosen can run, multiplies this format and is not the row that chooses; what is told names it. */
static void test_choices(void **state)
{
    for (int l = 0; l < COUNT(levels); l++) {
        struct err e = {0};
        if (cpu_set_level(levels[l], &e) != ST_OK)
            continue;
        for (int f = 0; f < FORMAT_COUNT; f++) {
            char text[512];
            if (!row(f) || !runs_here(row(f)))
                continue;
            row(f)->describe(text, sizeof text);
            for (int m = 1; m <= 1000; m = m * 3 / 2 + 1)
                for (int grouped = 0; grouped <= (formats[f].qmax != 0); grouped++) {
                    const struct kernel *k = dispatch_choice((enum format)f, grouped, m);
                    assert_true(runs_here(k) && k->format == (enum format)f && !k->describe);
                    if (!strstr(text, k->name))
                        fail_msg("%s at m=%d is not in '%s'", k->name, m, text);
                }
            print_message("%s: %s: %s\n", levels[l], row(f)->name, text);
        }
    }
}

/* Plain loops are some thirty times slower, whatever else the machine does. */
static void test_not_the_slow_one(void **state)
{
    struct err e = {0};
    if (cpu_set_level("avx2", &e) != ST_OK) {
        print_message("skipped: %s\n", e.text);
        skip();
    }
    for (int m = 1; m <= 64; m *= 2)
        assert_ptr_equal(dispatch_choice(FORMAT_INT8, true, m), kernel_find("int8_avx2"));
}

static void test_one_kernel_is_no_choice(void **state)
{
    char why[512];
    cpu_set_mask(0);
    for (int f = 0; f < FORMAT_COUNT; f++)
        if (row(f)) {
            snprintf(why, sizeof why, "only %s_scalar", formats[f].name);
            char text[512];
            kernel_reason(row(f), text, sizeof text);
            assert_non_null(strstr(text, why));
        }
}

/* A layer that was packed under one mask still runs under another, and after others were measured under it. */
static void test_mask_changes_in_between(void **state)
{
    const struct kernel *k = kernel_find("int8_dispatch");
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    struct problem p;
    struct linear l;
    struct par *alone;
    if (!runs_here(k)) {
        print_message("skipped: int8_dispatch has nothing to choose from\n");
        skip();
    }
    rng_seed(&r, SEED);
    assert_int_equal(par_open(&alone, 1, &e), ST_OK);
    assert_int_equal(problem_reserve(&a, 9, 200, 32, &e), ST_OK);
    problem_open(&p, FORMAT_INT8, 9, 32, 200, 32, FILL_RANDOM, &r);
    problem_expect(&p, ACT_INT8);
    assert_int_equal(linear_open(&l, &p.q, k, &e), ST_OK);
    cpu_set_mask(0);
    dispatch_choice(FORMAT_INT8, true, 1);
    acts_set(&a, alone, ACT_INT8, p.x, 9, 200, p.ldx, 32);
    linear_run(&l, alone, &a, NULL, p.y, p.ldy);
    for (int i = 0; i < 9; i++)
        assert_memory_equal(p.y + i * p.ldy, p.expected + i * 32, 32 * sizeof *p.y);
    linear_close(&l);
    problem_close(&p);
    acts_free(&a);
    par_close(alone);
}

static void *choose(void *format) { return (void *)(uintptr_t)dispatch_choice(*(enum format *)format, true, 8); }

/* First use on several threads at once. */
static void test_threads(void **state)
{
    enum { THREADS = 4 };
    pthread_t thread[THREADS];
    enum format format = FORMAT_INT4;
    void *got[THREADS];
    cpu_set_mask(UINT32_MAX);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, choose, &format), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], &got[i]);
        assert_non_null(got[i]);
        assert_ptr_equal(got[i], got[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_threads, unmask),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_race),
        cmocka_unit_test_teardown(test_choices, unmask),
        cmocka_unit_test_teardown(test_not_the_slow_one, unmask),
        cmocka_unit_test_teardown(test_one_kernel_is_no_choice, unmask),
        cmocka_unit_test_teardown(test_mask_changes_in_between, unmask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
