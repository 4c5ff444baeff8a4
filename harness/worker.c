/* worker.c — the child of a run: opens a group of cases, checks, warms up, takes samples in turn, sends everything home. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "blas.h"
#include "cpu.h"
#include "host.h"
#include "run.h"
#include "stats.h"
#include "wire.h"
#include "work.h"

enum { WIRE_FD = 3, GAUGES_MAX = 16, WARMUP_CALLS = 3 };

struct emitter {
    int index;
};

struct gauges {
    const struct meter *meter[GAUGES_MAX];
    struct gauge *gauge[GAUGES_MAX]; /* NULL: could not be opened, for this reason */
    char reason[GAUGES_MAX][160];
    int count;
};

/* One case while its group is being measured. */
struct subject {
    struct bench_case c;
    struct job *job;
    bool done;          /* its outcome was sent */
    double opened_at;
    long repeats;       /* calls of once in a sample */
    double *rates;      /* units per second of each sample */
    size_t n;
};

struct worker {
    struct subject *subjects;
    int count;
    struct gauges gauges;
    struct reading *readings; /* (GAUGES_MAX * METER_METRICS_MAX) filled inside a sample, sent after it */
    long order;
    int cpus; /* that may be used, before any thread was pinned */
};

static void send_message(enum wire_type type, int index, const void *head, size_t head_bytes, const void *body, size_t body_bytes)
{
    /* The runner is gone: nobody needs the rest. */
    if (!wire_send(WIRE_FD, type, index, head, head_bytes, body, body_bytes))
        _Exit(1);
}

static void at(int index, const char *phase) { send_message(WIRE_AT, index, phase, strlen(phase) + 1, NULL, 0); }

static void send_value(int index, const char *name, const char *unit, double x, double lo, double hi, const char *text)
{
    struct value v = {.value = x, .lo = lo, .hi = hi};
    snprintf(v.name, sizeof v.name, "%s", name);
    snprintf(v.unit, sizeof v.unit, "%s", unit);
    snprintf(v.text, sizeof v.text, "%s", text);
    send_message(WIRE_VALUE, index, &v, sizeof v, NULL, 0);
}

void emit_value(struct emitter *m, const char *name, const char *unit, double value) { send_value(m->index, name, unit, value, NAN, NAN, ""); }

void emit_interval(struct emitter *m, const char *name, const char *unit, double value, double lo, double hi)
{
    send_value(m->index, name, unit, value, lo, hi, "");
}

void emit_missing(struct emitter *m, const char *name, const char *unit, const char *reason)
{
    send_value(m->index, name, unit, NAN, NAN, NAN, reason);
}

void emit_text(struct emitter *m, const char *name, const char *text) { send_value(m->index, name, "", NAN, NAN, NAN, text); }

void emit_blob(struct emitter *m, const char *name, const char *type, const void *data, size_t bytes)
{
    struct wire_blob b = {0};
    snprintf(b.name, sizeof b.name, "%s", name);
    snprintf(b.type, sizeof b.type, "%s", type);
    send_message(WIRE_BLOB, m->index, &b, sizeof b, data, bytes);
}

static void finish(struct worker *w, int index, enum outcome outcome, const char *reason)
{
    struct subject *s = &w->subjects[index];
    struct wire_outcome o = {.outcome = outcome, .wall_seconds = now_seconds() - s->opened_at};
    snprintf(o.reason, sizeof o.reason, "%s", reason);
    if (s->job)
        s->c.work->close(s->job);
    s->job = NULL;
    s->done = true;
    send_message(WIRE_OUTCOME, index, &o, sizeof o, NULL, 0);
}

static void finish_failed(struct worker *w, int index, enum status st, const struct err *e)
{
    enum outcome o = st == ST_EWRONG ? OUTCOME_WRONG : st == ST_EUNSUPPORTED ? OUTCOME_SKIPPED : OUTCOME_FAILED;
    finish(w, index, o, e->text[0] ? e->text : "failed without a reason");
}

