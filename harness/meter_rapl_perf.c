/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rapl.h"
#include "sysfs.h"

/*
 * The kernel's power PMU: one event per domain, opened on one CPU of each package (cpumask), of no process. It counts in 64 bits
 * and follows the hardware's wraps by itself.
 */
#define PMU "/sys/bus/event_source/devices/power"
enum { PACKAGES_MAX = 16 };

extern const struct meter meter_rapl_perf;

static const char *const event_names[RAPL_KINDS] = {"energy-pkg", "energy-ram", "energy-psys"};

struct pmu_event {
    uint32_t type;
    uint64_t config;
    double scale; /* joules a count */
};

static bool read_counts(const struct meter_env *env, const struct rapl_domain *d, uint64_t *counts)
{
    return env->perf_read(d->fd, counts, sizeof *counts) == (long)sizeof *counts;
}

/* "event=0x02": the PMU's format puts it in the lowest bits of config. */
static bool read_event(struct pmu_event *ev, const char *sysroot, const char *name, char *why, size_t n)
{
    char text[64], scale[64], unit[32], *end;
    if (!sysfs_line(text, sizeof text, sysroot, PMU "/events/%s", name)) {
        snprintf(why, n, "the kernel's power PMU has no %s", name);
        return false;
    }
    bool ok = strncmp(text, "event=", 6) == 0 && sysfs_line(scale, sizeof scale, sysroot, PMU "/events/%s.scale", name) &&
              sysfs_line(unit, sizeof unit, sysroot, PMU "/events/%s.unit", name) && strcmp(unit, "Joules") == 0;
    if (ok) {
        ev->config = strtoull(text + 6, NULL, 0);
        ev->scale = strtod(scale, &end);
        ok = end != scale && ev->scale > 0;
    }
    if (!ok)
        snprintf(why, n, "%s/events/%s* are not understood (event, scale, unit)", PMU, name);
    return ok;
}

static void explain(struct rapl_domain *d, const char *event, const struct meter_env *env, int error)
{
    char level[16];
    if (error == EACCES || error == EPERM)
        snprintf(d->reason, sizeof d->reason, "%s: permission denied; run as root, or set kernel.perf_event_paranoid (now %s) to 0", event,
                 sysfs_line(level, sizeof level, env->sysroot, "/proc/sys/kernel/perf_event_paranoid") ? level : "unknown");
    else if (error == ENOENT || error == ENODEV || error == EOPNOTSUPP || error == ENXIO || error == EINVAL)
        snprintf(d->reason, sizeof d->reason, "%s: not offered by this kernel or virtual machine (%s)", event, strerror(error));
    else
        snprintf(d->reason, sizeof d->reason, "%s: perf_event_open: %s", event, strerror(error));
}

static void open_kind(struct gauge *g, enum rapl_kind kind, const struct pmu_event *ev, const int *cpus, int n)
{
    for (int i = 0; i < n; i++) {
        struct rapl_domain *d = rapl_add(g, kind);
        if (!d)
            return;
        struct perf_event_attr attr = {.type = ev->type, .size = sizeof attr, .config = ev->config};
        snprintf(d->label, sizeof d->label, "%s@cpu%d", event_names[kind], cpus[i]);
        d->joules_per_count = ev->scale;
        d->fd = g->env->perf_open(&attr, -1, cpus[i], -1, PERF_FLAG_FD_CLOEXEC);
        if (d->fd < 0)
            explain(d, d->label, g->env, -d->fd);
    }
}

static enum status find_domains(struct gauge *g, struct err *e)
{
    char list[256];
    uint64_t type;
    int cpus[PACKAGES_MAX];
    const char *root = g->env->sysroot;
    if (!sysfs_u64(&type, root, PMU "/type"))
        return fail(e, ST_EUNSUPPORTED, "the kernel has no power PMU (%s%s)", root, PMU);
    if (!sysfs_line(list, sizeof list, root, PMU "/cpumask"))
        return fail(e, ST_EUNSUPPORTED, "%s%s/cpumask cannot be read", root, PMU);
    int n = sysfs_cpulist(list, cpus, PACKAGES_MAX);
    if (n < 1 || n > PACKAGES_MAX)
        return fail(e, ST_EUNSUPPORTED, "%s%s/cpumask is '%s': 1 to %d CPUs were expected", root, PMU, list, PACKAGES_MAX);
    for (int k = 0; k < RAPL_KINDS; k++) {
        struct pmu_event ev = {.type = (uint32_t)type};
        if (read_event(&ev, root, event_names[k], g->missing[k], sizeof g->missing[k]))
            open_kind(g, (enum rapl_kind)k, &ev, cpus, n);
    }
    return ST_OK;
}

static enum status open_domains(struct gauge **out, const struct meter_env *env, struct err *e)
{
    return rapl_open(out, &meter_rapl_perf, env, find_domains, read_counts, e);
}

const struct meter meter_rapl_perf = {
    .name = "rapl_perf",
    .title = "energy of the whole package, from the kernel's power PMU",
    .metrics = rapl_metrics,
    .scope = SCOPE_BLOCK,
    .min_window_seconds = 1.0,
    .floor_seconds = 0.1,
    .poll_seconds = 10,
    .open = open_domains,
    .start = rapl_start,
    .poll = rapl_poll,
    .stop = rapl_stop,
    .close = rapl_close,
    .describe = rapl_describe,
};
