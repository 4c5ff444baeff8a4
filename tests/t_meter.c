/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "meter.h"
#include "rapl.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

/*
 * A machine without hardware: time passes when busy and idle say so, and every zone draws its power meanwhile. Powercap files
 * are rewritten, perf counters are computed when they are read.
 */
enum { ZONES = 12, FDS = 1024 };

struct zone {
    char path[96]; /* of its powercap folder; "" for a perf counter */
    double watts;
    double range;  /* µJ; 0: never wraps */
    double uj;     /* not wrapped */
};

struct perf_fd {
    uint32_t type;
    uint64_t config;
    int pid, cpu;
};

static struct lab {
    struct fixture fixture;
    double seconds;
    struct zone zone[ZONES];
    int zones;
    struct perf_fd fd[FDS];
    int deny;             /* errno that every perf_open gets; 0: none */
    bool kernel_denied;   /* only with exclude_kernel */
    double running_share; /* of the time that hardware counters count */
    double psys_watts, package_watts[2], dram_watts;
    bool psys_missing;    /* perf_open of psys: ENOENT */
    uint64_t switches, faults;
    struct clock clock;
    struct meter_env env;
} lab;

static void write_zone(const struct zone *z)
{
    char path[128];
    double shown = z->range ? fmod(z->uj, z->range) : z->uj;
    snprintf(path, sizeof path, "%s/energy_uj", z->path);
    if (fixture_write(&lab.fixture, path, "%.0f\n", shown))
        fail_msg("%s: %s", path, strerror(errno));
}

static void pass_time(double seconds)
{
    lab.seconds += seconds;
    for (int i = 0; i < lab.zones; i++) {
        lab.zone[i].uj += lab.zone[i].watts * seconds * 1e6;
        write_zone(&lab.zone[i]);
    }
}

static double lab_now(void *ctx) { return lab.seconds; }
static void lab_busy(void *ctx, double seconds) { pass_time(seconds); }

static void lab_idle(void *ctx, double seconds)
{
    lab.switches++;
    pass_time(seconds);
}

static int lab_perf_open(void *attr, int pid, int cpu, int group, unsigned long flags)
{
    const struct perf_event_attr *a = attr;
    assert_int_equal(group, -1);
    if (lab.deny)
        return -lab.deny;
    if (lab.kernel_denied && !a->exclude_kernel)
        return -EACCES;
    if (a->type == 9) { /* the power PMU: no process, a CPU */
        assert_int_equal(pid, -1);
        assert_true(cpu >= 0 && !a->inherit);
        if (lab.psys_missing && a->config == 5)
            return -ENOENT;
    } else { /* this thread and those it makes, wherever they run */
        assert_int_equal(pid, 0);
        assert_int_equal(cpu, -1);
        assert_true(a->inherit);
        if (a->type == PERF_TYPE_HARDWARE && a->config == PERF_COUNT_HW_CACHE_MISSES)
            return -ENOENT;
    }
    int fd = open("/dev/null", O_RDONLY);
    assert_true(fd >= 0 && fd < FDS);
    lab.fd[fd] = (struct perf_fd){a->type, a->config, pid, cpu};
    return fd;
}

static double power_of(const struct perf_fd *f)
{
    return f->config == 2 ? lab.package_watts[f->cpu > 0] : f->config == 3 ? lab.dram_watts : lab.psys_watts;
}

static long lab_perf_read(int fd, void *buf, size_t n)
{
    const struct perf_fd *f = &lab.fd[fd];
    uint64_t v[3] = {0};
    double ns = lab.seconds * 1e9;
    v[1] = v[2] = (uint64_t)ns;
    if (f->type == 9) {
        v[0] = (uint64_t)(lab.seconds * power_of(f) * 4294967296.0);
    } else if (f->type == PERF_TYPE_SOFTWARE) {
        lab.faults++;
        v[0] = f->config == PERF_COUNT_SW_TASK_CLOCK         ? (uint64_t)ns
               : f->config == PERF_COUNT_SW_CONTEXT_SWITCHES ? lab.switches
               : f->config == PERF_COUNT_SW_PAGE_FAULTS      ? lab.faults
                                                             : 0;
    } else {
        v[2] = (uint64_t)(ns * lab.running_share);
        v[0] = f->config == PERF_COUNT_HW_BRANCH_MISSES ? 0 : (uint64_t)((double)v[2] * 2.5);
    }
    assert_true(n == 8 || n == 24);
    memcpy(buf, v, n);
    return (long)n;
}

