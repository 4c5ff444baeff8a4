/* show.h — a run of the database as tables: what happened, what quantization cost in quality, what it bought in speed and size. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SHOW_H
#define QBENCH_SHOW_H

#include "store.h"

enum show_extent { SHOW_SUMMARY, SHOW_CASES, SHOW_ALL }; /* the tables; a line a case; the tables, every case and every value */
enum { SHOW_TABLES_MAX = 10 };
struct show_tables {
    struct table *tables[SHOW_TABLES_MAX]; /* owned */
    int n;
};

/* which: a run's number, uuid or label (its latest), "latest" or NULL (the latest run of a suite; of a
 * single case only where there is no other); suite: NULL = any. ST_ENOENT when there is none. */
enum status show_find_run(struct store *s, const char *which, const char *suite, int64_t *run, struct err *e);

/* The tables of one run (which: as in show_find_run). On failure nothing is left to close. */
enum status show_run(struct store *s, const char *which, struct show_tables *out, struct err *e);
enum status show_extent(struct store *s, int64_t run, enum show_extent extent, struct show_tables *out, struct err *e);
void show_close(struct show_tables *t);

/* Each makes one table that the caller frees; *out is NULL when the run has nothing for it. */
enum status show_runs(struct store *s, const char *suite, struct table **out, struct err *e);
enum status show_header(struct store *s, int64_t run, struct table **out, struct err *e);
enum status show_problems(struct store *s, int64_t run, struct table **out, struct err *e);  /* every outcome but ok, equal reasons together */
enum status show_models(struct store *s, int64_t run, struct table **out, struct err *e);    /* trained models: quality, size and speed in one row */
enum status show_random(struct store *s, int64_t run, struct table **out, struct err *e);    /* random weights: size and speed alone */
enum status show_paired(struct store *s, int64_t run, struct table **out, struct err *e);    /* QAT against its float-tuned control */
enum status show_kernels(struct store *s, int64_t run, struct table **out, struct err *e);   /* against this run's own roofs */
enum status show_roofs(struct store *s, int64_t run, struct table **out, struct err *e);
enum status show_threads(struct store *s, int64_t run, struct table **out, struct err *e);   /* several threads against one */
enum status show_cases(struct store *s, int64_t run, struct table **out, struct err *e);
enum status show_values(struct store *s, int64_t run, struct table **out, struct err *e);    /* every named value of every case */

#endif