/* Opened before the jobs, so that counters which are inherited cover the threads that the jobs start. */
static void open_gauges(struct gauges *g, enum scope scope, const struct meter_env *env)
{
    for (int i = 0; meters[i] && g->count < GAUGES_MAX; i++) {
        struct err e = {0};
        if (meters[i]->scope != scope)
            continue;
        g->meter[g->count] = meters[i];
        if (meters[i]->open(&g->gauge[g->count], env, &e) != ST_OK) {
            g->gauge[g->count] = NULL;
            snprintf(g->reason[g->count], sizeof g->reason[0], "%.159s", e.text);
        }
        g->count++;
    }
}

static void send_reading(int index, const struct reading *r)
{
    struct wire_reading w = {.reading = *r};
    snprintf(w.meter, sizeof w.meter, "%s", r->meter);
    snprintf(w.metric, sizeof w.metric, "%s", r->metric);
    snprintf(w.unit, sizeof w.unit, "%s", r->unit);
    send_message(WIRE_READING, index, &w, sizeof w, NULL, 0);
}

static void send_absent_gauges(const struct gauges *g, int index)
{
    for (int i = 0; i < g->count; i++)
        for (const struct metric *m = g->meter[i]->metrics; !g->gauge[i] && m->name; m++) {
            struct reading r = {.meter = g->meter[i]->name, .metric = m->name, .unit = m->unit, .status = READING_UNAVAILABLE,
                                .value = NAN, .idle_watts = NAN, .net_value = NAN, .sample = -1};
            memcpy(r.reason, g->reason[i], sizeof r.reason);
            send_reading(index, &r);
        }
}

static void open_subject(struct worker *w, int index)
{
    struct subject *s = &w->subjects[index];
    struct err e = {0};
    s->opened_at = now_seconds();
    at(index, "opening");
    enum status st = s->c.work->open(&s->job, &s->c, &e);
    if (st != ST_OK) {
        s->job = NULL;
        finish_failed(w, index, st, &e);
        return;
    }
    at(index, "checking");
    if (s->c.work->check && (st = s->c.work->check(s->job, &e)) != ST_OK)
        finish_failed(w, index, st, &e);
}

/* By time and by stability: until the last calls agree with those before, at most five times the time asked for. */
static void warm_up(struct subject *s)
{
    double least = s->c.settings.warmup_seconds, start = now_seconds(), spent = 0, last = INFINITY, once = INFINITY, fastest = INFINITY;
    for (int calls = 0; calls < WARMUP_CALLS || spent < least || (fabs(once - last) > 0.1 * last && spent < 5 * least); calls++) {
        double t = now_seconds();
        s->c.work->once(s->job);
        double now = now_seconds();
        last = once;
        once = now - t;
        fastest = fmin(fastest, once);
        spent = now - start;
    }
    s->repeats = fastest > 0 ? (long)fmax(1, ceil(s->c.settings.sample_seconds / fastest)) : 1;
}

static double repeat(struct subject *s, long times)
{
    double units = 0;
    for (long i = 0; i < times; i++)
        units += s->c.work->once(s->job);
    return units;
}

static void take_sample(struct worker *w, int index)
{
    struct subject *s = &w->subjects[index];
    struct gauges *g = &w->gauges;
    int filled = 0, number = (int)s->n;
    if (w->count > 1)
        s->c.work->once(s->job); /* the caches hold what the case before left there */
    for (int i = 0; i < g->count; i++)
        if (g->gauge[i])
            g->meter[i]->start(g->gauge[i]);
    double t0 = now_seconds(), units = 0, seconds = 0;
    do {
        units += repeat(s, s->repeats);
        seconds = now_seconds() - t0;
    } while (seconds < s->c.settings.sample_seconds);
    for (int i = g->count; i-- > 0;)
        if (g->gauge[i])
            filled += g->meter[i]->stop(g->gauge[i], w->readings + filled);
    struct sample x = {.seconds = seconds, .units = units, .order = w->order++};
    s->rates[s->n++] = units / seconds;
    send_message(WIRE_SAMPLE, index, &x, sizeof x, NULL, 0);
    for (int i = 0; i < filled; i++) {
        w->readings[i].sample = number;
        send_reading(index, &w->readings[i]);
    }
}

/* Reads m over seconds of s's work, or of idling (s NULL), polling as it asks. Returns how many readings it filled; *units: work done. */
static int read_window(const struct meter *m, struct gauge *g, struct subject *s, double seconds, struct reading *out, double *units)
{
    double start = now_seconds(), polled = start, now = start;
    m->start(g);
    while (now - start < seconds) {
        if (s)
            *units += repeat(s, s->repeats);
        else
            clock_real.idle(clock_real.ctx, 0.02);
        now = now_seconds();
        if (m->poll_seconds > 0 && now - polled >= m->poll_seconds / 2) {
            m->poll(g);
            polled = now;
        }
    }
    return m->stop(g, out);
}

