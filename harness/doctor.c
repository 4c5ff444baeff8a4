/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "doctor.h"

#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blas.h"
#include "cpu.h"
#include "host.h"
#include "kernel.h"
#include "likwid_probe.h"
#include "par.h"
#include "stats.h"

static const char *const state_names[] = {"works", "partly", "missing"};

static struct doctor_row *add(struct doctor *d, const char *what, bool required)
{
    struct doctor_row *r = &d->row[d->n++];
    *r = (struct doctor_row){.what = what, .required = required};
    return r;
}

static void say(struct doctor_row *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct doctor_row *r, const char *fmt, ...)
{
    size_t used = strlen(r->detail);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->detail + used, sizeof r->detail - used, fmt, ap);
    va_end(ap);
}

static void ail(struct doctor_row *r, enum doctor_state state, const char *advice)
{
    r->state = state;
    snprintf(r->advice, sizeof r->advice, "%s", advice);
}

static void examine_cpu(struct doctor *d, const char *sysroot)
{
    struct doctor_row *r = add(d, "cpu", false);
    struct machine m;
    struct err e = {0};
    if (machine_read(&m, sysroot, &e) != ST_OK) {
        say(r, "%s", e.text);
        ail(r, DOCTOR_MISSING, "free some memory");
        return;
    }
    const char *guest = json_string_value(json_object_get(m.json, "hypervisor"));
    bool virtual_machine = guest && strcmp(guest, "none") != 0;
    say(r, "%s, %lld cores, %lld threads", json_string_value(json_object_get(m.json, "cpu")),
        (long long)json_integer_value(json_object_get(m.json, "cores")), (long long)json_integer_value(json_object_get(m.json, "threads")));
    if (virtual_machine)
        say(r, " (guest of %s)", guest);
    machine_close(&m);
}

static void examine_isa(struct doctor *d)
{
    struct doctor_row *r = add(d, "isa", false);
    char text[160];
    cpu_isa_text(cpu_isa(), text, sizeof text);
    say(r, "%s", text);
    uint32_t masked = cpu_isa_detected() & ~cpu_isa();
    if (masked) {
        cpu_isa_text(masked, text, sizeof text);
        say(r, "; masked: %s", text);
        ail(r, DOCTOR_PARTLY, "leave --isa out to use it all");
    }
}

static void examine_kernels(struct doctor *d)
{
    struct doctor_row *r = add(d, "kernels", true);
    for (int f = 0; f < FORMAT_COUNT; f++) {
        struct err e = {0};
        const struct kernel *k = kernel_best((enum format)f, kernel_act((enum format)f), 0, false, &e);
        say(r, "%s%s", f ? ", " : "", k ? k->name : e.text);
        if (!k)
            ail(r, DOCTOR_MISSING, "use another --isa, or a build for this CPU");
    }
}

/* What OpenBLAS says of itself when nobody told it which kernels to use; in a child, since a library is loaded once. */
static void core_by_itself(char *buf, size_t n)
{
    int ends[2];
    snprintf(buf, n, "%s", "");
    void *loaded = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_NOLOAD);
    if (loaded)
        dlclose(loaded);
    if (loaded || pipe(ends) != 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        char *(*corename)(void) = NULL;
        unsetenv("OPENBLAS_CORETYPE");
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        const char *path = getenv("QBENCH_OPENBLAS");
        void *handle = dlopen(path && *path ? path : "libopenblas.so.0", RTLD_NOW | RTLD_LOCAL), *address;
        if (handle && (address = dlsym(handle, "openblas_get_corename")))
            memcpy(&corename, &address, sizeof corename);
        const char *name = corename ? corename() : "";
        _exit(write(ends[1], name, strlen(name)) < 0);
    }
    close(ends[1]);
    ssize_t got = pid > 0 ? read(ends[0], buf, n - 1) : 0;
    buf[got > 0 ? got : 0] = 0;
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
}

static void examine_blas(struct doctor *d)
{
    struct doctor_row *r = add(d, "openblas", true);
    char alone[64];
    struct err e = {0};
    core_by_itself(alone, sizeof alone);
    const struct blas *blas = blas_get(&e);
    if (!blas) {
        say(r, "%s", e.text);
        ail(r, DOCTOR_MISSING, "make deps");
        return;
    }
    say(r, "%s runs %s", blas->version, blas->core);
    if (blas->mismatch) {
        say(r, ", not %s: no fair fp32 baseline", blas->wanted);
        ail(r, DOCTOR_PARTLY, "install a newer OpenBLAS");
    } else if (alone[0] && strcmp(alone, blas->core) != 0) {
        say(r, " (by itself: %s)", alone);
    }
}

