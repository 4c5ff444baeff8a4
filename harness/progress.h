/* progress.h — what a run says on stderr while it works: a line a case, and the time left. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PROGRESS_H
#define QBENCH_PROGRESS_H

#include "case.h"
#include "result.h"

struct progress {
    const struct bench_case *cases;
    size_t n, done;
    bool quiet, terminal;
    double started, estimate_all, estimate_done; /* seconds, by run_estimate */
    double ticked;
    bool line_open; /* a status line stands unfinished on the terminal */
};

/* finished (n): cases that are in the database already. */
void progress_start(struct progress *p, const struct bench_case *cases, size_t n, const bool *finished, bool quiet);
void progress_tick(struct progress *p, const struct bench_case *current, const char *phase); /* at most one redraw in 0.5 s, terminals only */
void progress_case(struct progress *p, const struct bench_case *c, const struct result *r);
void progress_end(struct progress *p);
void progress_duration(double seconds, char *buf, size_t n); /* "3:05", "1:02:33" */

#endif
