/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fixture.h"
#include "host.h"
#include "sysfs.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static struct fixture root;

static int setup(void **state) { return fixture_open(&root); }
static int teardown(void **state) { return fixture_remove(&root, ""); }

static void put(const char *path, const char *text)
{
    if (fixture_write(&root, path, "%s\n", text))
        fail_msg("%s: %s", path, strerror(errno));
}

/* Four threads on two cores of one socket. */
static void put_machine(void)
{
    put("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Test CPU 9000\nstepping\t: 8\n"
                         "cpu MHz\t\t: 2100.5");
    put("/sys/devices/system/cpu/online", "0-3");
    for (int i = 0; i < 4; i++) {
        char path[96], text[16];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/core_id", i);
        snprintf(text, sizeof text, "%d", i % 2);
        put(path, text);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", i);
        put(path, "0");
    }
    put("/proc/meminfo", "MemTotal:       24684092 kB\nMemFree:        1000 kB\nMemAvailable:   2097152 kB");
    put("/proc/sys/kernel/ostype", "Linux");
    put("/proc/sys/kernel/osrelease", "6.1.0-18-amd64");
}

static struct machine read_machine(const char *sysroot)
{
    struct machine m;
    struct err e = {0};
    if (machine_read(&m, sysroot, &e) != ST_OK)
        fail_msg("%s", e.text);
    return m;
}

static long long number(const json_t *o, const char *key)
{
    assert_true(json_is_integer(json_object_get(o, key)));
    return json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
    assert_true(json_is_string(json_object_get(o, key)));
    return json_string_value(json_object_get(o, key));
}

static void a_machine_is_what_its_files_say(void **state)
{
    put_machine();
    struct machine m = read_machine(root.root);
    assert_string_equal(text(m.json, "cpu"), "Test CPU 9000");
    assert_int_equal(number(m.json, "family"), 6);
    assert_int_equal(number(m.json, "model"), 143);
    assert_int_equal(number(m.json, "stepping"), 8);
    assert_int_equal(number(m.json, "threads"), 4);
    assert_int_equal(number(m.json, "cores"), 2);
    assert_int_equal(number(m.json, "sockets"), 1);
    assert_int_equal(number(m.json, "memory_bytes"), 24LL << 30);
    assert_string_equal(text(m.json, "kernel"), "6.1.0-18-amd64");
    assert_int_equal(strlen(m.id), 16);
    machine_close(&m);
    assert_null(m.json);
}

static void its_id_survives_a_reboot_and_nothing_else(void **state)
{
    static const struct {
        const char *path, *text;
        bool same;
    } changes[] = {
        {"/proc/meminfo", "MemTotal:       24681234 kB\nMemAvailable: 5 kB", true}, /* the kernel kept a little more */
        {"/proc/sys/kernel/hostname", "other", true},
        {"/proc/loadavg", "3.00 2.00 1.00 4/100 77", true},
        {"/proc/meminfo", "MemTotal:       16384000 kB", false},
        {"/proc/sys/kernel/osrelease", "6.2.0", false},
        {"/sys/devices/system/cpu/online", "0-1", false},
        {"/sys/devices/system/cpu/cpu3/topology/physical_package_id", "1", false},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        put_machine();
        struct machine a = read_machine(root.root);
        put(changes[i].path, changes[i].text);
        struct machine b = read_machine(root.root);
        if ((strcmp(a.id, b.id) == 0) != changes[i].same)
            fail_msg("%s: ids are %s and %s", changes[i].path, a.id, b.id);
        machine_close(&a);
        machine_close(&b);
    }
}

static void an_empty_root_is_no_crash(void **state)
{
    struct machine m = read_machine(root.root);
    assert_true(number(m.json, "threads") >= 1);
    machine_close(&m);
    json_t *c = conditions_read(root.root, NULL);
    assert_non_null(c);
    assert_null(json_object_get(c, "governor"));
    assert_null(json_object_get(c, "load_1m"));
    json_decref(c);
    assert_int_equal(host_memory_available(root.root), 0);
}

