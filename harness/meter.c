/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "meter.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define METER(name) extern const struct meter meter_##name;
#include "meters.def"
#undef METER

const struct meter *const meters[] = {
#define METER(name) &meter_##name,
#include "meters.def"
#undef METER
    NULL,
};

const char *const reading_status_names[] = {"measured", "estimated", "unavailable", "invalid"};

const struct meter *meter_find(const char *name)
{
    for (int i = 0; meters[i]; i++)
        if (strcmp(meters[i]->name, name) == 0)
            return meters[i];
    return NULL;
}

void reading_init(struct reading *r, const struct meter *meter, const struct metric *metric)
{
    *r = (struct reading){.meter = meter->name, .metric = metric->name, .unit = metric->unit, .status = READING_UNAVAILABLE,
                          .value = NAN, .idle_watts = NAN, .net_value = NAN, .sample = -1};
}

void reading_reason(struct reading *r, enum reading_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->reason, sizeof r->reason, fmt, ap);
    va_end(ap);
    r->status = status;
}

static double real_now(void *ctx) { return now_seconds(); }

static void real_busy(void *ctx, double seconds)
{
    volatile unsigned spin = 0;
    for (double end = now_seconds() + seconds; now_seconds() < end;)
        for (int i = 0; i < 1000; i++)
            spin++;
}

static void real_idle(void *ctx, double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

const struct clock clock_real = {.now = real_now, .busy = real_busy, .idle = real_idle};

static int real_perf_open(void *attr, int pid, int cpu, int group, unsigned long flags)
{
    long fd = syscall(SYS_perf_event_open, attr, pid, cpu, group, flags);
    return fd < 0 ? -errno : (int)fd;
}

static long real_perf_read(int fd, void *buf, size_t n)
{
    ssize_t got = read(fd, buf, n);
    return got < 0 ? -errno : got;
}

void meter_env_real(struct meter_env *env, const char *sysroot)
{
    *env = (struct meter_env){.sysroot = sysroot ? sysroot : "", .clock = &clock_real, .perf_open = real_perf_open, .perf_read = real_perf_read};
}
