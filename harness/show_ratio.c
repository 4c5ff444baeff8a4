/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "show_ratio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { RESAMPLES = 2000 };
static const uint64_t bootstrap_seed = 1;

struct round_samples {
    long long result;
    size_t first, n; /* in rates, in the order of rounds */
    long group;      /* the process that they were taken in, counted through the run */
};

static double real_of(const struct cell *c) { return c->type == CELL_INT ? (double)c->integer : c->type == CELL_REAL ? c->real : NAN; }

/* Positions are counted from 0 in every process, and its results are stored together, in the order of their first samples: so a process
 * begins with each result whose first sample has position 0. */
static void gather(struct ratios *r, const struct table *t)
{
    long group = 0;
    for (size_t i = 0; i < t->n_rows; i++) {
        const struct cell *c = table_cell(t, i, 0);
        if (r->n == 0 || r->results[r->n - 1].result != c[0].integer) {
            group += c[1].integer == 0;
            r->results[r->n++] = (struct round_samples){.result = c[0].integer, .first = i, .group = group};
        }
        r->results[r->n - 1].n++;
        r->rates[i] = real_of(&c[2]);
    }
}

enum status ratios_open(struct ratios *r, struct store *s, int64_t run, struct err *e)
{
    char id[32];
    const char *params[] = {id};
    struct table *t;
    *r = (struct ratios){0};
    snprintf(id, sizeof id, "%lld", (long long)run);
    enum status st = store_query(s, "SELECT s.result_id, s.position, s.units / s.seconds FROM sample s JOIN result x ON x.id = s.result_id"
                                    " WHERE x.run_id = CAST(?1 AS INTEGER) ORDER BY s.result_id, s.n", params, 1, &t, e);
    if (st != ST_OK)
        return st;
    r->results = calloc(t->n_rows + 1, sizeof *r->results);
    r->rates = calloc(t->n_rows + 1, sizeof *r->rates);
    if (r->results && r->rates)
        gather(r, t);
    else {
        st = fail(e, ST_ENOMEM, "no memory for %zu samples", t->n_rows);
        ratios_close(r);
    }
    table_free(t);
    return st;
}

void ratios_close(struct ratios *r)
{
    free(r->results);
    free(r->rates);
    *r = (struct ratios){0};
}

static int by_result(const void *id, const void *samples)
{
    long long a = *(const long long *)id, b = ((const struct round_samples *)samples)->result;
    return a < b ? -1 : a > b;
}

struct interval ratios_of(struct ratios *r, long long result, long long base, bool *paired)
{
    const struct round_samples *a = bsearch(&result, r->results, r->n, sizeof *a, by_result), *b = bsearch(&base, r->results, r->n, sizeof *b, by_result);
    *paired = a && b && a->group == b->group;
    if (!a || !b)
        return (struct interval){NAN, NAN, NAN};
    if (*paired)
        return stats_ratio_paired(r->rates + a->first, r->rates + b->first, a->n < b->n ? a->n : b->n, RESAMPLES, bootstrap_seed);
    return stats_ratio_unpaired(r->rates + a->first, a->n, r->rates + b->first, b->n, RESAMPLES, bootstrap_seed);
}

void ratios_put(struct ratios *r, const struct book *b, size_t row, long base, struct table *t, int column)
{
    bool paired;
    if (base < 0 || (size_t)base == row)
        return;
    struct interval x = ratios_of(r, book_int(b, row, "result_id"), book_int(b, (size_t)base, "result_id"), &paired);
    r->apart += !paired && !isnan(x.value);
    table_interval(t, column, x.value, x.lo, x.hi);
}

void ratios_note(const struct ratios *r, struct table *t)
{
    table_note(t, "×: how many times as fast; the median of the ratios of samples taken in turn, its interval by bootstrap over rounds.");
    if (r->apart)
        table_note(t, "%zu of these compare cases that were not sampled in turn: medians of either, and wider intervals.", r->apart);
}