struct pinned {
    int *cpu; /* (threads) that a thread is pinned to; -1: to none */
};

static void look_where(void *ctx, int thread, int threads)
{
    struct pinned *p = ctx;
    cpu_set_t set;
    bool one = sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1;
    p->cpu[thread] = one ? sched_getcpu() : -1;
}

static void examine_threads(struct doctor *d)
{
    struct doctor_row *r = add(d, "threads", true);
    int cpus = host_cpus(), pinned = 0;
    struct pinned p = {mem_alloc((size_t)cpus, sizeof *p.cpu)};
    struct par *par = NULL;
    struct err e = {0};
    if (!p.cpu || par_open(&par, cpus, &e) != ST_OK) {
        say(r, "%s", p.cpu ? e.text : "no memory");
        ail(r, DOCTOR_MISSING, "raise the limit on processes (ulimit -u)");
        mem_free(p.cpu);
        return;
    }
    par_run(par, look_where, &p);
    par_close(par);
    for (int i = 0; i < cpus; i++)
        pinned += p.cpu[i] >= 0;
    mem_free(p.cpu);
    say(r, "%d CPUs usable, ", cpus);
    if (pinned == cpus) {
        say(r, "a thread pinned to each");
    } else {
        say(r, "%d of %d threads could be pinned", pinned, cpus);
        ail(r, DOCTOR_PARTLY, "allow sched_setaffinity");
    }
}

static void examine_timer(struct doctor *d)
{
    struct doctor_row *r = add(d, "timer", false);
    enum { READS = 20000 };
    double least = INFINITY, start = now_seconds(), last = start;
    for (int i = 0; i < READS; i++) {
        double t = now_seconds();
        if (t > last && t - last < least)
            least = t - last;
        last = t;
    }
    double cost = (last - start) / READS;
    say(r, "CLOCK_MONOTONIC_RAW: steps of %.0f ns, %.0f ns a reading", least * 1e9, cost * 1e9);
    if (!(least < 1e-6) || cost > 1e-6)
        ail(r, DOCTOR_PARTLY, "use a faster clock source than this (tsc)");
}

static bool is_software(const char *metric)
{
    static const char *const list[] = {"task_clock", "context_switches", "page_faults", "cpu_migrations"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(list[i], metric))
            return true;
    return false;
}

/* One kind of perf events out of the readings of a probe. */
static void examine_events(struct doctor *d, const char *what, bool software, const struct reading *x, int n, const char *failed, const char *advice)
{
    struct doctor_row *r = add(d, what, false);
    int works = 0, all = 0;
    const struct reading *bad = NULL;
    for (int i = 0; i < n; i++)
        if (is_software(x[i].metric) == software) {
            bool good = x[i].status == READING_MEASURED || x[i].status == READING_ESTIMATED;
            if (good)
                say(r, "%s%s", works ? ", " : "", x[i].metric);
            else if (!bad)
                bad = &x[i];
            works += good;
            all++;
        }
    if (!works)
        say(r, "%s%s%s", bad ? bad->metric : "", bad ? ": " : "", bad ? bad->reason : failed);
    else if (bad)
        say(r, "; %s: %s", bad->metric, bad->reason);
    if (works < all || !all)
        ail(r, works ? DOCTOR_PARTLY : DOCTOR_MISSING, advice);
}

static void examine_perf(struct doctor *d, const struct meter_env *env)
{
    const struct meter *m = meter_find("perf");
    struct reading x[METER_METRICS_MAX];
    struct gauge *g = NULL;
    struct err e = {0};
    int n = 0;
    if (m->open(&g, env, &e) == ST_OK) {
        m->start(g);
        env->clock->busy(env->clock->ctx, 0.01);
        n = m->stop(g, x);
        m->close(g);
    }
    examine_events(d, "perf software", true, x, n, e.text, "sysctl kernel.perf_event_paranoid=1");
    examine_events(d, "perf hardware", false, x, n, e.text, "run on bare metal, or enable the vPMU");
}

