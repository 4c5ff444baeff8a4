/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "stats.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static void assert_near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("got %.17g, want %.17g within %g", got, want, tolerance);
}

static void medians_and_quantiles(void **state)
{
    const double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2}, ten[] = {10, 9, 8, 7, 6, 5, 4, 3, 2, 1};
    assert_near(stats_median(odd, 3), 5, 0);
    assert_near(stats_median(even, 4), 2.5, 0);
    assert_true(odd[0] == 9 && odd[2] == 5); /* untouched */
    /* R: quantile(1:10, c(0, .1, .25, .9, 1), type = 7) */
    static const double p[] = {0, 0.1, 0.25, 0.9, 1}, want[] = {1, 1.9, 3.25, 9.1, 10};
    for (int i = 0; i < 5; i++)
        assert_near(stats_quantile(ten, 10, p[i]), want[i], 1e-12);
    assert_true(isnan(stats_median(NULL, 0)));
    assert_true(isnan(stats_quantile(ten, 10, 1.5)));
    const double holed[] = {1, NAN, 3};
    assert_true(isnan(stats_median(holed, 3)));
}

/* The ranks of the sign test's tables; coverages as exact sums of binomial coefficients over 2^n. */
static void median_ranks_are_the_published_ones(void **state)
{
    static const struct {
        size_t n;
        int rank;
        double coverage;
    } table[] = {
        {5, 0, 0},        {6, 1, 0.96875},  {7, 1, 0.984375}, {8, 1, 0.9921875}, {9, 2, 0.9609375}, {10, 2, 0.978515625},
        {12, 3, 0.96142578125}, {15, 4, 0.96484375}, {20, 6, 0.95861053466}, {25, 8, 0.95671474934},
        {30, 10, 0.95722605474}, {100, 40, 0.96479979978},
    };
    double coverage;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(stats_median_rank(table[i].n, &coverage), table[i].rank);
        assert_near(coverage, table[i].coverage, 1e-10);
    }
    for (size_t n = 6; n < 2000; n++) {
        int rank = stats_median_rank(n, &coverage);
        assert_true(rank >= 1 && coverage >= 0.95 && 2 * (size_t)rank <= n);
    }
}

static void median_interval_uses_the_ranks(void **state)
{
    double x[10];
    for (int i = 0; i < 10; i++)
        x[i] = 10 - i;
    struct interval r = stats_median_interval(x, 10);
    assert_near(r.value, 5.5, 0);
    assert_near(r.lo, 2, 0); /* the 2nd */
    assert_near(r.hi, 9, 0); /* the 9th */
    r = stats_median_interval(x, 5);
    assert_near(r.value, 8, 0);
    assert_true(isnan(r.lo) && isnan(r.hi));
    r = stats_median_interval(x, 0);
    assert_true(isnan(r.value) && isnan(r.lo));
}

enum { TRIALS = 2000 };

/* Five standard deviations of the share of successes among TRIALS. */
static double slack(double share) { return 5 * sqrt(share * (1 - share) / TRIALS); }

static void median_interval_covers(void **state)
{
    const uint64_t seed = 20240601;
    struct rng rng;
    rng_seed(&rng, seed);
    int covered = 0;
    for (int t = 0; t < TRIALS; t++) {
        double x[12];
        for (int i = 0; i < 12; i++)
            x[i] = exp(rng_normal(&rng)); /* skewed; the median is 1 */
        struct interval r = stats_median_interval(x, 12);
        covered += r.lo <= 1 && 1 <= r.hi;
    }
    print_message("seed %llu: %d of %d intervals cover the median\n", (unsigned long long)seed, covered, TRIALS);
    assert_near((double)covered / TRIALS, 0.96142578125, slack(0.961));
}

enum { BLOCKS = 60, PER_BLOCK = 8 };

/* Values that share their block's effect: what a bootstrap over single values would get wrong. */
static void draw_blocks(struct rng *rng, double *x, int *block)
{
    for (int b = 0, i = 0; b < BLOCKS; b++) {
        double effect = rng_normal(rng);
        for (int j = 0; j < PER_BLOCK; j++, i++) {
            x[i] = 3 + effect + 0.3 * rng_normal(rng);
            block[i] = b;
        }
    }
}

static void block_bootstrap_covers(void **state)
{
    const uint64_t seed = 7;
    enum { RUNS = 400 };
    struct rng rng;
    rng_seed(&rng, seed);
    static double x[BLOCKS * PER_BLOCK];
    static int block[BLOCKS * PER_BLOCK];
    int covered = 0, covered_alone = 0, alone[BLOCKS * PER_BLOCK];
    for (int i = 0; i < BLOCKS * PER_BLOCK; i++)
        alone[i] = i;
    for (int t = 0; t < RUNS; t++) {
        draw_blocks(&rng, x, block);
        struct interval r = stats_block_bootstrap(x, block, BLOCKS * PER_BLOCK, 400, (uint64_t)t);
        covered += r.lo <= 3 && 3 <= r.hi;
        r = stats_block_bootstrap(x, alone, BLOCKS * PER_BLOCK, 400, (uint64_t)t);
        covered_alone += r.lo <= 3 && 3 <= r.hi;
    }
    print_message("seed %llu: %d of %d cover over blocks, %d over single values\n", (unsigned long long)seed, covered, RUNS, covered_alone);
    /* Percentile intervals of 60 blocks cover some 94 %: three deviations of RUNS draws and one point of that bias. */
    assert_true(fabs((double)covered / RUNS - 0.94) <= 0.01 + 3 * sqrt(0.94 * 0.06 / RUNS));
    assert_true((double)covered_alone / RUNS < 0.7);
}

static void block_bootstrap_is_seeded_and_weighs_by_count(void **state)
{
    const double x[] = {1, 1, 1, 5};
    const int block[] = {0, 0, 0, 1}, one[] = {0, 0, 0, 0};
    struct interval a = stats_block_bootstrap(x, block, 4, 500, 3), b = stats_block_bootstrap(x, block, 4, 500, 3);
    assert_near(a.value, 2, 0);
    assert_memory_equal(&a, &b, sizeof a);
    assert_near(a.lo, 1, 0); /* the first block twice */
    assert_near(a.hi, 5, 0);
    a = stats_block_bootstrap(x, one, 4, 500, 3);
    assert_near(a.value, 2, 0);
    assert_true(isnan(a.lo) && isnan(a.hi));
    a = stats_block_bootstrap(x, block, 0, 500, 3);
    assert_true(isnan(a.value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians_and_quantiles),
        cmocka_unit_test(median_ranks_are_the_published_ones),
        cmocka_unit_test(median_interval_uses_the_ranks),
        cmocka_unit_test(median_interval_covers),
        cmocka_unit_test(block_bootstrap_covers),
        cmocka_unit_test(block_bootstrap_is_seeded_and_weighs_by_count),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
