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

/* Turns --threads, --seed and --isa into suite overrides "threads=2"; room for 3 of 64 characters. Returns how many. */
int session_overrides(const struct options *o, char sets[3][64]);

#endif