static int setup(void **state)
{
    memset(&lab, 0, sizeof lab);
    lab.running_share = 1;
    lab.seconds = 100;
    lab.clock = (struct clock){.now = lab_now, .busy = lab_busy, .idle = lab_idle};
    lab.env = (struct meter_env){.sysroot = lab.fixture.root, .clock = &lab.clock, .perf_open = lab_perf_open, .perf_read = lab_perf_read};
    return fixture_open(&lab.fixture);
}

static int teardown(void **state) { return fixture_remove(&lab.fixture, ""); }

static void put(const char *path, const char *text)
{
    if (fixture_write(&lab.fixture, path, "%s\n", text))
        fail_msg("%s: %s", path, strerror(errno));
}

static struct zone *add_zone(const char *zone, const char *name, double watts, double range)
{
    struct zone *z = &lab.zone[lab.zones++];
    char path[128], text[32];
    snprintf(z->path, sizeof z->path, "/sys/class/powercap/%s", zone);
    z->watts = watts;
    z->range = range;
    snprintf(path, sizeof path, "%s/name", z->path);
    put(path, name);
    snprintf(path, sizeof path, "%s/max_energy_range_uj", z->path);
    snprintf(text, sizeof text, "%.0f", range);
    if (range)
        put(path, text);
    write_zone(z);
    return z;
}

static void add_power_pmu(const char *cpumask)
{
    put("/sys/bus/event_source/devices/power/type", "9");
    put("/sys/bus/event_source/devices/power/cpumask", cpumask);
    static const char *const events[][2] = {{"pkg", "event=0x02"}, {"ram", "event=0x03"}, {"psys", "event=0x05"}, {"cores", "event=0x01"}};
    for (int i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "/sys/bus/event_source/devices/power/events/energy-%s", events[i][0]);
        put(path, events[i][1]);
        strcat(path, ".scale");
        put(path, "2.3283064365386962890625e-10");
        strcpy(strrchr(path, '.'), ".unit");
        put(path, "Joules");
    }
}

static struct gauge *open_ok(const struct meter *m)
{
    struct gauge *g = NULL;
    struct err e = {0};
    if (m->open(&g, &lab.env, &e) != ST_OK)
        fail_msg("%s: %s", m->name, e.text);
    return g;
}

static void open_fails(const struct meter *m, const char *says)
{
    struct gauge *g = NULL;
    struct err e = {0};
    assert_int_equal(m->open(&g, &lab.env, &e), ST_EUNSUPPORTED);
    assert_null(g);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
}

static struct reading readings[METER_METRICS_MAX];

static const struct reading *find(const char *metric, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(readings[i].metric, metric))
            return &readings[i];
    fail_msg("no reading of %s", metric);
    return NULL;
}

/* A window of this many seconds in one go; returns the readings. */
static int window(const struct meter *m, struct gauge *g, double seconds)
{
    memset(readings, 0, sizeof readings);
    m->start(g);
    pass_time(seconds);
    int n = m->stop(g, readings);
    for (int i = 0; i < n; i++) {
        assert_string_equal(readings[i].meter, m->name);
        assert_string_equal(readings[i].metric, m->metrics[i].name);
        assert_int_equal(readings[i].sample, -1);
        bool has_value = readings[i].status == READING_MEASURED || readings[i].status == READING_ESTIMATED;
        assert_true(has_value == !isnan(readings[i].value));
        assert_true(has_value || readings[i].reason[0]);
        assert_true(isnan(readings[i].idle_watts) && isnan(readings[i].net_value));
    }
    assert_null(m->metrics[n].name);
    return n;
}

static void assert_value(const char *metric, int n, double want, double tolerance)
{
    const struct reading *r = find(metric, n);
    if (r->status != READING_MEASURED || !(fabs(r->value - want) <= tolerance))
        fail_msg("%s: %s %.9g (%s), want %.9g", metric, reading_status_names[r->status], r->value, r->reason, want);
}

static void assert_no_value(const char *metric, int n, enum reading_status status, const char *says)
{
    const struct reading *r = find(metric, n);
    assert_int_equal(r->status, status);
    assert_true(isnan(r->value));
    if (!strstr(r->reason, says))
        fail_msg("%s: '%s' does not say '%s'", metric, r->reason, says);
}

static const struct meter *powercap(void) { return meter_find("rapl_powercap"); }
static const struct meter *power_pmu(void) { return meter_find("rapl_perf"); }

static const double range = 262143328850.0;

