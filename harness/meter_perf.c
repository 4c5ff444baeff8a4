/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <linux/perf_event.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "meter.h"
#include "sysfs.h"

/*
 * Each event stands alone: a virtual machine may offer the software events and no hardware ones. Counters run from open to
 * close and differences are taken, so that starting one costs a read. inherit covers the threads created after open.
 */
enum nudge {
    NUDGE_BUSY = 1, /* any running program advances it */
    NUDGE_SLEEP,    /* sleeping does */
    NUDGE_TOUCH,    /* touching new pages does */
    NUDGE_NONE,     /* 0 over the probe says nothing */
};

static const struct event {
    uint32_t type;
    uint64_t config;
    double unit;       /* of one count, in the metric's unit */
    enum nudge nudge;
    bool kernel_only;  /* always 0 when kernel mode may not be counted */
} events[] = {
    {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_TASK_CLOCK, 1e-9, NUDGE_BUSY, false},
    {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES, 1, NUDGE_SLEEP, true},
    {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, 1, NUDGE_TOUCH, false},
    {PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_MIGRATIONS, 1, NUDGE_NONE, true},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES, 1, NUDGE_BUSY, false},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_INSTRUCTIONS, 1, NUDGE_BUSY, false},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_CACHE_MISSES, 1, NUDGE_TOUCH, false},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_BRANCH_MISSES, 1, NUDGE_BUSY, false},
    {PERF_TYPE_HARDWARE, PERF_COUNT_HW_REF_CPU_CYCLES, 1, NUDGE_BUSY, false},
};
static const struct metric metrics[] = {
    {"task_clock", "s"},  {"context_switches", "1"}, {"page_faults", "1"},   {"cpu_migrations", "1"}, {"cycles", "1"},
    {"instructions", "1"}, {"cache_misses", "1"},     {"branch_misses", "1"}, {"ref_cycles", "1"},     {0},
};
enum { EVENTS = sizeof events / sizeof *events };
_Static_assert(sizeof metrics / sizeof *metrics == EVENTS + 1, "a metric per event");
_Static_assert((int)EVENTS <= (int)METER_METRICS_MAX, "readings must fit");

static const double probe_seconds = 0.01;

/* What PERF_FORMAT_TOTAL_TIME_ENABLED | RUNNING gives. */
struct count {
    uint64_t value, enabled, running;
};

struct counter {
    int fd; /* -1: unavailable, for this reason */
    bool user_only;
    char reason[160];
    double probe; /* what it counted while it was probed */
    struct count begin;
};

struct gauge {
    const struct meter_env *env;
    struct counter counter[EVENTS];
    double started;
};

extern const struct meter meter_perf;

static bool read_count(const struct gauge *g, const struct counter *c, struct count *out)
{
    return g->env->perf_read(c->fd, out, sizeof *out) == (long)sizeof *out;
}

static void explain(char *buf, size_t n, const struct gauge *g, const struct event *ev, int error)
{
    char level[16];
    bool hardware = ev->type == PERF_TYPE_HARDWARE;
    if (error == ENOENT || error == ENODEV || error == EOPNOTSUPP || error == ENXIO)
        snprintf(buf, n, "not offered by this kernel%s", hardware ? " or virtual machine" : "");
    else if (error == EACCES || error == EPERM)
        snprintf(buf, n, "permission denied: perf_event_paranoid is %s; needs 2 or less, or CAP_PERFMON",
                 sysfs_line(level, sizeof level, g->env->sysroot, "/proc/sys/kernel/perf_event_paranoid") ? level : "unknown");
    else if (error == ENOSYS)
        snprintf(buf, n, "this kernel (or a sandbox) has no perf events");
    else
        snprintf(buf, n, "perf_event_open: %s", strerror(error));
}

