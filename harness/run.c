/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "progress.h"
#include "wire.h"
#include "words.h"
#include "work.h"

enum { GROUP_MAX = 64, WIRE_FD = 3 };

struct child {
    pid_t pid;
    int to, from; /* its standard input, its messages */
};

/* The group in flight: cases[index[0..n)] of the run. */
struct group {
    struct bench_case *cases;
    size_t index[GROUP_MAX];
    struct result results[GROUP_MAX];
    bool done[GROUP_MAX];
    int n, current;          /* current: the one being worked on; -1 before the first message */
    char phase[64];
    double deadline;
};

struct runner {
    struct bench_case *cases;
    size_t n;
    bool *finished; /* (n) stored, in this run or before */
    const struct run_options *o;
    struct run_summary *summary;
    struct progress progress;
    double started;
};

/* An axis that one of them does not have is no difference: f32 has no group. */
static bool differ_only_in(const char *compared, const struct bench_case *a, const struct bench_case *b)
{
    for (int i = 0; axes[i].name; i++)
        if (a->has[i] && b->has[i] && strcmp(a->value[i], b->value[i]) != 0 && !words_has(compared, axes[i].name))
            return false;
    return true;
}

/* Cases may share a child when one process can be all of them at once: same work, limits and instruction sets. */
static bool same_group(const struct bench_case *a, const struct bench_case *b)
{
    return a->work == b->work && !a->work->alone && !strcmp(a->section, b->section) && !strcmp(case_text(a, "isa"), case_text(b, "isa")) &&
           a->settings.memory_mb == b->settings.memory_mb && a->settings.group_cases == b->settings.group_cases &&
           (!a->settings.compare[0] || differ_only_in(a->settings.compare, a, b));
}

static enum status store_one(struct runner *r, size_t i, const struct result *result, struct err *e)
{
    enum status st = ST_OK;
    if (r->o->store)
        st = store_result(r->o->store, r->o->run_id, &r->cases[i], result, e);
    if (st != ST_OK)
        return st;
    r->finished[i] = true;
    r->summary->outcomes[result->outcome]++;
    if (r->o->done)
        r->o->done(r->o->done_ctx, &r->cases[i], result);
    progress_case(&r->progress, &r->cases[i], result);
    return ST_OK;
}

/* Both ends close-on-exec; dup2 in the child clears that for the two that it keeps. */
static enum status spawn(struct child *c, const char *sysroot, struct err *e)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0)
        return fail(e, ST_EIO, "cannot make a pipe for a child: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return fail(e, ST_EIO, "cannot make a pipe for a child: %s", strerror(errno));
    }
    fflush(NULL);
    c->pid = fork();
    if (c->pid == 0) {
        if (sysroot && *sysroot)
            setenv("QBENCH_SYSROOT", sysroot, 1);
        dup2(in[0], 0);
        if (out[1] == WIRE_FD)
            fcntl(WIRE_FD, F_SETFD, 0);
        else
            dup2(out[1], WIRE_FD);
        dup2(2, 1); /* what a library prints is no data of ours */
        execl("/proc/self/exe", "qbench", "worker", (char *)NULL);
        _Exit(127);
    }
    close(in[0]);
    close(out[1]);
    c->to = in[1];
    c->from = out[0];
    if (c->pid < 0) {
        close(c->to);
        close(c->from);
        return fail(e, ST_EIO, "cannot start a child: %s", strerror(errno));
    }
    return ST_OK;
}

static bool give_cases(const struct child *c, const struct group *g)
{
    int32_t n = g->n;
    bool ok = wire_write(c->to, &n, sizeof n);
    for (int i = 0; ok && i < g->n; i++) {
        const struct bench_case *bc = &g->cases[g->index[i]];
        struct wire_case w = {.settings = bc->settings};
        memcpy(w.key, bc->key, sizeof w.key);
        memcpy(w.section, bc->section, sizeof w.section);
        ok = wire_write(c->to, &w, sizeof w);
    }
    return ok;
}

static enum status add_reading(struct result *r, const struct wire_reading *w)
{
    struct reading x = w->reading;
    const struct meter *m = meter_find(w->meter);
    const struct metric *k = m ? m->metrics : NULL;
    while (k && k->name && strcmp(k->name, w->metric))
        k++;
    if (!k || !k->name)
        return ST_EFORMAT;
    x.meter = m->name;
    x.metric = k->name;
    x.unit = k->unit;
    return result_add_reading(r, &x);
}