static void send_energy(int index, struct reading *r, double idle_watts, double units)
{
    char name[48];
    bool joules = !strcmp(r->unit, "J");
    r->sample = -1;
    if (joules) {
        r->idle_watts = idle_watts;
        r->net_value = r->value - idle_watts * r->window_seconds;
    }
    send_reading(index, r);
    if (joules && r->status == READING_MEASURED && units > 0) {
        snprintf(name, sizeof name, "%.38s_per_unit", r->metric);
        send_value(index, name, "J", r->value / units, NAN, NAN, r->source);
    }
}

/* Energy belongs to a block: the work repeated, idle before and after. One case at a time, since a package has one meter; and by one meter, the first in
 * the table that lives, since two of them would tell the same joules twice. */
static void measure_blocks(struct worker *w, int index, const struct gauges *block)
{
    struct subject *s = &w->subjects[index];
    struct reading *busy = w->readings, *before = busy + METER_METRICS_MAX, *after = before + METER_METRICS_MAX;
    send_absent_gauges(block, index);
    for (int i = 0; i < block->count && s->c.settings.energy_seconds > 0; i++) {
        const struct meter *m = block->meter[i];
        struct gauge *g = block->gauge[i];
        double seconds = fmax(s->c.settings.energy_seconds, m->min_window_seconds), units = 0, none = 0;
        if (!g)
            continue;
        at(index, "measuring energy");
        read_window(m, g, NULL, seconds / 2, before, &none);
        int n = read_window(m, g, s, seconds, busy, &units);
        read_window(m, g, NULL, seconds / 2, after, &none);
        for (int j = 0; j < n; j++)
            send_energy(index, &busy[j], 0.5 * (before[j].value / before[j].window_seconds + after[j].value / after[j].window_seconds), units);
        return;
    }
}

static void send_rates(struct worker *w, int index, struct interval *rate)
{
    struct subject *s = &w->subjects[index];
    double ops = 0, bytes = 0;
    char unit[16];
    *rate = stats_median_interval(s->rates, s->n);
    snprintf(unit, sizeof unit, "%.13s/s", s->c.work->unit);
    send_value(index, "rate", unit, rate->value, rate->lo, rate->hi, "");
    send_value(index, "seconds_per_unit", "s", 1 / rate->value, 1 / rate->hi, 1 / rate->lo, "");
    if (s->c.work->amounts)
        s->c.work->amounts(s->job, &ops, &bytes);
    if (ops > 0)
        send_value(index, "ops_per_second", "op/s", ops * rate->value, ops * rate->lo, ops * rate->hi, "");
    if (bytes > 0)
        send_value(index, "bytes_per_second", "B/s", bytes * rate->value, bytes * rate->lo, bytes * rate->hi, "");
}

static void conclude(struct worker *w, int index, const struct gauges *block)
{
    struct subject *s = &w->subjects[index];
    struct err e = {0};
    struct emitter m = {index};
    struct interval rate = {NAN, NAN, NAN};
    enum outcome outcome = OUTCOME_OK;
    char reason[512] = "";
    if (s->c.work->once) {
        at(index, "concluding");
        send_rates(w, index, &rate);
        double noise = fmax(rate.hi - rate.value, rate.value - rate.lo) / rate.value;
        if (isnan(noise)) {
            outcome = OUTCOME_UNTRUSTED;
            snprintf(reason, sizeof reason, "samples = %ld are too few for an interval; it takes 6", s->c.settings.samples);
        } else if (noise > s->c.settings.max_noise) {
            outcome = OUTCOME_UNTRUSTED;
            /* Without its own figure, which the rate's interval shows, so that equal troubles are told once. */
            snprintf(reason, sizeof reason, "the interval reaches further from the median than max_noise = %g %%", 100 * s->c.settings.max_noise);
        }
        send_absent_gauges(&w->gauges, index);
    }
    const struct blas *blas = s->c.work->needs_blas ? blas_get(NULL) : NULL;
    if (blas && blas->mismatch) {
        outcome = OUTCOME_UNTRUSTED;
        snprintf(reason, sizeof reason, "OpenBLAS runs its %s kernels where %s was asked for, so the fp32 baseline is not a fair one", blas->core, blas->wanted);
    }
    if (case_int(&s->c, "threads") > w->cpus) {
        outcome = OUTCOME_UNTRUSTED;
        snprintf(reason, sizeof reason, "%ld threads share %d CPUs", case_int(&s->c, "threads"), w->cpus);
    }
    enum status st = s->c.work->results ? s->c.work->results(s->job, &m, &e) : ST_OK;
    if (st == ST_OK && s->c.work->once)
        measure_blocks(w, index, block);
    if (st != ST_OK)
        finish_failed(w, index, st, &e);
    else
        finish(w, index, outcome, reason);
}

