/* Peak arithmetic: the flat part of the roofline, for one instruction set and thread count. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "par.h"
#include "peak.h"
#include "work.h"

/* A slot a thread, each on a cache line of its own. */
struct slot {
    _Alignas(64) double ops;
};

struct job {
    const struct peak *peak;
    struct par *par;
    struct slot *slots; /* owned, (threads) */
    long iterations;
    bool wrong; /* a timed call did not leave in the registers what it must */
};

static const double call_seconds = 2e-3; /* long against waking the threads, short against a sample */

static enum status find_peak(const char *name, const struct peak **p, struct err *e)
{
    *p = peak_find(name);
    return *p ? ST_OK : fail(e, ST_EUSAGE, "op: peak knows no '%s'; `qbench list peaks` shows what it measures", name);
}

/* Asks for the ISA that the case names, and puts back the one in force. */
static enum status resolve(struct bench_case *c, struct err *e)
{
    const struct peak *p;
    char why[512], outer[32];
    enum status s = find_peak(case_text(c, "op"), &p, e);
    if (s != ST_OK)
        return s;
    snprintf(outer, sizeof outer, "%s", cpu_level());
    bool masked = strcmp(outer, "custom") != 0 && cpu_set_level(case_text(c, "isa"), NULL) == ST_OK;
    peak_reason(p, why, sizeof why);
    if (masked)
        cpu_set_level(outer, NULL);
    return why[0] ? fail(e, ST_EUNSUPPORTED, "peak %s: %s", p->name, why) : ST_OK;
}

static void close_job(struct job *j)
{
    if (!j)
        return;
    par_close(j->par);
    mem_free(j->slots);
    mem_free(j);
}

static void run_thread(void *ctx, int thread, int threads)
{
    struct job *j = ctx;
    j->slots[thread].ops = j->peak->run(j->iterations);
}

/* 0 when a thread's registers do not hold what they must. */
static double run_all(struct job *j)
{
    double sum = 0;
    par_run(j->par, run_thread, j);
    for (int i = 0; i < par_threads(j->par); i++) {
        if (!(j->slots[i].ops > 0))
            return 0;
        sum += j->slots[i].ops;
    }
    return sum;
}

static void choose_iterations(struct job *j)
{
    const long most = 1L << 24;
    double seconds = 0;
    for (j->iterations = 1; j->iterations < most; j->iterations *= 2) {
        double start = now_seconds();
        run_all(j);
        seconds = now_seconds() - start;
        if (seconds >= call_seconds)
            return;
    }
}

static enum status open_job(struct job **out, const struct bench_case *c, struct err *e)
{
    *out = NULL;
    int threads = (int)case_int(c, "threads");
    char why[512] = "";
    struct job *j = mem_alloc(1, sizeof *j);
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a peak job");
    enum status s = find_peak(case_text(c, "op"), &j->peak, e);
    if (s == ST_OK)
        peak_reason(j->peak, why, sizeof why);
    if (why[0])
        s = fail(e, ST_EUNSUPPORTED, "peak %s: %s", j->peak->name, why);
    if (s == ST_OK)
        s = par_open(&j->par, threads, e);
    if (s == ST_OK && !(j->slots = mem_alloc((size_t)threads, sizeof *j->slots)))
        s = fail(e, ST_ENOMEM, "no memory for a peak job on %d threads", threads);
    if (s != ST_OK) {
        close_job(j);
        return s;
    }
    choose_iterations(j);
    *out = j;
    return ST_OK;
}

static enum status check(struct job *j, struct err *e)
{
    if (run_all(j) > 0)
        return ST_OK;
    return fail(e, ST_EWRONG, "peak %s: the registers do not hold what the work must leave in them", j->peak->name);
}

static double once(struct job *j)
{
    double ops = run_all(j);
    j->wrong |= ops == 0;
    return ops;
}

static void amounts(struct job *j, double *ops, double *bytes)
{
    *ops = 1;
    *bytes = 0;
}

static enum status results(struct job *j, struct emitter *m, struct err *e)
{
    if (j->wrong)
        return fail(e, ST_EWRONG, "peak %s: a timed call did not leave in the registers what it must", j->peak->name);
    emit_text(m, "counts", j->peak->unit_op);
    return ST_OK;
}

const struct work work_peak = {
    .name = "peak",
    .unit = "op",
    .title = "peak arithmetic: independent multiply-accumulates in registers, two operations each",
    .axes = "op isa threads",
    .resolve = resolve,
    .open = open_job,
    .check = check,
    .once = once,
    .amounts = amounts,
    .results = results,
    .close = close_job,
};