/* Takes one message into the group; *finished = the case whose last message this was, or -1. */
static enum status take_message(struct group *g, const struct wire_header *h, const void *payload, int *finished)
{
    struct result *r = &g->results[h->index];
    *finished = -1;
    switch (h->type) {
    case WIRE_AT:
        g->current = h->index;
        snprintf(g->phase, sizeof g->phase, "%.*s", (int)h->bytes, (const char *)payload);
        return ST_OK;
    case WIRE_SAMPLE:
        return result_add_sample(r, payload);
    case WIRE_READING:
        return add_reading(r, payload);
    case WIRE_VALUE:
        return result_add_value(r, payload);
    case WIRE_BLOB: {
        const struct wire_blob *b = payload;
        return result_add_blob(r, b->name, b->type, (const char *)payload + sizeof *b, h->bytes - sizeof *b);
    }
    case WIRE_OUTCOME: {
        const struct wire_outcome *o = payload;
        r->outcome = (enum outcome)o->outcome;
        r->wall_seconds = o->wall_seconds;
        memcpy(r->reason, o->reason, sizeof r->reason);
        g->done[h->index] = true;
        *finished = h->index;
        return ST_OK;
    }
    default:
        return ST_EFORMAT;
    }
}

static bool payload_fits(const struct wire_header *h, int n)
{
    static const size_t least[] = {[WIRE_AT] = 1, [WIRE_SAMPLE] = sizeof(struct sample), [WIRE_READING] = sizeof(struct wire_reading),
                                   [WIRE_VALUE] = sizeof(struct value), [WIRE_BLOB] = sizeof(struct wire_blob), [WIRE_OUTCOME] = sizeof(struct wire_outcome)};
    return h->type <= WIRE_OUTCOME && h->index >= 0 && h->index < n && h->bytes >= least[h->type] && h->bytes < (uint64_t)4 << 30;
}

enum wait { WAIT_MESSAGE, WAIT_CLOSED, WAIT_TIMEOUT, WAIT_STOPPED };

static enum wait wait_for_child(struct runner *r, const struct child *c, const struct group *g)
{
    struct pollfd p = {.fd = c->from, .events = POLLIN};
    for (;;) {
        if (r->o->stop && *r->o->stop)
            return WAIT_STOPPED;
        if (now_seconds() > g->deadline)
            return WAIT_TIMEOUT;
        int n = poll(&p, 1, 200);
        progress_tick(&r->progress, g->current >= 0 ? &g->cases[g->index[g->current]] : NULL, g->phase);
        if (n > 0)
            return p.revents & POLLIN ? WAIT_MESSAGE : WAIT_CLOSED;
    }
}

/* Every message is a sign of life; the limit is that of whoever is being worked on. */
static void reset_deadline(struct group *g)
{
    int i = g->current >= 0 ? g->current : 0;
    g->deadline = now_seconds() + g->cases[g->index[i]].settings.timeout_seconds;
}

/* Reads until the child is gone, hangs, or the run is stopped. */
static enum status listen_to(struct runner *r, const struct child *c, struct group *g, enum wait *how, struct err *e)
{
    enum status st = ST_OK;
    char *payload = NULL;
    reset_deadline(g);
    while (st == ST_OK && (*how = wait_for_child(r, c, g)) == WAIT_MESSAGE) {
        struct wire_header h;
        int finished;
        if (!wire_read(c->from, &h, sizeof h)) {
            *how = WAIT_CLOSED;
            break;
        }
        if (!payload_fits(&h, g->n)) {
            st = fail(e, ST_EFORMAT, "a child sent a message that makes no sense (type %u, %llu bytes)", h.type, (unsigned long long)h.bytes);
            break;
        }
        free(payload);
        payload = malloc(h.bytes);
        if (!payload)
            st = fail(e, ST_ENOMEM, "no memory for a message of %llu bytes", (unsigned long long)h.bytes);
        else if (!wire_read(c->from, payload, h.bytes)) {
            *how = WAIT_CLOSED;
            break;
        } else if (take_message(g, &h, payload, &finished) != ST_OK)
            st = fail(e, ST_EFORMAT, "a child sent a message that cannot be kept");
        else if (finished >= 0)
            st = store_one(r, g->index[finished], &g->results[finished], e);
        reset_deadline(g);
    }
    free(payload);
    return st;
}

static void describe_death(const struct group *g, int wstatus, enum wait how, char *buf, size_t n)
{
    const char *phase = g->phase[0] ? g->phase : "starting";
    double limit = g->cases[g->index[max_int(g->current, 0)]].settings.timeout_seconds;
    if (how == WAIT_TIMEOUT)
        snprintf(buf, n, "gave no sign of life for timeout_seconds = %g while %s", limit, phase);
    else if (WIFSIGNALED(wstatus))
        snprintf(buf, n, "its process was killed by signal %d (%s) while %s%s", WTERMSIG(wstatus), strsignal(WTERMSIG(wstatus)), phase,
                 WTERMSIG(wstatus) == SIGKILL ? "; the kernel does that when memory runs out" : "");
    else
        snprintf(buf, n, "its process exited with code %d while %s", WEXITSTATUS(wstatus), phase);
}