static void every_meter_is_whole(void **state)
{
    for (int i = 0; meters[i]; i++) {
        const struct meter *m = meters[i];
        assert_ptr_equal(meter_find(m->name), m);
        assert_true(m->title && m->open && m->start && m->stop && m->close && m->describe);
        assert_true(m->scope == SCOPE_SAMPLE || (m->min_window_seconds >= 1 && m->floor_seconds == 0.1 && m->poll && m->poll_seconds > 0));
        int n = 0;
        while (m->metrics[n].name)
            n++;
        assert_in_range(n, 1, METER_METRICS_MAX);
    }
    assert_null(meter_find("rapl_magic"));
}

static void a_live_counter_gives_its_joules(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    add_zone("intel-rapl:0:0", "core", 30, range);
    add_zone("intel-rapl:0:1", "dram", 7, range);
    add_zone("intel-rapl:0:2", "uncore", 5, range);
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 2);
    assert_value("package_joules", n, 100, 1e-6);
    assert_value("dram_joules", n, 14, 1e-6);
    assert_value("total_joules", n, 114, 1e-6); /* neither core nor uncore */
    assert_value("package_watts", n, 50, 1e-6);
    assert_value("total_watts", n, 57, 1e-6);
    assert_no_value("psys_joules", n, READING_UNAVAILABLE, "no zone is called psys");
    assert_string_equal(find("package_joules", n)->source, "powercap package-0");
    assert_true(find("package_joules", n)->window_seconds == 2);
    powercap()->close(g);
}

static void windows_are_independent(void **state)
{
    struct zone *z = add_zone("intel-rapl:0", "package-0", 50, range);
    struct gauge *g = open_ok(powercap());
    assert_value("package_joules", window(powercap(), g, 1), 50, 1e-6);
    pass_time(500); /* between windows nobody looks */
    z->watts = 10;
    assert_value("package_joules", window(powercap(), g, 3), 30, 1e-6);
    powercap()->close(g);
}

static void a_wrap_is_followed(void **state)
{
    struct zone *z = add_zone("intel-rapl:0", "package-0", 50, range);
    struct gauge *g = open_ok(powercap());
    z->uj = range - 20e6;
    write_zone(z);
    assert_value("package_joules", window(powercap(), g, 1), 50, 1e-6);
    powercap()->close(g);
}

static void polling_follows_many_wraps(void **state)
{
    add_zone("intel-rapl:0", "package-0", 900, 65532e6); /* wraps every 73 s */
    struct gauge *g = open_ok(powercap());
    powercap()->start(g);
    for (int i = 0; i < 40; i++) {
        pass_time(powercap()->poll_seconds);
        powercap()->poll(g);
    }
    int n = powercap()->stop(g, readings);
    assert_value("package_joules", n, 900 * 40 * powercap()->poll_seconds, 1e-4);
    powercap()->close(g);
}

static void a_gap_that_may_hide_wraps_is_invalid(void **state)
{
    add_zone("intel-rapl:0", "package-0", 900, 65532e6);
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 40);
    assert_no_value("package_joules", n, READING_INVALID, "may have wrapped twice");
    assert_no_value("total_watts", n, READING_INVALID, "may have wrapped twice");
    assert_value("package_joules", window(powercap(), g, 2), 1800, 1e-6); /* only that window */
    powercap()->close(g);
}

static void an_unreadable_range_spoils_a_wrap(void **state)
{
    struct zone *z = add_zone("intel-rapl:0", "package-0", 50, 0);
    struct gauge *g = open_ok(powercap());
    assert_value("package_joules", window(powercap(), g, 2), 100, 1e-6);
    powercap()->start(g);
    pass_time(1);
    z->uj = 5;
    write_zone(z);
    assert_no_value("package_joules", powercap()->stop(g, readings), READING_INVALID, "range");
    powercap()->close(g);
}

static void a_counter_that_vanishes_is_invalid(void **state)
{
    struct zone *z = add_zone("intel-rapl:0", "package-0", 50, range);
    struct gauge *g = open_ok(powercap());
    powercap()->start(g);
    pass_time(1);
    lab.zones = 0;
    char path[128];
    snprintf(path, sizeof path, "%s/energy_uj", z->path);
    assert_int_equal(fixture_remove(&lab.fixture, path), 0);
    assert_no_value("package_joules", powercap()->stop(g, readings), READING_INVALID, "could not be read");
    powercap()->close(g);
}

static void a_short_window_is_invalid(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    struct gauge *g = open_ok(powercap());
    assert_no_value("package_joules", window(powercap(), g, 0.05), READING_INVALID, "too short");
    assert_value("package_joules", window(powercap(), g, 0.11), 5.5, 1e-6);
    powercap()->close(g);
}

static void a_phantom_is_not_a_counter(void **state)
{
    add_zone("intel-rapl:0", "package-0", 0, range);
    open_fails(powercap(), "opens but reads 0 J over a 0.2 s busy loop (a phantom counter of the hypervisor)");
}