static void examine_energy(struct doctor *d, const char *what, const char *meter, const struct meter_env *env)
{
    struct doctor_row *r = add(d, what, false);
    const struct meter *m = meter_find(meter);
    struct gauge *g = NULL;
    struct err e = {0};
    char text[1024], vendor[32];
    if (m->open(&g, env, &e) != ST_OK) {
        say(r, "%s", e.text);
        ail(r, DOCTOR_MISSING, strstr(e.text, "run as root") ? "run as root"
                               : cpu_hypervisor(vendor, sizeof vendor) ? "run on bare metal to get joules"
                                                                       : "load the kernel's rapl modules");
        return;
    }
    m->describe(g, text, sizeof text);
    m->close(g);
    for (char *p = text; *p; p++)
        if (*p == '\n')
            memmove(p, p[1] ? ";" : "", 1);
    say(r, "%s", text);
    if (strstr(text, "opens but") || strstr(text, "denied"))
        ail(r, DOCTOR_PARTLY, "joules cover the domains that work");
}

static void examine_likwid(struct doctor *d)
{
    struct doctor_row *r = add(d, "likwid", false);
    struct likwid_report l;
    struct err e = {0};
    if (likwid_probe(&l, &e) != ST_OK) {
        say(r, "%s", e.text);
        ail(r, DOCTOR_MISSING, "make deps");
        return;
    }
    if (l.reason[0])
        say(r, "%s", l.reason);
    else
        say(r, "topology, counters%s", l.joules > 0 ? ", energy" : "");
    if (l.cpu[0])
        say(r, "; it calls this CPU '%s'", l.cpu);
    if (!l.instructions)
        ail(r, l.topology ? DOCTOR_PARTLY : DOCTOR_MISSING, "bare metal, and a likwid that knows it");
}

static bool in_path(const char *program, char *found, size_t n)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        size_t length = strcspn(p, ":");
        snprintf(found, n, "%.*s/%s", (int)length, p, program);
        if (length && access(found, X_OK) == 0)
            return true;
        p += length + (p[length] == ':');
    }
    return false;
}

static void examine_gnuplot(struct doctor *d)
{
    struct doctor_row *r = add(d, "gnuplot", false);
    char found[PATH_MAX];
    if (in_path("gnuplot", found, sizeof found)) {
        say(r, "%s", found);
        return;
    }
    say(r, "not in PATH: no charts can be drawn");
    ail(r, DOCTOR_MISSING, "make deps");
}

static void examine_corpora(struct doctor *d, const char *folder)
{
    static const char *const names[] = {"kjv", "python", "man"};
    struct doctor_row *r = add(d, "corpora", false);
    char path[PATH_MAX];
    int present = 0;
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s.info", folder, names[i]);
        if (access(path, R_OK) == 0)
            say(r, "%s%s", present++ ? ", " : "", names[i]);
    }
    if (!present)
        say(r, "no text in %s: no preset can be trained", folder);
    else
        say(r, " in %s", folder);
    if (present < 3)
        ail(r, present ? DOCTOR_PARTLY : DOCTOR_MISSING, "make corpus");
}

static void examine_database(struct doctor *d, const char *db)
{
    struct doctor_row *r = add(d, "database", true);
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", db);
    const char *bad = access(dirname(path), W_OK | X_OK) != 0 ? path : access(db, F_OK) == 0 && access(db, R_OK | W_OK) != 0 ? db : NULL;
    if (!bad) {
        say(r, "%s can be written", db);
        return;
    }
    say(r, "%s: %s", bad, strerror(errno));
    ail(r, DOCTOR_MISSING, "make the folder, or use --db FILE");
}

static void examine_memory(struct doctor *d, const char *sysroot)
{
    struct doctor_row *r = add(d, "memory", false);
    const double enough = 4; /* what the largest shapes and presets of the shipped suites take, with their copies */
    double gib = (double)host_memory_available(sysroot) / 0x1p30;
    say(r, "%.1f GiB available", gib);
    if (gib == 0) {
        r->detail[0] = 0;
        say(r, "/proc/meminfo does not tell");
        ail(r, DOCTOR_PARTLY, "mount /proc");
    } else if (gib < enough) {
        ail(r, DOCTOR_PARTLY, "large cases will fail; free some");
    }
}

