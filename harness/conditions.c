/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "blas.h"
#include "host.h"
#include "sysfs.h"

enum { CPUS_MAX = 4096 };

static void set_text(json_t *o, const char *key, const char *text) { json_object_set_new(o, key, json_string_nocheck(text)); }
static void set_real(json_t *o, const char *key, double v) { json_object_set_new(o, key, json_real(v)); }
static void set_int(json_t *o, const char *key, uint64_t v) { json_object_set_new(o, key, json_integer((json_int_t)v)); }

static void read_load(json_t *o, const char *sysroot)
{
    char text[128];
    double load[3];
    int runnable, tasks;
    if (!sysfs_line(text, sizeof text, sysroot, "/proc/loadavg") ||
        sscanf(text, "%lf %lf %lf %d/%d", &load[0], &load[1], &load[2], &runnable, &tasks) != 5)
        return;
    set_real(o, "load_1m", load[0]);
    set_real(o, "load_5m", load[1]);
    set_int(o, "runnable", (uint64_t)runnable); /* this process among them */
    set_int(o, "tasks", (uint64_t)tasks);
}

static void read_pressure(json_t *o, const char *sysroot)
{
    char text[256];
    double avg10;
    unsigned long long total;
    if (!sysfs_line(text, sizeof text, sysroot, "/proc/pressure/cpu") ||
        sscanf(text, "some avg10=%lf avg60=%*f avg300=%*f total=%llu", &avg10, &total) != 2)
        return;
    set_real(o, "pressure_percent_10s", avg10);
    set_real(o, "pressure_total_seconds", (double)total * 1e-6);
}

/* "cpu  user nice system idle iowait irq softirq steal …", in clock ticks; guest time is in user already. */
static void read_cpu_time(json_t *o, const char *sysroot)
{
    char text[512];
    unsigned long long t[8];
    double tick = 1.0 / (double)sysconf(_SC_CLK_TCK);
    if (!sysfs_line(text, sizeof text, sysroot, "/proc/stat") ||
        sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) != 8)
        return;
    set_real(o, "cpu_busy_total_seconds", (double)(t[0] + t[1] + t[2] + t[5] + t[6]) * tick);
    set_real(o, "cpu_steal_total_seconds", (double)t[7] * tick);
}

static double cpu_seconds(int who)
{
    struct rusage u;
    if (getrusage(who, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void read_frequency(json_t *o, const char *sysroot, const int *cpus, int n)
{
    uint64_t khz, least = UINT64_MAX, most = 0;
    for (int i = 0; i < n; i++)
        if (sysfs_u64(&khz, sysroot, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_cur_freq", cpus[i])) {
            least = khz < least ? khz : least;
            most = khz > most ? khz : most;
        }
    if (most) {
        set_real(o, "mhz_least", (double)least * 1e-3);
        set_real(o, "mhz_most", (double)most * 1e-3);
    } else {
        char text[4096];
        const char *p = sysfs_text(text, sizeof text, sysroot, "/proc/cpuinfo") ? strstr(text, "cpu MHz") : NULL;
        if (p && (p = strchr(p, ':')))
            set_real(o, "mhz_most", strtod(p + 1, NULL));
    }
    uint64_t no_turbo;
    if (sysfs_u64(&no_turbo, sysroot, "/sys/devices/system/cpu/intel_pstate/no_turbo"))
        json_object_set_new(o, "turbo", json_boolean(!no_turbo));
}

/* One governor for all, or "mixed". */
static void read_governor(json_t *o, const char *sysroot, const int *cpus, int n)
{
    char governor[32] = "", one[32];
    for (int i = 0; i < n; i++)
        if (sysfs_line(one, sizeof one, sysroot, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpus[i]))
            snprintf(governor, sizeof governor, "%s", !governor[0] || !strcmp(governor, one) ? one : "mixed");
    if (governor[0])
        set_text(o, "governor", governor);
}

static void read_throttling(json_t *o, const char *sysroot, const int *cpus, int n)
{
    uint64_t count, total = 0;
    bool any = false;
    for (int i = 0; i < n; i++)
        if (sysfs_u64(&count, sysroot, "/sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count", cpus[i])) {
            total += count;
            any = true;
        }
    if (any)
        set_int(o, "throttle_total", total);
}

/* The hottest zone. */
static void read_temperature(json_t *o, const char *sysroot)
{
    char path[PATH_MAX], text[32];
    double hottest = 0;
    snprintf(path, sizeof path, "%s/sys/class/thermal", sysroot);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));)
        if (!strncmp(d->d_name, "thermal_zone", 12) && sysfs_line(text, sizeof text, sysroot, "/sys/class/thermal/%s/temp", d->d_name)) {
            double celsius = strtod(text, NULL) * 1e-3;
            hottest = celsius > hottest ? celsius : hottest;
        }
    if (dir)
        closedir(dir);
    if (hottest > 0)
        set_real(o, "temperature_celsius", hottest);
}

static double get(const json_t *o, const char *key, double absent)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : absent;
}

