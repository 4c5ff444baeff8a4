/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "rapl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const rapl_kind_names[RAPL_KINDS] = {"package", "dram", "psys"};
const struct metric rapl_metrics[RAPL_METRICS + 1] = {
    {"package_joules", "J"}, {"dram_joules", "J"}, {"psys_joules", "J"}, {"total_joules", "J"},
    {"package_watts", "W"},  {"dram_watts", "W"},  {"psys_watts", "W"},  {"total_watts", "W"},
    {0},
};

static const double probe_seconds = 0.2; /* counters are updated every millisecond */

/* The sum over the domains of one kind in one window. */
struct sum {
    int domains, alive;
    double joules;
    char source[64];
    const char *reason;  /* NULL: joules is measured */
    enum reading_status status;
};

struct rapl_domain *rapl_add(struct gauge *g, enum rapl_kind kind)
{
    if (g->n == RAPL_DOMAINS_MAX)
        return NULL;
    struct rapl_domain *d = &g->domain[g->n++];
    *d = (struct rapl_domain){.kind = kind, .fd = -1};
    return d;
}

static double now(const struct gauge *g) { return g->env->clock->now(g->env->clock->ctx); }

static void spoil(struct rapl_domain *d, const char *what)
{
    char label[sizeof d->label];
    memcpy(label, d->label, sizeof label);
    if (!d->spoilt)
        snprintf(d->trouble, sizeof d->trouble, "%s: %s", label, what);
    d->spoilt = true;
}

static void advance(struct rapl_domain *d, uint64_t counts, double seconds)
{
    char text[96];
    double gap = seconds - d->last_seconds, wrap_seconds = (double)d->range * d->joules_per_count / RAPL_WATTS_MAX;
    uint64_t delta = counts - d->last;
    if (counts < d->last) {
        if (!d->range || d->last > d->range)
            spoil(d, "went backwards, and the range in which it wraps is unknown");
        delta = counts + d->range - d->last;
    }
    if (d->range && gap > wrap_seconds / 2) {
        snprintf(text, sizeof text, "was not read for %.0f s and may have wrapped twice", gap);
        spoil(d, text);
    }
    d->joules += (double)delta * d->joules_per_count;
    d->last = counts;
    d->last_seconds = seconds;
}

/* A fresh window: forgets what went wrong in the last one. */
static void begin(struct gauge *g, struct rapl_domain *d)
{
    d->joules = 0;
    d->spoilt = false;
    d->last_seconds = now(g);
    if (!g->read(g->env, d, &d->last))
        spoil(d, "could not be read");
}

static void look(struct gauge *g, struct rapl_domain *d)
{
    uint64_t counts;
    if (g->read(g->env, d, &counts))
        advance(d, counts, now(g));
    else
        spoil(d, "could not be read");
}

static void judge(struct rapl_domain *d)
{
    char label[sizeof d->label];
    memcpy(label, d->label, sizeof label);
    if (d->spoilt)
        memcpy(d->reason, d->trouble, sizeof d->reason);
    else if (!(d->joules > 0))
        snprintf(d->reason, sizeof d->reason, "%s opens but reads 0 J over a %.1f s busy loop (a phantom counter of the hypervisor)", label,
                 probe_seconds);
    else
        d->alive = true;
}

static enum status probe(struct gauge *g, struct err *e)
{
    int alive = 0;
    bool *tried = mem_alloc(RAPL_DOMAINS_MAX, sizeof *tried);
    if (!tried)
        return fail(e, ST_ENOMEM, "no memory to probe energy counters");
    for (int i = 0; i < g->n; i++)
        if ((tried[i] = !g->domain[i].reason[0]))
            begin(g, &g->domain[i]);
    g->env->clock->busy(g->env->clock->ctx, probe_seconds);
    for (int i = 0; i < g->n; i++) {
        if (!tried[i])
            continue;
        look(g, &g->domain[i]);
        judge(&g->domain[i]);
        alive += g->domain[i].alive;
    }
    mem_free(tried);
    if (alive)
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "%s", g->n ? g->domain[0].reason : g->missing[RAPL_PACKAGE]);
}

enum status rapl_open(struct gauge **out, const struct meter *meter, const struct meter_env *env, rapl_find *find, rapl_read *read,
                      struct err *e)
{
    *out = NULL;
    struct gauge *g = mem_alloc(1, sizeof *g);
    if (!g)
        return fail(e, ST_ENOMEM, "no memory for energy counters");
    *g = (struct gauge){.meter = meter, .env = env, .read = read};
    enum status s = find(g, e);
    if (s == ST_OK)
        s = probe(g, e);
    if (s == ST_OK)
        *out = g;
    else
        rapl_close(g);
    return s;
}