static void the_real_machine_is_described(void **state)
{
    struct machine a = read_machine(""), b = read_machine("");
    assert_string_equal(a.id, b.id);
    assert_true(number(a.json, "memory_bytes") > 0 && number(a.json, "threads") >= number(a.json, "cores"));
    assert_non_null(text(a.json, "isa"));
    machine_close(&a);
    machine_close(&b);
    assert_true(host_memory_available("") > 0);
    assert_true(host_cpus() >= 1);
}

static void a_build_names_its_parts(void **state)
{
    struct build a, b;
    struct err e = {0};
    assert_int_equal(build_read(&a, &e), ST_OK);
    assert_int_equal(build_read(&b, &e), ST_OK);
    assert_string_equal(a.id, b.id);
    static const char *const keys[] = {"commit", "dirty", "compiler", "flags", "sqlite", "openblas"};
    for (int i = 0; i < 6; i++)
        assert_non_null(json_object_get(a.json, keys[i]));
    build_close(&a);
    build_close(&b);
}

static void put_conditions(const char *stat, const char *pressure, const char *throttle)
{
    put("/proc/loadavg", "0.10 0.20 0.30 1/123 4567");
    put("/proc/stat", stat);
    put("/proc/pressure/cpu", pressure);
    put("/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", throttle);
    put("/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "2");
}

static double real(const json_t *o, const char *key)
{
    assert_true(json_is_number(json_object_get(o, key)));
    return json_number_value(json_object_get(o, key));
}

static void conditions_are_read_and_compared(void **state)
{
    put_machine();
    put_conditions("cpu  1000 0 500 9000 10 0 0 100 0 0", "some avg10=1.50 avg60=0.00 avg300=0.00 total=1000000", "5");
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave");
    put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance");
    put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "2100000");
    put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3400000");
    put("/sys/class/thermal/thermal_zone0/temp", "48000");
    put("/sys/class/thermal/thermal_zone1/temp", "61500");
    json_t *a = conditions_read(root.root, NULL);
    assert_true(real(a, "load_1m") == 0.10 && number(a, "runnable") == 1);
    assert_true(real(a, "pressure_percent_10s") == 1.5);
    assert_string_equal(text(a, "governor"), "mixed");
    assert_true(real(a, "mhz_least") == 2100 && real(a, "mhz_most") == 3400);
    assert_true(real(a, "temperature_celsius") == 61.5);
    assert_int_equal(number(a, "throttle_total"), 7);
    assert_int_equal(number(a, "memory_available_bytes"), 2LL << 30);
    assert_null(json_object_get(a, "cpu_others_seconds"));
    put_conditions("cpu  3000 0 500 9700 10 0 0 400 0 0", "some avg10=1.50 avg60=0.00 avg300=0.00 total=3500000", "6");
    json_t *b = conditions_read(root.root, a);
    assert_true(fabs(real(b, "cpu_busy_seconds") - 20) < 1e-9); /* a tick is 10 ms */
    assert_true(fabs(real(b, "cpu_steal_seconds") - 3) < 1e-9);
    assert_true(fabs(real(b, "pressure_seconds") - 2.5) < 1e-9);
    assert_true(fabs(real(b, "throttled") - 1) < 1e-9);
    assert_true(real(b, "cpu_others_seconds") > 15); /* we used less than 5 s meanwhile */
    char warnings[2048];
    conditions_warn(a, b, warnings, sizeof warnings);
    static const char *const says[] = {"governor is 'mixed'", "other processes used", "hypervisor took 3.0", "waited for a CPU during", "throttled for heat 1 times"};
    for (int i = 0; i < 5; i++)
        if (!strstr(warnings, says[i]))
            fail_msg("'%s' is not in: %s", says[i], warnings);
    json_decref(a);
    json_decref(b);
}

