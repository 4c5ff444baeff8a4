/* Memory bandwidth: the roof of everything that is bound by moving weights. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "host.h"
#include "par.h"
#include "stream.h"
#include "work.h"

struct job {
    struct par *par;
    struct stream *stream;
    enum stream_op op;
    bool wrong; /* a timed pass did not find what was written */
};


static enum status find_op(const char *name, enum stream_op *op, struct err *e)
{
    for (int i = 0; i < STREAM_COUNT; i++)
        if (!strcmp(stream_names[i], name)) {
            *op = (enum stream_op)i;
            return ST_OK;
        }
    return fail(e, ST_EUSAGE, "op: bandwidth knows no '%s'; it moves by read, copy or triad", name);
}

static enum status resolve(struct bench_case *c, struct err *e)
{
    const size_t most = (size_t)1 << 30, unknown_cache = (size_t)64 << 20;
    enum stream_op op;
    char text[32];
    enum status s = find_op(case_text(c, "op"), &op, e);
    if (s != ST_OK || case_int(c, "bytes") > 0)
        return s;
    struct cpu_caches caches = cpu_caches();
    size_t bytes = 4 * (caches.l3 ? caches.l3 : caches.l2 ? caches.l2 : unknown_cache);
    snprintf(text, sizeof text, "%zu", bytes < most ? bytes : most);
    return case_set(c, "bytes", text, e);
}

static void close_job(struct job *j)
{
    if (!j)
        return;
    stream_close(j->stream);
    par_close(j->par);
    mem_free(j);
}

static enum status check_memory(size_t array, int arrays, struct err *e)
{
    size_t have = host_memory_available("");
    if (!have || array <= have / (size_t)arrays)
        return ST_OK;
    return fail(e, ST_ENOMEM, "bandwidth takes %d arrays of %zu MiB, but only %zu MiB of memory are available; use smaller bytes=", arrays,
                array >> 20, have >> 20);
}

static enum status open_job(struct job **out, const struct bench_case *c, struct err *e)
{
    *out = NULL;
    struct job *j = mem_alloc(1, sizeof *j);
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a bandwidth job");
    enum status s = find_op(case_text(c, "op"), &j->op, e);
    size_t array = (size_t)case_int(c, "bytes") / ((size_t)j->op + 1); /* bytes is what a pass touches */
    if (s == ST_OK)
        s = check_memory(array, (int)j->op + 1, e);
    if (s == ST_OK)
        s = par_open(&j->par, (int)case_int(c, "threads"), e);
    if (s == ST_OK)
        s = stream_open(&j->stream, j->op, array ? array : 1, j->par, e);
    if (s != ST_OK) {
        close_job(j);
        return s;
    }
    *out = j;
    return ST_OK;
}

static enum status check(struct job *j, struct err *e) { return stream_check(j->stream, e); }

static double once(struct job *j)
{
    double bytes = stream_run(j->stream, j->op);
    j->wrong |= bytes == 0;
    return bytes;
}

static void amounts(struct job *j, double *ops, double *bytes)
{
    *ops = 0;
    *bytes = 1;
}

static enum status results(struct job *j, struct emitter *m, struct err *e)
{
    if (j->wrong)
        return fail(e, ST_EWRONG, "bandwidth %s: a timed pass did not find in memory what was written there", stream_names[j->op]);
    emit_value(m, "footprint_bytes", "B", (double)stream_footprint(j->stream, j->op));
    emit_text(m, "loops", stream_isa(j->stream));
    return ST_OK;
}

const struct work work_bandwidth = {
    .name = "bandwidth",
    .unit = "byte",
    .title = "memory bandwidth by read, copy or triad, bytes counted as the program asks for them",
    .axes = "op bytes isa threads",
    .resolve = resolve,
    .open = open_job,
    .check = check,
    .once = once,
    .amounts = amounts,
    .results = results,
    .close = close_job,
    .alone = true,
};