void rapl_close(struct gauge *g)
{
    for (int i = 0; g && i < g->n; i++)
        if (g->domain[i].fd >= 0)
            close(g->domain[i].fd);
    mem_free(g);
}

void rapl_start(struct gauge *g)
{
    for (int i = 0; i < g->n; i++)
        if (g->domain[i].alive)
            begin(g, &g->domain[i]);
    g->started = now(g);
}

void rapl_poll(struct gauge *g)
{
    for (int i = 0; i < g->n; i++)
        if (g->domain[i].alive)
            look(g, &g->domain[i]);
}

static void add_source(struct sum *s, const struct rapl_domain *d)
{
    size_t used = strlen(s->source);
    snprintf(s->source + used, sizeof s->source - used, "%s%s", used ? " + " : "", d->label);
}

/* All packages (or drams) together, or none: a socket left out would make a figure that looks whole. Of psys, which some
 * machines show once a socket but feed in one, what lives is enough. */
static struct sum sum_kind(const struct gauge *g, enum rapl_kind kind)
{
    struct sum s = {.status = READING_UNAVAILABLE};
    const char *dead = NULL, *spoilt = NULL;
    for (int i = 0; i < g->n; i++) {
        const struct rapl_domain *d = &g->domain[i];
        if (d->kind != kind)
            continue;
        s.domains++;
        if (!d->alive) {
            dead = dead ? dead : d->reason;
            continue;
        }
        s.alive++;
        s.joules += d->joules;
        spoilt = spoilt ? spoilt : d->spoilt ? d->trouble : NULL;
        add_source(&s, d);
    }
    if (!s.alive || (dead && kind != RAPL_PSYS)) {
        s.reason = dead ? dead : g->missing[kind];
    } else if (spoilt) {
        s.reason = spoilt;
        s.status = READING_INVALID;
    } else {
        s.status = READING_MEASURED;
    }
    return s;
}

/* Dram that is not there, or dead, is left out, and the source tells. */
static struct sum sum_total(const struct sum kinds[RAPL_KINDS])
{
    const struct sum *package = &kinds[RAPL_PACKAGE], *dram = &kinds[RAPL_DRAM];
    if (kinds[RAPL_PSYS].alive)
        return kinds[RAPL_PSYS];
    struct sum s = *package;
    if (package->status != READING_MEASURED || dram->status == READING_UNAVAILABLE)
        return s;
    s.joules += dram->joules;
    snprintf(s.source, sizeof s.source, "all packages + all dram");
    s.reason = dram->reason;
    s.status = dram->status;
    return s;
}

static void fill(struct reading *x, const struct gauge *g, int metric, const struct sum *s, double window)
{
    bool watts = metric >= RAPL_METRICS / 2;
    reading_init(x, g->meter, &rapl_metrics[metric]);
    snprintf(x->source, sizeof x->source, "%.12s %.50s", g->meter->name + strlen("rapl_"), s->source);
    x->window_seconds = window;
    if (s->status != READING_MEASURED) {
        reading_reason(x, s->status, "%s", s->reason);
    } else if (window < g->meter->floor_seconds) {
        reading_reason(x, READING_INVALID, "a window of %.0f ms is too short; the least is %.0f ms", 1e3 * window,
                       1e3 * g->meter->floor_seconds);
    } else {
        x->status = READING_MEASURED;
        x->value = watts ? s->joules / window : s->joules;
    }
}

int rapl_stop(struct gauge *g, struct reading *out)
{
    rapl_poll(g);
    double window = now(g) - g->started;
    struct sum sums[RAPL_KINDS + 1];
    for (int k = 0; k < RAPL_KINDS; k++)
        sums[k] = sum_kind(g, (enum rapl_kind)k);
    sums[RAPL_KINDS] = sum_total(sums);
    for (int i = 0; i < RAPL_METRICS; i++)
        fill(&out[i], g, i, &sums[i % (RAPL_KINDS + 1)], window);
    return RAPL_METRICS;
}

int rapl_describe(struct gauge *g, char *out, size_t n)
{
    size_t used = 0;
    int alive = 0;
    if (n)
        out[0] = 0;
    for (int i = 0; i < g->n; i++) {
        const struct rapl_domain *d = &g->domain[i];
        alive += d->alive;
        if (used < n && d->alive)
            used += (size_t)snprintf(out + used, n - used, "%s: works\n", d->label);
        else if (used < n)
            used += (size_t)snprintf(out + used, n - used, "%s\n", d->reason);
    }
    for (int k = 0; k < RAPL_KINDS && used < n; k++)
        if (g->missing[k][0])
            used += (size_t)snprintf(out + used, n - used, "%s: %s\n", rapl_kind_names[k], g->missing[k]);
    return alive;
}
