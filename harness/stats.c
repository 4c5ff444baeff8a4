/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stats.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sort.h>
#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <string.h>

static const double confidence = 0.95;

/* A sorted copy; NULL when there is no memory or nothing to sort. A NaN has no rank: the caller has looked for them. */
static double *sorted(const double *x, size_t n)
{
    double *copy = n ? mem_alloc(n, sizeof *copy) : NULL;
    if (copy) {
        memcpy(copy, x, n * sizeof *copy);
        gsl_sort(copy, 1, n);
    }
    return copy;
}

static bool has_nan(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isnan(x[i]))
            return true;
    return false;
}

double stats_quantile(const double *x, size_t n, double p)
{
    if (has_nan(x, n) || !(p >= 0 && p <= 1))
        return NAN;
    double *s = sorted(x, n), q = s ? gsl_stats_quantile_from_sorted_data(s, 1, n, p) : NAN;
    mem_free(s);
    return q;
}

double stats_median(const double *x, size_t n) { return stats_quantile(x, n, 0.5); }

int stats_median_rank(size_t n, double *coverage)
{
    /* [x_(r), x_(n+1-r)] misses the median with probability 2 P(B <= r-1), B ~ Bin(n, 1/2). */
    double miss = 1.0 - confidence;
    int rank = 0;
    *coverage = 0;
    if (n > UINT32_MAX)
        return 0;
    unsigned low = 0, high = (unsigned)n / 2; /* the largest r with 2 P(B <= r-1) <= miss; monotonic in r */
    while (low < high) {
        unsigned r = low + (high - low + 1) / 2;
        if (2 * gsl_cdf_binomial_P(r - 1, 0.5, (unsigned)n) <= miss)
            low = r;
        else
            high = r - 1;
    }
    rank = (int)low;
    if (rank)
        *coverage = 1 - 2 * gsl_cdf_binomial_P(low - 1, 0.5, (unsigned)n);
    return rank;
}

struct interval stats_median_interval(const double *x, size_t n)
{
    struct interval r = {NAN, NAN, NAN};
    double *s = has_nan(x, n) ? NULL : sorted(x, n), coverage;
    if (!s)
        return r;
    int rank = stats_median_rank(n, &coverage);
    r.value = gsl_stats_median_from_sorted_data(s, 1, n);
    if (rank) {
        r.lo = s[rank - 1];
        r.hi = s[n - (size_t)rank];
    }
    mem_free(s);
    return r;
}

struct block_sum {
    double sum, count;
};

/* Adds x up block by block; returns how many blocks there are. */
static size_t sum_blocks(struct block_sum *b, const double *x, const int *block, size_t n)
{
    size_t blocks = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || block[i] != block[i - 1])
            b[blocks++] = (struct block_sum){0};
        b[blocks - 1].sum += x[i];
        b[blocks - 1].count++;
    }
    return blocks;
}

static double resampled_mean(const struct block_sum *b, size_t blocks, struct rng *rng)
{
    struct block_sum total = {0};
    for (size_t i = 0; i < blocks; i++) {
        const struct block_sum *pick = &b[rng_below(rng, (uint32_t)blocks)];
        total.sum += pick->sum;
        total.count += pick->count;
    }
    return total.sum / total.count;
}

struct interval stats_block_bootstrap(const double *x, const int *block, size_t n, int resamples, uint64_t seed)
{
    struct interval r = {NAN, NAN, NAN};
    if (n == 0)
        return r;
    struct block_sum *b = mem_alloc(n, sizeof *b);
    double *means = resamples > 0 ? mem_alloc((size_t)resamples, sizeof *means) : NULL;
    if (!b)
        goto out;
    size_t blocks = sum_blocks(b, x, block, n);
    struct block_sum all = {0};
    for (size_t i = 0; i < blocks; i++) {
        all.sum += b[i].sum;
        all.count += b[i].count;
    }
    r.value = all.sum / all.count;
    if (blocks < 2 || blocks > UINT32_MAX || !means || isnan(r.value))
        goto out;
    struct rng rng;
    rng_seed(&rng, seed);
    for (int i = 0; i < resamples; i++)
        means[i] = resampled_mean(b, blocks, &rng);
    gsl_sort(means, 1, (size_t)resamples);
    r.lo = gsl_stats_quantile_from_sorted_data(means, 1, (size_t)resamples, (1 - confidence) / 2);
    r.hi = gsl_stats_quantile_from_sorted_data(means, 1, (size_t)resamples, (1 + confidence) / 2);
out:
    mem_free(means);
    mem_free(b);
    return r;
}