static void a_dead_part_is_left_out(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    add_zone("intel-rapl:0:0", "dram", 0, range);
    add_zone("intel-rapl:1", "psys", 0, range);
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 1);
    assert_no_value("dram_joules", n, READING_UNAVAILABLE, "dram of package-0 opens but reads 0 J");
    assert_no_value("psys_joules", n, READING_UNAVAILABLE, "phantom");
    assert_value("total_joules", n, 50, 1e-6);
    assert_string_equal(find("total_joules", n)->source, "powercap package-0");
    char text[1024];
    assert_int_equal(powercap()->describe(g, text, sizeof text), 1);
    assert_non_null(strstr(text, "package-0: works"));
    powercap()->close(g);
}

static void half_a_machine_is_no_machine(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    add_zone("intel-rapl:1", "package-1", 0, range);
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 1);
    assert_no_value("package_joules", n, READING_UNAVAILABLE, "package-1 opens but reads 0 J");
    assert_no_value("total_joules", n, READING_UNAVAILABLE, "package-1");
    powercap()->close(g);
}

static void two_sockets_are_added_and_twins_are_not(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    add_zone("intel-rapl:0:0", "dram", 5, range);
    add_zone("intel-rapl:1", "package-1", 60, range);
    add_zone("intel-rapl:1:0", "dram", 6, range);
    add_zone("intel-rapl-mmio:0", "package-0", 50, range);
    add_zone("intel-rapl-mmio:0:0", "dram", 5, range);
    put("/sys/class/powercap/intel-rapl/enabled", "1");
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 1);
    assert_value("package_joules", n, 110, 1e-6);
    assert_value("dram_joules", n, 11, 1e-6);
    assert_value("total_joules", n, 121, 1e-6);
    powercap()->close(g);
}

static void an_mmio_zone_alone_counts(void **state)
{
    add_zone("intel-rapl-mmio:0", "package-0", 50, range);
    struct gauge *g = open_ok(powercap());
    assert_value("total_joules", window(powercap(), g, 1), 50, 1e-6);
    powercap()->close(g);
}

static void psys_is_the_total_where_it_lives(void **state)
{
    add_zone("intel-rapl:0", "package-0", 50, range);
    add_zone("intel-rapl:0:0", "dram", 5, range);
    add_zone("intel-rapl:1", "psys", 90, range);
    struct gauge *g = open_ok(powercap());
    int n = window(powercap(), g, 1);
    assert_value("total_joules", n, 90, 1e-6);
    assert_string_equal(find("total_joules", n)->source, "powercap psys");
    powercap()->close(g);
}

static void what_cannot_be_read_is_said(void **state)
{
    open_fails(powercap(), "shows no energy zones");
    assert_int_equal(fixture_folder(&lab.fixture, "/sys/class/powercap/dtpm"), 0);
    open_fails(powercap(), "has no intel-rapl zone");
    /* root is denied nothing, but a folder cannot be read as a file */
    put("/sys/class/powercap/intel-rapl:0/name", "package-0");
    assert_int_equal(fixture_folder(&lab.fixture, "/sys/class/powercap/intel-rapl:0/energy_uj"), 0);
    open_fails(powercap(), "Is a directory; run as root");
}

static void the_power_pmu_counts_both_sockets(void **state)
{
    add_power_pmu("0,18");
    lab.package_watts[0] = 50;
    lab.package_watts[1] = 60;
    lab.dram_watts = 4;
    struct gauge *g = open_ok(power_pmu());
    int n = window(power_pmu(), g, 2);
    assert_value("package_joules", n, 220, 1e-6);
    assert_value("dram_joules", n, 16, 1e-6);
    assert_value("total_joules", n, 236, 1e-6); /* psys is a phantom */
    assert_no_value("psys_watts", n, READING_UNAVAILABLE, "energy-psys@cpu0 opens but reads 0 J");
    power_pmu()->close(g);
}

static void a_phantom_power_pmu_is_absent(void **state)
{
    open_fails(power_pmu(), "no power PMU");
    add_power_pmu("0");
    lab.psys_missing = true;
    open_fails(power_pmu(), "energy-pkg@cpu0 opens but reads 0 J");
    lab.psys_missing = false;
    lab.psys_watts = 80;
    struct gauge *g = open_ok(power_pmu());
    assert_value("total_joules", window(power_pmu(), g, 1), 80, 1e-6);
    power_pmu()->close(g);
}