/* One child for the cases of g that are not done. On return those that were lost with the child have their row; the rest run again. */
static enum status run_group(struct runner *r, struct group *g, struct err *e)
{
    struct child c = {0};
    enum wait how = WAIT_CLOSED;
    int wstatus = 0;
    enum status st = spawn(&c, r->o->sysroot, e);
    if (st != ST_OK)
        return st;
    g->current = -1;
    g->phase[0] = '\0';
    if (give_cases(&c, g))
        st = listen_to(r, &c, g, &how, e);
    close(c.to);
    if (how != WAIT_CLOSED || st != ST_OK)
        kill(c.pid, SIGKILL);
    close(c.from);
    while (waitpid(c.pid, &wstatus, 0) < 0 && errno == EINTR)
        ;
    if (how == WAIT_STOPPED && st == ST_OK)
        return fail(e, ST_EINTERRUPTED, "interrupted; `qbench run` with --resume does what is left");
    bool all = true;
    for (int i = 0; i < g->n; i++)
        all = all && g->done[i];
    if (st != ST_OK || all)
        return st;
    int lost = g->current >= 0 && !g->done[g->current] ? g->current : 0;
    while (g->done[lost])
        lost++;
    struct result *result = &g->results[lost];
    result_clear(result); /* half a measurement is none */
    result->outcome = how == WAIT_TIMEOUT ? OUTCOME_TIMEOUT : OUTCOME_FAILED;
    describe_death(g, wstatus, how, result->reason, sizeof result->reason);
    return store_one(r, g->index[lost], result, e);
}

static enum status skip_case(struct runner *r, size_t i, struct err *e)
{
    struct result result = {.outcome = OUTCOME_SKIPPED};
    snprintf(result.reason, sizeof result.reason, "%s", r->cases[i].skip);
    return store_one(r, i, &result, e);
}

/* The first unfinished case and those after it that can share its child. */
static void make_group(struct runner *r, size_t first, struct group *g)
{
    *g = (struct group){.cases = r->cases, .current = -1};
    long most = r->cases[first].settings.group_cases;
    for (size_t i = first; i < r->n && g->n < GROUP_MAX && g->n < most; i++) {
        if (r->finished[i] || r->cases[i].skip[0])
            continue;
        if (g->n && !same_group(&r->cases[first], &r->cases[i]))
            break;
        g->index[g->n++] = i;
        if (r->cases[i].work->alone)
            break;
    }
}

static enum status mark_stored(struct runner *r, struct err *e)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && r->o->store && i < r->n; i++) {
        st = store_has(r->o->store, r->o->run_id, r->cases[i].key, &r->finished[i], e);
        r->summary->resumed += r->finished[i];
    }
    if (st == ST_OK && r->summary->resumed)
        st = store_outcomes(r->o->store, r->o->run_id, r->summary->outcomes, e);
    return st;
}

enum status run_cases(struct bench_case *cases, size_t n, const struct run_options *o, struct run_summary *summary, struct err *e)
{
    struct runner r = {.cases = cases, .n = n, .o = o, .summary = summary, .started = now_seconds()};
    *summary = (struct run_summary){0};
    r.finished = calloc(n + 1, sizeof *r.finished);
    if (!r.finished)
        return fail(e, ST_ENOMEM, "no memory for %zu cases", n);
    signal(SIGPIPE, SIG_IGN);
    enum status st = mark_stored(&r, e);
    progress_start(&r.progress, cases, n, r.finished, o->quiet);
    for (size_t i = 0; st == ST_OK && i < n; i++)
        while (st == ST_OK && !r.finished[i]) {
            struct group g;
            if (cases[i].skip[0]) {
                st = skip_case(&r, i, e);
                continue;
            }
            make_group(&r, i, &g);
            st = run_group(&r, &g, e);
            for (int j = 0; j < g.n; j++)
                result_clear(&g.results[j]);
        }
    progress_end(&r.progress);
    free(r.finished);
    summary->seconds = now_seconds() - r.started;
    return st;
}

int run_exit_code(const struct run_summary *s)
{
    const size_t *o = s->outcomes;
    if (o[OUTCOME_WRONG])
        return 4;
    bool measured = o[OUTCOME_OK] + o[OUTCOME_UNTRUSTED] > 0;
    return o[OUTCOME_FAILED] || o[OUTCOME_TIMEOUT] || !measured ? 3 : 0;
}

double run_estimate(const struct bench_case *c)
{
    const struct settings *s = &c->settings;
    if (c->skip[0])
        return 0;
    if (!c->work->once)
        return 1.5;
    return (double)s->samples * s->sample_seconds * 1.3 + s->warmup_seconds + 0.5;
}