/* Sorted logarithms of positive numbers, and room to resample them; log == NULL when there is no memory or a number has no logarithm. */
struct logs {
    double *log;     /* owned */
    uint32_t *drawn; /* owned: how often each was drawn */
    size_t n;
};

static void logs_close(struct logs *l)
{
    mem_free(l->log);
    mem_free(l->drawn);
    *l = (struct logs){0};
}

/* log(a[i] / b[i]); b may be NULL. */
static struct logs logs_open(const double *a, const double *b, size_t n)
{
    struct logs l = {.log = n && n <= UINT32_MAX ? mem_alloc(n, sizeof *l.log) : NULL, .drawn = n ? mem_alloc(n, sizeof *l.drawn) : NULL, .n = n};
    bool good = l.log && l.drawn;
    for (size_t i = 0; good && i < n; i++) {
        l.log[i] = log(a[i]) - (b ? log(b[i]) : 0);
        good = isfinite(l.log[i]);
    }
    if (good)
        gsl_sort(l.log, 1, n);
    else
        logs_close(&l);
    return l;
}

static double logs_median(const struct logs *l) { return gsl_stats_median_from_sorted_data(l->log, 1, l->n); }

/* The median of n draws with replacement, found by counting: the numbers are in order already. */
static double resampled_median(struct logs *l, struct rng *rng)
{
    size_t low = (l->n - 1) / 2, high = l->n / 2, i = 0, below = 0;
    memset(l->drawn, 0, l->n * sizeof *l->drawn);
    for (size_t k = 0; k < l->n; k++)
        l->drawn[rng_below(rng, (uint32_t)l->n)]++;
    while (below + l->drawn[i] <= low)
        below += l->drawn[i++];
    double first = l->log[i];
    while (below + l->drawn[i] <= high)
        below += l->drawn[i++];
    return (first + l->log[i]) / 2;
}

/* exp of the difference of the medians; b NULL: of a's alone. */
static struct interval ratio_interval(struct logs *a, struct logs *b, int resamples, uint64_t seed)
{
    const size_t fewest = 6; /* as for the median's own interval */
    struct interval r = {exp(logs_median(a) - (b ? logs_median(b) : 0)), NAN, NAN};
    double *medians = resamples > 0 && a->n >= fewest && (!b || b->n >= fewest) ? mem_alloc((size_t)resamples, sizeof *medians) : NULL;
    struct rng rng;
    if (!medians)
        return r;
    rng_seed(&rng, seed);
    for (int i = 0; i < resamples; i++) {
        medians[i] = resampled_median(a, &rng);
        medians[i] -= b ? resampled_median(b, &rng) : 0;
    }
    gsl_sort(medians, 1, (size_t)resamples);
    r.lo = exp(gsl_stats_quantile_from_sorted_data(medians, 1, (size_t)resamples, (1 - confidence) / 2));
    r.hi = exp(gsl_stats_quantile_from_sorted_data(medians, 1, (size_t)resamples, (1 + confidence) / 2));
    mem_free(medians);
    return r;
}

struct interval stats_ratio_paired(const double *a, const double *b, size_t n, int resamples, uint64_t seed)
{
    struct interval r = {NAN, NAN, NAN};
    struct logs l = logs_open(a, b, n);
    if (l.log)
        r = ratio_interval(&l, NULL, resamples, seed);
    logs_close(&l);
    return r;
}

struct interval stats_ratio_unpaired(const double *a, size_t na, const double *b, size_t nb, int resamples, uint64_t seed)
{
    struct interval r = {NAN, NAN, NAN};
    struct logs la = logs_open(a, NULL, na), lb = logs_open(b, NULL, nb);
    if (la.log && lb.log)
        r = ratio_interval(&la, &lb, resamples, seed);
    logs_close(&la);
    logs_close(&lb);
    return r;
}