static void permission_denied_says_what_to_do(void **state)
{
    add_power_pmu("0");
    put("/proc/sys/kernel/perf_event_paranoid", "3");
    lab.deny = EACCES;
    open_fails(power_pmu(), "permission denied; run as root, or set kernel.perf_event_paranoid (now 3) to 0");
    open_fails(meter_find("perf"), "perf_event_paranoid is 3");
    lab.deny = ENOSYS;
    open_fails(meter_find("perf"), "no perf events");
}

static void perf_events_stand_alone(void **state)
{
    const struct meter *m = meter_find("perf");
    struct gauge *g = open_ok(m);
    int n = window(m, g, 0.5);
    assert_value("task_clock", n, 0.5, 1e-9);
    assert_value("cpu_migrations", n, 0, 0); /* 0 is what it counted */
    assert_value("cycles", n, 1.25e9, 8);
    assert_no_value("cache_misses", n, READING_UNAVAILABLE, "not offered by this kernel or virtual machine");
    assert_no_value("branch_misses", n, READING_UNAVAILABLE, "phantom");
    assert_true(fabs(find("cycles", n)->enabled_seconds - 0.5) < 1e-6);
    char text[2048];
    assert_int_equal(m->describe(g, text, sizeof text), n - 2);
    assert_non_null(strstr(text, "task_clock: works"));
    m->close(g);
}

static void a_shared_counter_is_scaled_and_flagged(void **state)
{
    const struct meter *m = meter_find("perf");
    lab.running_share = 0.25;
    struct gauge *g = open_ok(m);
    int n = window(m, g, 0.5);
    const struct reading *r = find("cycles", n);
    assert_int_equal(r->status, READING_ESTIMATED);
    assert_true(fabs(r->value - 1.25e9) < 64); /* 2.5 a nanosecond, whole counts scaled by 4 */
    assert_non_null(strstr(r->reason, "25 %"));
    assert_true(r->running_seconds < r->enabled_seconds);
    m->close(g);
}

static void user_mode_alone_is_marked(void **state)
{
    const struct meter *m = meter_find("perf");
    lab.kernel_denied = true;
    struct gauge *g = open_ok(m);
    int n = window(m, g, 0.5);
    assert_value("task_clock", n, 0.5, 1e-9);
    assert_string_equal(find("task_clock", n)->source, "perf task_clock:u");
    assert_no_value("context_switches", n, READING_UNAVAILABLE, "kernel mode alone");
    assert_no_value("cpu_migrations", n, READING_UNAVAILABLE, "kernel mode alone");
    m->close(g);
}

/* On the real machine: whatever opens gives sound figures; whatever does not says why. */
static void real_meters_are_honest(void **state)
{
    meter_env_real(&lab.env, "");
    for (int i = 0; meters[i]; i++) {
        struct gauge *g;
        struct err e = {0};
        if (meters[i]->open(&g, &lab.env, &e) != ST_OK) {
            print_message("%s: %s\n", meters[i]->name, e.text);
            assert_true(e.text[0]);
            continue;
        }
        meters[i]->start(g);
        clock_real.busy(clock_real.ctx, 0.12);
        int n = meters[i]->stop(g, readings);
        for (int k = 0; k < n; k++)
            print_message("%s: %s %.6g %s %s\n", readings[k].metric, reading_status_names[readings[k].status], readings[k].value,
                          readings[k].unit, readings[k].reason);
        if (!strcmp(meters[i]->name, "perf") && readings[0].status == READING_MEASURED)
            assert_true(readings[0].value > 0 && readings[0].value < readings[0].window_seconds * 1.05);
        meters[i]->close(g);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_meter_is_whole),
        TEST(a_live_counter_gives_its_joules),
        TEST(windows_are_independent),
        TEST(a_wrap_is_followed),
        TEST(polling_follows_many_wraps),
        TEST(a_gap_that_may_hide_wraps_is_invalid),
        TEST(an_unreadable_range_spoils_a_wrap),
        TEST(a_counter_that_vanishes_is_invalid),
        TEST(a_short_window_is_invalid),
        TEST(a_phantom_is_not_a_counter),
        TEST(a_dead_part_is_left_out),
        TEST(half_a_machine_is_no_machine),
        TEST(two_sockets_are_added_and_twins_are_not),
        TEST(an_mmio_zone_alone_counts),
        TEST(psys_is_the_total_where_it_lives),
        TEST(what_cannot_be_read_is_said),
        TEST(the_power_pmu_counts_both_sockets),
        TEST(a_phantom_power_pmu_is_absent),
        TEST(permission_denied_says_what_to_do),
        TEST(perf_events_stand_alone),
        TEST(a_shared_counter_is_scaled_and_flagged),
        TEST(user_mode_alone_is_marked),
        TEST(real_meters_are_honest),
    };
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
