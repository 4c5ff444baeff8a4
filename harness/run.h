/* run.h — runs cases: in child processes, interleaved, checked, metered, each stored as soon as it is done. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_RUN_H
#define QBENCH_RUN_H

#include "case.h"
#include "result.h"
#include "store.h"

/*
 * Cases that follow each other and do the same work form a group; a child process opens them all and takes their samples in
 * turn (forth and back, so that drift falls on all alike). A case that crashes, hangs or runs out of memory takes its child
 * with it: it becomes one row with its reason, and a new child goes on with the others. Progress goes to stderr.
 */
struct run_options {
    struct store *store; /* NULL: results are only handed to done */
    int64_t run_id;
    const char *sysroot;
    volatile const int *stop;
    bool quiet;
    void (*done)(void *ctx, const struct bench_case *c, const struct result *r); /* NULL: nothing */
    void *done_ctx;
};

struct run_summary {
    size_t outcomes[OUTCOME_COUNT]; /* of the whole run, what was found in the database included */
    size_t resumed;                 /* found there, not run again */
    double seconds;
};

/* ST_EINTERRUPTED when stop was set; what was finished is stored. */
enum status run_cases(struct bench_case *cases, size_t n, const struct run_options *o, struct run_summary *summary, struct err *e);

/* Exit code for a finished run, resumed or not: 0, 3 (nothing measured, or a case failed or timed out) or 4 (a wrong result). */
int run_exit_code(const struct run_summary *s);

/* Seconds that a case is likely to take, for --dry-run and the time left. */
double run_estimate(const struct bench_case *c);

/*
 * Finds every model that the cases name, or trains it into the cache when `train` allows it, and puts the content hashes of models and texts
 * into their keys. Models
 * are recorded in store (NULL: not). Without `train` an untrained preset stays "1m@untrained".
 */
enum status prepare_models(struct bench_case *cases, size_t n, bool train, struct store *store, volatile const int *stop, bool quiet, struct err *e);

/* The child: reads cases from stdin, writes messages to fd 3. Exit code of `qbench worker`. */
int worker_main(void);

#endif
