/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "run.h"

void progress_duration(double seconds, char *buf, size_t n)
{
    long s = seconds > 0 ? lround(seconds) : 0;
    if (s >= 3600)
        snprintf(buf, n, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, n, "%ld:%02ld", s / 60, s % 60);
}

void progress_start(struct progress *p, const struct bench_case *cases, size_t n, const bool *finished, bool quiet)
{
    *p = (struct progress){.cases = cases, .n = n, .quiet = quiet, .terminal = isatty(2), .started = now_seconds()};
    for (size_t i = 0; i < n; i++) {
        p->done += finished[i];
        p->estimate_all += finished[i] ? 0 : run_estimate(&cases[i]);
    }
}

static void clear_line(struct progress *p)
{
    if (p->line_open)
        fputs("\r\033[K", stderr);
    p->line_open = false;
}

/* The estimate corrected by how it has done so far. */
static void time_left(const struct progress *p, char *buf, size_t n)
{
    double spent = now_seconds() - p->started, pace = p->estimate_done > 5 ? spent / p->estimate_done : 1;
    progress_duration((p->estimate_all - p->estimate_done) * pace, buf, n);
}

void progress_tick(struct progress *p, const struct bench_case *current, const char *phase)
{
    char left[32];
    double now = now_seconds();
    if (p->quiet || !p->terminal || !current || now - p->ticked < 0.5)
        return;
    p->ticked = now;
    time_left(p, left, sizeof left);
    fprintf(stderr, "\r\033[K[%zu/%zu  %s left] %.12s: %.70s", p->done + 1, p->n, left, phase, current->key);
    fflush(stderr);
    p->line_open = true;
}

static const struct value *find_value(const struct result *r, const char *name)
{
    for (size_t i = 0; i < r->n_values; i++)
        if (!strcmp(r->values[i].name, name))
            return &r->values[i];
    return NULL;
}

static void headline(const struct result *r, char *buf, size_t n)
{
    const struct value *rate = find_value(r, "rate"), *nll = find_value(r, "nll"), *ops = find_value(r, "ops_per_second");
    if (r->outcome != OUTCOME_OK && r->outcome != OUTCOME_UNTRUSTED)
        snprintf(buf, n, "%s", r->reason);
    else if (nll)
        snprintf(buf, n, "nll %.4f", nll->value);
    else if (ops && !strcmp(rate->unit, "pass/s"))
        snprintf(buf, n, "%.4g Gop/s +-%.1f %%", ops->value / 1e9, 50 * (ops->hi - ops->lo) / ops->value);
    else if (rate)
        snprintf(buf, n, "%.4g %s +-%.1f %%", rate->value, rate->unit, 50 * (rate->hi - rate->lo) / rate->value);
    else
        buf[0] = '\0';
}

void progress_case(struct progress *p, const struct bench_case *c, const struct result *r)
{
    char left[32], what[600];
    p->done++;
    p->estimate_done += run_estimate(c);
    if (p->quiet)
        return;
    clear_line(p);
    time_left(p, left, sizeof left);
    headline(r, what, sizeof what);
    fprintf(stderr, "[%zu/%zu  %s left] %s  %s: %s\n", p->done, p->n, left, outcome_names[r->outcome], c->key, what);
}

void progress_end(struct progress *p)
{
    clear_line(p);
    fflush(stderr);
}
