/* meter.h — a source of measurements around a sample or a block of samples; and the table of all of them (meters.def). */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_METER_H
#define QBENCH_METER_H

#include "base.h"

/*
 * "Opens" is not "works": open() probes over a busy loop that the counter advances, and fails with the reason in words where it does not.
 * A gauge that has opened reports each of its metrics at every stop, the dead ones as READING_UNAVAILABLE. Counters of threads are
 * inherited by threads that are created later: open gauges before the job opens its team, on the thread that will run it.
 * Nothing here allocates or prints between start and stop.
 */
struct clock {
    double (*now)(void *ctx);                     /* seconds, monotonic */
    void (*busy)(void *ctx, double seconds);      /* keeps a core busy: what a liveness probe measures */
    void (*idle)(void *ctx, double seconds);      /* sleeps */
    void *ctx;
};
extern const struct clock clock_real;

struct meter_env {
    const char *sysroot;       /* "" or a folder under which every sysfs and proc path is looked up */
    const struct clock *clock; /* the real one, or a test's virtual one */
    int (*perf_open)(void *attr, int pid, int cpu, int group, unsigned long flags); /* the perf_event_open call, or a test's script */
    long (*perf_read)(int fd, void *buf, size_t n); /* like perf_open, -errno where it fails */
};
void meter_env_real(struct meter_env *env, const char *sysroot);

struct metric {
    const char *name, *unit; /* "package_joules", "J" */
};
enum reading_status { READING_MEASURED, READING_ESTIMATED, READING_UNAVAILABLE, READING_INVALID };
extern const char *const reading_status_names[];

struct reading {
    const char *meter, *metric, *unit; /* static strings of the tables */
    char source[64];           /* "perf power/energy-pkg/", "powercap intel-rapl:0" */
    enum reading_status status;
    double value;              /* NaN unless measured or estimated */
    char reason[160];          /* why not */
    double window_seconds;     /* from start to stop */
    double enabled_seconds, running_seconds; /* perf, summed over threads: less running than enabled means that the counter shared its
                                                register; the value was scaled, is ESTIMATED and says so in reason. 0: no meaning */
    double idle_watts, net_value; /* energy: idle power around the block, value - idle * window; NaN elsewhere */
    int sample;                /* index, or -1 for the block */
};

enum { METER_METRICS_MAX = 16 };
enum scope { SCOPE_SAMPLE, SCOPE_BLOCK };
struct gauge; /* an opened meter */

struct meter {
    const char *name, *title;
    const struct metric *metrics; /* name == NULL ends it */
    enum scope scope;
    double min_window_seconds;    /* how long a block should last; 0: no matter */
    double floor_seconds;         /* a shorter window is READING_INVALID */
    double poll_seconds;          /* > 0: poll() must be called at least this often between start and stop (counters that wrap) */
    enum status (*open)(struct gauge **, const struct meter_env *, struct err *);
    void (*start)(struct gauge *);
    void (*poll)(struct gauge *);
    int (*stop)(struct gauge *, struct reading *out); /* how many of METER_METRICS_MAX it filled; sample is -1 */
    void (*close)(struct gauge *);
    /* for doctor: a line a metric in out ("task_clock: works, 10.02 ms over a 10 ms probe"); returns how many work */
    int (*describe)(struct gauge *, char *out, size_t n);
};
extern const struct meter *const meters[]; /* NULL-terminated */
const struct meter *meter_find(const char *name);

/* A reading without a value, for reasons in words; every field is set. */
void reading_init(struct reading *r, const struct meter *meter, const struct metric *metric);
void reading_reason(struct reading *r, enum reading_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