static int open_event(const struct gauge *g, const struct event *ev, bool user_only)
{
    struct perf_event_attr attr = {
        .type = ev->type, .size = sizeof attr, .config = ev->config, .inherit = 1, .exclude_hv = user_only, .exclude_kernel = user_only,
        .read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING};
    return g->env->perf_open(&attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static void open_counter(struct gauge *g, int i)
{
    struct counter *c = &g->counter[i];
    c->fd = open_event(g, &events[i], false);
    if ((c->fd == -EACCES || c->fd == -EPERM) && !events[i].kernel_only) {
        c->user_only = true;
        c->fd = open_event(g, &events[i], true);
    }
    if (c->fd >= 0)
        return;
    explain(c->reason, sizeof c->reason, g, &events[i], -c->fd);
    if (events[i].kernel_only && (c->fd == -EACCES || c->fd == -EPERM))
        snprintf(c->reason, sizeof c->reason, "counts in kernel mode alone: set kernel.perf_event_paranoid to 1 or less, or give CAP_PERFMON");
    c->fd = -1;
}

static void shut(struct counter *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void touch_pages(void)
{
    const size_t bytes = 1 << 20;
    volatile char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return;
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    munmap((void *)p, bytes);
}

static void probe(struct gauge *g)
{
    const struct clock *clock = g->env->clock;
    bool read[EVENTS] = {false};
    for (int i = 0; i < EVENTS; i++)
        read[i] = g->counter[i].fd >= 0 && read_count(g, &g->counter[i], &g->counter[i].begin);
    clock->busy(clock->ctx, probe_seconds);
    clock->idle(clock->ctx, probe_seconds / 10);
    touch_pages();
    for (int i = 0; i < EVENTS; i++) {
        struct counter *c = &g->counter[i];
        struct count end;
        if (c->fd < 0)
            continue;
        if (!read[i] || !read_count(g, c, &end)) {
            snprintf(c->reason, sizeof c->reason, "opens but cannot be read");
            shut(c);
            continue;
        }
        c->probe = (double)(end.value - c->begin.value) * events[i].unit;
        if (end.value == c->begin.value && events[i].nudge != NUDGE_NONE) {
            snprintf(c->reason, sizeof c->reason, "opens but reads 0 over a %.0f ms busy loop (a phantom counter)", 1e3 * probe_seconds);
            shut(c);
        }
    }
}

static int alive(const struct gauge *g)
{
    int n = 0;
    for (int i = 0; i < EVENTS; i++)
        n += g->counter[i].fd >= 0;
    return n;
}

static void perf_close(struct gauge *g)
{
    for (int i = 0; g && i < EVENTS; i++)
        shut(&g->counter[i]);
    mem_free(g);
}

static enum status perf_open(struct gauge **out, const struct meter_env *env, struct err *e)
{
    *out = NULL;
    struct gauge *g = mem_alloc(1, sizeof *g);
    if (!g)
        return fail(e, ST_ENOMEM, "no memory for perf counters");
    g->env = env;
    for (int i = 0; i < EVENTS; i++)
        open_counter(g, i);
    probe(g);
    if (!alive(g)) {
        enum status s = fail(e, ST_EUNSUPPORTED, "perf events: %s", g->counter[0].reason);
        perf_close(g);
        return s;
    }
    *out = g;
    return ST_OK;
}

static void perf_start(struct gauge *g)
{
    g->started = g->env->clock->now(g->env->clock->ctx);
    for (int i = 0; i < EVENTS; i++) {
        struct counter *c = &g->counter[i];
        if (c->fd >= 0 && !read_count(g, c, &c->begin))
            c->begin = (struct count){.value = UINT64_MAX};
    }
}

static void take(const struct gauge *g, int i, struct reading *r)
{
    const struct counter *c = &g->counter[i];
    struct count end, d;
    snprintf(r->source, sizeof r->source, "perf %s%s", metrics[i].name, c->user_only ? ":u" : "");
    if (c->fd < 0) {
        reading_reason(r, READING_UNAVAILABLE, "%s", c->reason);
        return;
    }
    if (!read_count(g, c, &end) || end.value < c->begin.value) {
        reading_reason(r, READING_INVALID, "the counter could not be read");
        return;
    }
    d = (struct count){end.value - c->begin.value, end.enabled - c->begin.enabled, end.running - c->begin.running};
    r->enabled_seconds = (double)d.enabled * 1e-9;
    r->running_seconds = (double)d.running * 1e-9;
    if (d.enabled && !d.running) {
        reading_reason(r, READING_INVALID, "never had a hardware counter during this window: too many events at once");
        return;
    }
    r->value = (double)d.value * events[i].unit;
    r->status = READING_MEASURED;
    if (d.running < d.enabled) {
        r->value *= (double)d.enabled / (double)d.running;
        reading_reason(r, READING_ESTIMATED, "counted %.0f %% of the time and scaled up", 100.0 * (double)d.running / (double)d.enabled);
    }
}

static int perf_stop(struct gauge *g, struct reading *out)
{
    for (int i = 0; i < EVENTS; i++) {
        reading_init(&out[i], &meter_perf, &metrics[i]);
        take(g, i, &out[i]);
    }
    double window = g->env->clock->now(g->env->clock->ctx) - g->started;
    for (int i = 0; i < EVENTS; i++)
        out[i].window_seconds = window;
    return EVENTS;
}

static int perf_describe(struct gauge *g, char *out, size_t n)
{
    size_t used = 0;
    if (n)
        out[0] = 0;
    for (int i = 0; i < EVENTS && used < n; i++) {
        const struct counter *c = &g->counter[i];
        if (c->fd >= 0)
            used += (size_t)snprintf(out + used, n - used, "%s: works, %.6g%s over a %.0f ms probe%s\n", metrics[i].name, c->probe,
                                     i == 0 ? " s" : "", 1e3 * probe_seconds, c->user_only ? " (user mode only)" : "");
        else
            used += (size_t)snprintf(out + used, n - used, "%s: %s\n", metrics[i].name, c->reason);
    }
    return alive(g);
}

const struct meter meter_perf = {
    .name = "perf",
    .title = "the kernel's software events and the CPU's counters, of this process with all its threads",
    .metrics = metrics,
    .scope = SCOPE_SAMPLE,
    .open = perf_open,
    .start = perf_start,
    .stop = perf_stop,
    .close = perf_close,
    .describe = perf_describe,
};
