/* session.h — one run from the command line: database, machine, models, cases, summary. Shared by `run` and `case`. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SESSION_H
#define QBENCH_SESSION_H

#include "options.h"
#include "run.h"
#include "suite.h"

struct session {
    const struct options *options;
    struct suite *suite;      /* its cases are run */
    bool resume, quiet;
    int argc;
    char **argv;
    int64_t run_id;           /* set by session_run */
};

/*
 * Stores the run with its machine, build and conditions, prepares models, runs the cases. Afterwards the tables of `qbench show` for this run are
 * printed as the options ask. Returns the exit code; errors have been told.
 */
int session_run(struct session *s);

/* What a command line says before there is a session: --set, in order, and the common options --threads, --seed and --isa. */
enum { SESSION_SETS_MAX = 64, SESSION_OVERRIDES_MAX = 3 };
struct session_sets {
    const char *text[SESSION_SETS_MAX];
    int n;
};
void session_add_set(struct session_sets *sets, const char *text, struct argp_state *state); /* one too many is a usage error */
/* The common options as suite overrides "threads=2". Returns how many. */
int session_overrides(const struct options *o, char sets[SESSION_OVERRIDES_MAX][64]);
/* Gives them to a case, where its work reads that axis. */
enum status session_override_case(const struct options *o, struct bench_case *c, struct err *e);

#endif