/* name = growth of the counter `total` since then, where both know it. */
static bool set_growth(json_t *o, const json_t *since, const char *name, const char *total)
{
    double before = get(since, total, -1), now = get(o, total, -1);
    if (before < 0 || now < before)
        return false;
    set_real(o, name, now - before);
    return true;
}

static void compare(json_t *o, const json_t *since)
{
    set_growth(o, since, "window_seconds", "clock_seconds");
    set_growth(o, since, "pressure_seconds", "pressure_total_seconds");
    set_growth(o, since, "cpu_steal_seconds", "cpu_steal_total_seconds");
    set_growth(o, since, "throttled", "throttle_total");
    bool own = set_growth(o, since, "cpu_own_seconds", "cpu_own_total_seconds");
    bool all = set_growth(o, since, "cpu_busy_seconds", "cpu_busy_total_seconds");
    if (own && all) {
        double others = get(o, "cpu_busy_seconds", 0) - get(o, "cpu_own_seconds", 0);
        set_real(o, "cpu_others_seconds", others > 0 ? others : 0); /* ticks are coarse */
    }
}

json_t *conditions_read(const char *sysroot, const json_t *since)
{
    json_t *o = json_object();
    int *cpus = mem_alloc(CPUS_MAX, sizeof *cpus);
    char list[1024];
    int n = cpus && sysfs_line(list, sizeof list, sysroot, "/sys/devices/system/cpu/online") ? sysfs_cpulist(list, cpus, CPUS_MAX) : 0;
    n = min_int(n, CPUS_MAX);
    set_real(o, "clock_seconds", now_seconds());
    set_int(o, "cpus", (uint64_t)host_cpus());
    read_load(o, sysroot);
    read_pressure(o, sysroot);
    read_cpu_time(o, sysroot);
    set_real(o, "cpu_own_total_seconds", cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN));
    read_governor(o, sysroot, cpus, n);
    read_frequency(o, sysroot, cpus, n);
    read_throttling(o, sysroot, cpus, n);
    read_temperature(o, sysroot);
    size_t memory = host_memory_available(sysroot);
    if (memory)
        set_int(o, "memory_available_bytes", memory);
    const struct blas *blas = blas_get(NULL);
    if (blas) {
        set_text(o, "blas_core", blas->core);
        set_text(o, "blas_wanted", blas->wanted);
        json_object_set_new(o, "blas_mismatch", json_boolean(blas->mismatch));
    }
    if (since)
        compare(o, since);
    mem_free(cpus);
    return o;
}

static void warn(char *buf, size_t n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void warn(char *buf, size_t n, const char *fmt, ...)
{
    size_t used = strlen(buf);
    if (used && used + 1 < n) {
        buf[used++] = '\n';
        buf[used] = 0;
    }
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf + used, n - used, fmt, ap);
    va_end(ap);
}

static void warn_before(const json_t *c, char *buf, size_t n)
{
    double load = get(c, "load_1m", 0), cpus = get(c, "cpus", 1), pressure = get(c, "pressure_percent_10s", 0);
    if (load > 0.25 * cpus)
        warn(buf, n, "the load average was %.2f on %.0f CPUs when the run began: something else is running", load, cpus);
    if (pressure > 5)
        warn(buf, n, "tasks waited for a CPU %.0f %% of the ten seconds before the run", pressure);
    const char *governor = json_string_value(json_object_get(c, "governor"));
    if (governor && strcmp(governor, "performance") != 0)
        warn(buf, n, "the CPU frequency governor is '%s': 'performance' gives steadier figures", governor);
    if (json_is_true(json_object_get(c, "blas_mismatch")))
        warn(buf, n, "OpenBLAS runs its %s kernels where %s was asked for: the fp32 baseline is not a fair one",
             json_string_value(json_object_get(c, "blas_core")), json_string_value(json_object_get(c, "blas_wanted")));
}

static void warn_after(const json_t *c, char *buf, size_t n)
{
    double window = get(c, "window_seconds", 0), cpus = get(c, "cpus", 1);
    double others = get(c, "cpu_others_seconds", 0), steal = get(c, "cpu_steal_seconds", 0), pressure = get(c, "pressure_seconds", 0);
    if (window > 0 && others > 0.05 * window * cpus && others >= 0.1)
        warn(buf, n, "other processes used %.1f CPU seconds during a run of %.1f s on %.0f CPUs", others, window, cpus);
    if (window > 0 && steal > 0.01 * window * cpus && steal >= 0.1)
        warn(buf, n, "the hypervisor took %.1f CPU seconds away during a run of %.1f s", steal, window);
    if (window > 0 && pressure > 0.1 * window)
        warn(buf, n, "tasks waited for a CPU during %.0f %% of the run", 100 * pressure / window);
    if (get(c, "throttled", 0) > 0)
        warn(buf, n, "the CPU was throttled for heat %.0f times during the run", get(c, "throttled", 0));
    if (get(c, "temperature_celsius", 0) > 90)
        warn(buf, n, "the machine is at %.0f °C: it may throttle", get(c, "temperature_celsius", 0));
}

void conditions_warn(const json_t *before, const json_t *after, char *buf, size_t n)
{
    buf[0] = 0;
    if (before)
        warn_before(before, buf, n);
    if (after)
        warn_after(after, buf, n);
}
