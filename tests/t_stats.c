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

/* Rounds that drift by a factor of 50 while one thing stays 1.83 times the other: pairing sees nothing of the drift. */
static void paired_ratio_ignores_what_both_share(void **state)
{
    enum { N = 12 };
    double a[N], b[N];
    for (int i = 0; i < N; i++) {
        b[i] = 100 * exp(-4.0 * i / N);
        a[i] = 1.83 * b[i];
    }
    struct interval r = stats_ratio_paired(a, b, N, 500, 3);
    assert_near(r.value, 1.83, 1e-12);
    assert_near(r.lo, 1.83, 1e-12);
    assert_near(r.hi, 1.83, 1e-12);
    r = stats_ratio_unpaired(a, N, b, N, 500, 3);
    assert_near(r.value, 1.83, 1e-12);
    assert_true(r.lo < 1 && r.hi > 3);
}

/* With n = 7 the median of a resample is at most the k-th smallest number with probability P(B >= 4), B ~ Bin(7, k / 7): 0.0102, 0.1083, … ,
 * 0.8917, 0.9899 for k = 1, 2, …, 5, 6. So the quantile 0.025 falls on the second number and 0.975 on the sixth. */
static void ratio_interval_is_the_bootstrap_of_a_median(void **state)
{
    const double a[] = {4, 1, 64, 16, 2, 32, 8}, one[] = {1, 1, 1, 1, 1, 1, 1};
    struct interval r = stats_ratio_paired(a, one, 7, 20000, 11), u = stats_ratio_unpaired(a, 7, one, 7, 20000, 12);
    assert_near(r.value, 8, 1e-12);
    assert_near(r.lo, 2, 1e-12);
    assert_near(r.hi, 32, 1e-12);
    assert_near(u.value, 8, 1e-12);
    assert_near(u.lo, 2, 1e-12);
    assert_near(u.hi, 32, 1e-12);
    r = stats_ratio_paired(one, a, 7, 20000, 11); /* the other way round */
    assert_near(r.value, 1.0 / 8, 1e-12);
    assert_near(r.lo, 1.0 / 32, 1e-12);
    assert_near(r.hi, 1.0 / 2, 1e-12);
    const double even[] = {1, 2, 8, 16}; /* the middle two, geometrically */
    r = stats_ratio_paired(even, one, 4, 100, 1);
    assert_near(r.value, 4, 1e-12);
    assert_true(isnan(r.lo) && isnan(r.hi));
    const double bad[] = {1, 0, 3, 4, 5, 6, 7};
    assert_true(isnan(stats_ratio_paired(bad, one, 7, 100, 1).value) && isnan(stats_ratio_paired(one, bad, 7, 100, 1).value));
    assert_true(isnan(stats_ratio_unpaired(one, 0, one, 7, 100, 1).value) && isnan(stats_ratio_paired(one, one, 0, 100, 1).value));
}

/* Noise that both share ten times larger than their own: the paired interval still covers, and is several times narrower. */
static void paired_ratio_covers(void **state)
{
    enum { N = 12, RUNS = 600 };
    const uint64_t seed = 77;
    const double truth = 1.25;
    struct rng rng;
    rng_seed(&rng, seed);
    int covered = 0, covered_apart = 0;
    double width = 0, width_apart = 0;
    for (int t = 0; t < RUNS; t++) {
        double a[N], b[N];
        for (int i = 0; i < N; i++) {
            double shared = 0.1 * rng_normal(&rng);
            a[i] = truth * exp(shared + 0.01 * rng_normal(&rng));
            b[i] = exp(shared + 0.01 * rng_normal(&rng));
        }
        struct interval r = stats_ratio_paired(a, b, N, 400, (uint64_t)t), u = stats_ratio_unpaired(a, N, b, N, 400, (uint64_t)t);
        covered += r.lo <= truth && truth <= r.hi;
        covered_apart += u.lo <= truth && truth <= u.hi;
        width += log(r.hi / r.lo) / RUNS;
        width_apart += log(u.hi / u.lo) / RUNS;
    }
    print_message("seed %llu: %d of %d cover paired, %d unpaired; widths %.4f, %.4f\n", (unsigned long long)seed, covered, RUNS, covered_apart, width, width_apart);
    /* A percentile interval of a median of 12 is, up to resampling noise, that of the order statistics [3, 10], which cover 96.1 %, or the
     * next pair inwards: [4, 9], 85.4 %. */
    assert_true((double)covered / RUNS > 0.854 && (double)covered / RUNS < 0.99);
    assert_true((double)covered_apart / RUNS > 0.854);
    assert_true(width_apart > 5 * width);
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
        cmocka_unit_test(paired_ratio_ignores_what_both_share),
        cmocka_unit_test(ratio_interval_is_the_bootstrap_of_a_median),
        cmocka_unit_test(paired_ratio_covers),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