static void measure_group(struct worker *w)
{
    long samples = 0;
    for (int i = 0; i < w->count; i++)
        if (!w->subjects[i].done) {
            at(i, "warming up");
            warm_up(&w->subjects[i]);
            if (w->subjects[i].c.work->begin)
                w->subjects[i].c.work->begin(w->subjects[i].job);
            samples = samples > w->subjects[i].c.settings.samples ? samples : w->subjects[i].c.settings.samples;
        }
    for (long round = 0; round < samples; round++)
        for (int j = 0; j < w->count; j++) {
            int i = round % 2 ? w->count - 1 - j : j;
            struct subject *s = &w->subjects[i];
            if (!s->done && round < s->c.settings.samples) {
                at(i, "sampling");
                take_sample(w, i);
            }
        }
}

static bool read_case(struct subject *s)
{
    struct wire_case in;
    struct err e = {0};
    if (!wire_read(0, &in, sizeof in) || case_parse(&s->c, in.key, &e) != ST_OK)
        return false;
    s->c.settings = in.settings;
    memcpy(s->c.section, in.section, sizeof s->c.section);
    memcpy(s->c.key, in.key, sizeof s->c.key);
    s->rates = calloc((size_t)s->c.settings.samples + 1, sizeof *s->rates);
    return s->rates != NULL;
}

static void limit_memory(long megabytes)
{
    struct rlimit limit = {(rlim_t)megabytes << 20, (rlim_t)megabytes << 20};
    if (megabytes > 0)
        setrlimit(RLIMIT_AS, &limit);
}

/* Untimed work needs no company: each case is opened, done and closed before the next. */
static void run_one_by_one(struct worker *w, const struct gauges *block)
{
    for (int i = 0; i < w->count; i++) {
        open_subject(w, i);
        if (!w->subjects[i].done) {
            at(i, "working");
            conclude(w, i, block);
        }
    }
}

static void run_interleaved(struct worker *w, const struct gauges *block)
{
    for (int i = 0; i < w->count; i++)
        open_subject(w, i);
    measure_group(w);
    for (int i = 0; i < w->count; i++)
        if (!w->subjects[i].done)
            conclude(w, i, block);
}

int worker_main(void)
{
    struct worker w = {0};
    struct gauges block = {0};
    struct meter_env env;
    const char *sysroot = getenv("QBENCH_SYSROOT");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* the runner decides */
    int32_t count;
    if (!wire_read(0, &count, sizeof count) || count < 1)
        return 1;
    w.cpus = host_cpus();
    w.count = count;
    w.subjects = calloc((size_t)count, sizeof *w.subjects);
    w.readings = calloc(GAUGES_MAX * METER_METRICS_MAX, sizeof *w.readings);
    if (!w.subjects || !w.readings)
        return 1;
    for (int i = 0; i < count; i++)
        if (!read_case(&w.subjects[i]))
            return 1;
    const struct bench_case *first = &w.subjects[0].c;
    struct err e = {0};
    if (cpu_set_level(case_text(first, "isa"), &e) != ST_OK)
        return 1;
    limit_memory(first->settings.memory_mb);
    meter_env_real(&env, sysroot ? sysroot : "");
    if (first->work->once) {
        open_gauges(&w.gauges, SCOPE_SAMPLE, &env);
        open_gauges(&block, SCOPE_BLOCK, &env);
        run_interleaved(&w, &block);
    } else {
        run_one_by_one(&w, &block);
    }
    return 0;
}