/* How much equal stretches of work differ: what the 10 % slowest take beyond the median. */
static double spread(void)
{
    enum { STRETCHES = 200 };
    double x[STRETCHES];
    for (int i = 0; i < STRETCHES; i++) {
        double start = now_seconds();
        for (int k = 0; k < 200000; k++)
            __asm__ volatile("" : : "r"(k)); /* else there is nothing to do */
        x[i] = now_seconds() - start;
    }
    return stats_quantile(x, STRETCHES, 0.9) / stats_median(x, STRETCHES) - 1;
}

static void examine_conditions(struct doctor *d, const char *sysroot)
{
    struct doctor_row *r = add(d, "conditions", false);
    json_t *c = conditions_read(sysroot, NULL);
    char warnings[1024];
    double slow = spread();
    const json_t *load = json_object_get(c, "load_1m");
    conditions_warn(c, NULL, warnings, sizeof warnings);
    if (load)
        say(r, "load %.2f, ", json_number_value(load));
    say(r, "one in ten stretches of work is %.0f %% slower", 100 * slow);
    if (warnings[0])
        say(r, "; %.*s", (int)strcspn(warnings, "\n"), warnings);
    if (warnings[0] || slow > 0.1)
        ail(r, DOCTOR_PARTLY, "stop what else runs; use more samples");
    json_decref(c);
}

void doctor_examine(struct doctor *d, const struct doctor_env *env)
{
    const char *sysroot = env->meters->sysroot;
    *d = (struct doctor){0};
    examine_cpu(d, sysroot);
    examine_isa(d);
    examine_blas(d); /* before the kernels, one of which loads the library */
    examine_kernels(d);
    examine_threads(d);
    examine_timer(d);
    examine_perf(d, env->meters);
    examine_energy(d, "rapl perf", "rapl_perf", env->meters);
    examine_energy(d, "rapl powercap", "rapl_powercap", env->meters);
    examine_likwid(d);
    examine_gnuplot(d);
    examine_corpora(d, env->corpora);
    examine_database(d, env->db);
    examine_memory(d, sysroot);
    examine_conditions(d, sysroot);
}

bool doctor_ready(const struct doctor *d)
{
    for (int i = 0; i < d->n; i++)
        if (d->row[i].required && d->row[i].state == DOCTOR_MISSING)
            return false;
    return true;
}

/* At most width characters of text, the last an ellipsis where some are left out. UTF-8 stays whole. */
static void clip(char *buf, size_t n, const char *text, int width)
{
    size_t used = 0, last = 0; /* last: where the width-th character begins */
    int shown = 0;
    for (; text[used]; used++)
        if (((unsigned char)text[used] & 0xc0) != 0x80 && ++shown == width)
            last = used;
    if (shown <= width)
        snprintf(buf, n, "%s", text);
    else
        snprintf(buf, n, "%.*s…", (int)last, text);
}

static int characters(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

/* Detail and advice in one cell, so that a row without advice has the whole width. */
static void put_brief(struct table *t, const struct doctor_row *r)
{
    enum { WIDTH = 110 - 24 }; /* less the columns before it */
    char detail[400], text[600];
    int advice = r->advice[0] ? characters(r->advice) + 3 : 0;
    clip(detail, sizeof detail, r->detail, WIDTH - advice);
    snprintf(text, sizeof text, "%s%s%s", detail, advice ? " → " : "", r->advice);
    table_text(t, 2, text);
}

struct table *doctor_table(const struct doctor *d, bool brief)
{
    struct table *t = table_new("What this machine can measure");
    if (!t)
        return NULL;
    table_column(t, "what", "", 0);
    table_column(t, "state", "", 0);
    table_column(t, brief ? "detail → what to do" : "detail", "", 0);
    if (!brief)
        table_column(t, "what to do", "", 0);
    for (int i = 0; i < d->n; i++) {
        const struct doctor_row *r = &d->row[i];
        table_row(t);
        table_text(t, 0, r->what);
        table_text(t, 1, state_names[r->state]);
        if (brief) {
            put_brief(t, r);
        } else {
            table_text(t, 2, r->detail);
            table_text(t, 3, r->advice);
        }
    }
    if (!doctor_ready(d))
        table_note(t, "not ready: kernels, openblas, threads and database must work");
    else if (brief)
        table_note(t, "ready to run; --format json shows every detail whole");
    return t;
}
