/* stats.h — medians, intervals and bootstraps; no knowledge of what is measured. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_STATS_H
#define QBENCH_STATS_H

#include "base.h"

struct interval {
    double value, lo, hi; /* NaN where there are too few data */
};

/* A NaN among the data has no rank: every statistic of such data is NaN. */
double stats_median(const double *x, size_t n);               /* x untouched; NaN for n = 0 */
double stats_quantile(const double *x, size_t n, double p);   /* type 7 */
/* Median with its 95 % interval by order statistics (exact binomial coverage, distribution-free); n < 6 has no interval. */
struct interval stats_median_interval(const double *x, size_t n);
/* The rank r, from 1, with which [x_(r), x_(n+1-r)] covers the median with at least 95 %; coverage: with how much. 0: n < 6. */
int stats_median_rank(size_t n, double *coverage);
/* Mean of x with a 95 % percentile interval by bootstrap over whole blocks: block[i] = index of the block of x[i], ascending
 * from 0. Blocks are resampled with replacement; statistic = sum / count. Seeded. Fewer than 2 blocks leave lo, hi NaN. */
struct interval stats_block_bootstrap(const double *x, const int *block, size_t n, int resamples, uint64_t seed);
/* a over b, both positive. Paired: a[i] and b[i] were measured in the same round; the median of log(a[i] / b[i]), so that what slowed a
 * round as a whole cancels. Unpaired: median over median. The 95 % percentile interval is a seeded bootstrap over rounds, or over each of
 * the two; it takes 6 of them. */
struct interval stats_ratio_paired(const double *a, const double *b, size_t n, int resamples, uint64_t seed);
struct interval stats_ratio_unpaired(const double *a, size_t na, const double *b, size_t nb, int resamples, uint64_t seed);

#endif