static void a_quiet_machine_has_no_warning(void **state)
{
    json_t *before = json_pack("{s:f, s:i, s:f, s:s, s:b}", "load_1m", 0.1, "cpus", 4, "pressure_percent_10s", 0.0, "governor", "performance",
                               "blas_mismatch", 0);
    json_t *after = json_pack("{s:f, s:i, s:f, s:f, s:f}", "window_seconds", 10.0, "cpus", 4, "cpu_others_seconds", 0.5, "cpu_steal_seconds", 0.0,
                              "temperature_celsius", 60.0);
    char warnings[256] = "x";
    conditions_warn(before, after, warnings, sizeof warnings);
    assert_string_equal(warnings, "");
    conditions_warn(NULL, NULL, warnings, sizeof warnings);
    assert_string_equal(warnings, "");
    json_object_set_new(before, "blas_mismatch", json_true());
    json_object_set_new(before, "blas_core", json_string("Prescott"));
    json_object_set_new(before, "blas_wanted", json_string("Cooperlake"));
    json_object_set_new(before, "load_1m", json_real(3));
    conditions_warn(before, after, warnings, sizeof warnings);
    assert_non_null(strstr(warnings, "Prescott"));
    assert_non_null(strchr(warnings, '\n'));
    char tiny[8];
    conditions_warn(before, after, tiny, sizeof tiny); /* cut, not overrun */
    assert_true(strlen(tiny) < sizeof tiny);
    json_decref(before);
    json_decref(after);
}

static void memory_stays_within_the_control_group(void **state)
{
    put_machine();
    assert_int_equal(host_memory_available(root.root), 2ull << 30);
    put("/sys/fs/cgroup/memory.max", "max");
    put("/sys/fs/cgroup/memory.current", "1000");
    assert_int_equal(host_memory_available(root.root), 2ull << 30);
    put("/sys/fs/cgroup/memory.max", "5000");
    assert_int_equal(host_memory_available(root.root), 4000);
}

static void lists_and_numbers_are_parsed(void **state)
{
    int cpus[8];
    assert_int_equal(sysfs_cpulist("0-3,8", cpus, 8), 5);
    assert_int_equal(cpus[4], 8);
    assert_int_equal(sysfs_cpulist("0-63", cpus, 8), 64); /* counted, not written */
    assert_int_equal(sysfs_cpulist("", cpus, 8), 0);
    assert_int_equal(sysfs_cpulist("x", cpus, 8), 0);
    uint64_t v = 7;
    put("/n", "12 kB");
    assert_true(sysfs_u64(&v, root.root, "/%s", "n") && v == 12);
    put("/n", "max");
    assert_false(sysfs_u64(&v, root.root, "/n"));
    put("/n", "99999999999999999999999");
    assert_false(sysfs_u64(&v, root.root, "/n"));
    assert_int_equal(v, 12);
    assert_true(sysfs_field(&v, "Xyz: 1\nMem: 5 kB\n", "Mem") && v == 5);
    assert_false(sysfs_field(&v, "MemTotal: 5 kB\n", "Mem"));
}

static void home_is_where_suites_are(void **state)
{
    char path[512];
    assert_int_equal(fixture_folder(&root, "/suites"), 0);
    setenv("QBENCH_HOME", root.root, 1);
    assert_string_equal(host_home(), root.root);
    host_path(path, sizeof path, "suites");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    unsetenv("QBENCH_HOME");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_machine_is_what_its_files_say), TEST(its_id_survives_a_reboot_and_nothing_else), TEST(an_empty_root_is_no_crash),
        TEST(the_real_machine_is_described),   TEST(a_build_names_its_parts),                   TEST(conditions_are_read_and_compared),
        TEST(a_quiet_machine_has_no_warning),  TEST(memory_stays_within_the_control_group),     TEST(lists_and_numbers_are_parsed),
        TEST(home_is_where_suites_are),
    };
    return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
