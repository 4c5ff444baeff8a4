/* show_ratio.h — speed-ups between results of one run, round by round where they were sampled in turn. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SHOW_RATIO_H
#define QBENCH_SHOW_RATIO_H

#include "show_book.h"
#include "stats.h"

/*
 * Results of one process (run.h) took their n-th samples in one round, one after the other, so their ratio is taken round by round;
 * results of different processes met different states of the machine, and theirs is the ratio of their medians, with the
 * wider interval that this leaves.
 */
struct ratios {
    struct round_samples *results; /* owned, by result_id */
    double *rates;                 /* owned: units per second of every sample */
    size_t n;
    size_t apart;                  /* ratios put so far that were not taken round by round */
};

enum status ratios_open(struct ratios *r, struct store *s, int64_t run, struct err *e);
void ratios_close(struct ratios *r);

/* The rate of one result over that of another; NaN where one of them has no samples. */
struct interval ratios_of(struct ratios *r, long long result, long long base, bool *paired);

/* Into the last row of t: how much faster the book's row is than base. Nothing where base is negative or the row itself. */
void ratios_put(struct ratios *r, const struct book *b, size_t row, long base, struct table *t, int column);

/* Says under t how its ratios were taken. */
void ratios_note(const struct ratios *r, struct table *t);

#endif
