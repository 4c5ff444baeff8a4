/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rapl.h"
#include "sysfs.h"

/*
 * The powercap tree: intel-rapl:<zone> is a package or psys, intel-rapl:<zone>:<subzone> a part of it, each called by the `name`
 * in it. /sys/class/powercap lists them all, flat. intel-rapl-mmio shows the same packages a second time.
 */
#define TREE "/sys/class/powercap"

extern const struct meter meter_rapl_powercap;

static bool read_counts(const struct meter_env *env, const struct rapl_domain *d, uint64_t *counts)
{
    return sysfs_u64(counts, env->sysroot, "%s/energy_uj", d->path);
}

static bool kind_of(const char *name, enum rapl_kind *kind)
{
    if (!strncmp(name, "package", 7))
        *kind = RAPL_PACKAGE;
    else if (!strcmp(name, "dram"))
        *kind = RAPL_DRAM;
    else if (!strcmp(name, "psys"))
        *kind = RAPL_PSYS;
    else
        return false; /* core, uncore and whatever else is within a package */
    return true;
}

/* What makes a domain itself, so that its twin is known: a package's name, a part with its package's name, a psys alone. */
static void label(char *buf, size_t n, const char *sysroot, const char *zone, enum rapl_kind kind, const char *name)
{
    char parent[64], package[48];
    const char *part = strrchr(zone, ':');
    snprintf(buf, n, "%.40s", name);
    if (kind != RAPL_DRAM)
        return;
    snprintf(parent, sizeof parent, "%.*s", (int)(part ? part - zone : 0), zone);
    if (sysfs_line(package, sizeof package, sysroot, TREE "/%s/name", parent))
        snprintf(buf, n, "dram of %.32s", package);
}

static bool known(const struct gauge *g, const char *text)
{
    for (int i = 0; i < g->n; i++)
        if (!strcmp(g->domain[i].label, text))
            return true;
    return false;
}

static void add_zone(struct gauge *g, const char *zone, bool twin)
{
    const char *root = g->env->sysroot;
    char name[48], text[48];
    enum rapl_kind kind;
    uint64_t counts;
    if (!sysfs_line(name, sizeof name, root, TREE "/%s/name", zone) || !kind_of(name, &kind))
        return;
    label(text, sizeof text, root, zone, kind, name);
    struct rapl_domain *d = twin && known(g, text) ? NULL : rapl_add(g, kind);
    if (!d)
        return;
    snprintf(d->label, sizeof d->label, "%s", text);
    snprintf(d->path, sizeof d->path, TREE "/%s", zone);
    d->joules_per_count = 1e-6;
    if (!sysfs_u64(&d->range, root, "%s/max_energy_range_uj", d->path))
        d->range = 0;
    errno = 0;
    if (!read_counts(g->env, d, &counts))
        snprintf(d->reason, sizeof d->reason, "%s: %.31s/energy_uj: %.25s; run as root or grant read access", text, zone,
                 errno ? strerror(errno) : "not a number");
}

static int by_name(const void *a, const void *b) { return strcmp(a, b); }

/* Zones by name, those of the MSRs first: '-' of intel-rapl-mmio would sort before ':'. */
static void add_zones(struct gauge *g, char (*zones)[64], int n)
{
    qsort(zones, (size_t)n, sizeof *zones, by_name);
    for (int mmio = 0; mmio < 2; mmio++)
        for (int i = 0; i < n; i++)
            if (!strncmp(zones[i], mmio ? "intel-rapl-mmio:" : "intel-rapl:", mmio ? 16 : 11))
                add_zone(g, zones[i], mmio);
}

static enum status find_domains(struct gauge *g, struct err *e)
{
    enum { ZONES_MAX = 256 };
    char path[PATH_MAX], (*zones)[64] = mem_alloc(ZONES_MAX, sizeof *zones);
    int n = 0;
    if (!zones)
        return fail(e, ST_ENOMEM, "no memory for energy counters");
    snprintf(path, sizeof path, "%s" TREE, g->env->sysroot);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && n < ZONES_MAX && (d = readdir(dir));)
        if (!strncmp(d->d_name, "intel-rapl", 10) && strchr(d->d_name, ':') && strlen(d->d_name) < sizeof *zones)
            strcpy(zones[n++], d->d_name);
    if (dir)
        closedir(dir);
    add_zones(g, zones, n);
    mem_free(zones);
    if (!dir)
        return fail(e, ST_EUNSUPPORTED, "no %s: this kernel or virtual machine shows no energy zones", path);
    if (!g->n)
        return fail(e, ST_EUNSUPPORTED, "%s has no intel-rapl zone: load the module intel_rapl_msr, or this machine has none", path);
    for (int k = 0; k < RAPL_KINDS; k++)
        snprintf(g->missing[k], sizeof g->missing[k], "no zone is called %s", rapl_kind_names[k]);
    for (int i = 0; i < g->n; i++)
        g->missing[g->domain[i].kind][0] = 0;
    return ST_OK;
}

static enum status open_domains(struct gauge **out, const struct meter_env *env, struct err *e)
{
    return rapl_open(out, &meter_rapl_powercap, env, find_domains, read_counts, e);
}

const struct meter meter_rapl_powercap = {
    .name = "rapl_powercap",
    .title = "energy of the whole package, from the powercap files",
    .metrics = rapl_metrics,
    .scope = SCOPE_BLOCK,
    .min_window_seconds = 1.0,
    .floor_seconds = 0.1,
    /* 32-bit counters of 15 to 61 µJ wrap after 65 kJ or more: 65 s at RAPL_WATTS_MAX, and half of that may pass between looks. */
    .poll_seconds = 10,
    .open = open_domains,
    .start = rapl_start,
    .poll = rapl_poll,
    .stop = rapl_stop,
    .close = rapl_close,
    .describe = rapl_describe,
};
