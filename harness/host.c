/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "host.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "blas.h"
#include "build_info.h"
#include "cpu.h"
#include "sysfs.h"

enum { CPUS_MAX = 4096 };

static void set_text(json_t *o, const char *key, const char *text) { json_object_set_new(o, key, json_string_nocheck(text)); }
static void set_int(json_t *o, const char *key, uint64_t v) { json_object_set_new(o, key, json_integer((json_int_t)v)); }

/* Identity is what the sorted, compact text says: the order in which fields were set does not matter. */
static enum status identify(char id[17], const json_t *json, const char *what, struct err *e)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return fail(e, ST_ENOMEM, "no memory to describe the %s", what);
    snprintf(id, 17, "%016llx", (unsigned long long)XXH64(text, strlen(text), 0));
    free(text);
    return ST_OK;
}

/* The value of "name : value" in the first block of /proc/cpuinfo. */
static bool cpuinfo_field(const char *text, const char *name, char *buf, size_t n)
{
    size_t length = strlen(name);
    buf[0] = 0;
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *p = line + length;
        if (strncmp(line, name, length) != 0 || p[strspn(p, " \t")] != ':')
            continue;
        p += strspn(p, " \t:");
        snprintf(buf, n, "%.*s", (int)strcspn(p, "\n"), p);
        return true;
    }
    return false;
}

static void describe_cpu(json_t *o, const char *sysroot)
{
    static const char *const numbers[][2] = {{"cpu family", "family"}, {"model", "model"}, {"stepping", "stepping"}};
    char text[8192], value[128];
    sysfs_text(text, sizeof text, sysroot, "/proc/cpuinfo");
    if (!cpuinfo_field(text, "model name", value, sizeof value))
        cpu_brand(value, sizeof value);
    set_text(o, "cpu", value);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (cpuinfo_field(text, numbers[i][0], value, sizeof value))
            set_int(o, numbers[i][1], strtoull(value, NULL, 10));
}

/* How many different values of a topology file the online CPUs have, together with their package. */
static int count_distinct(const char *sysroot, const char *file, const int *cpus, int n)
{
    int count = 0;
    uint64_t *seen = mem_alloc((size_t)n, sizeof *seen);
    for (int i = 0; seen && i < n; i++) {
        uint64_t package = 0, id = 0;
        sysfs_u64(&package, sysroot, "/sys/devices/system/cpu/cpu%d/topology/physical_package_id", cpus[i]);
        if (!sysfs_u64(&id, sysroot, "/sys/devices/system/cpu/cpu%d/topology/%s", cpus[i], file))
            id = (uint64_t)cpus[i];
        uint64_t key = package << 32 | id;
        int k = 0;
        while (k < count && seen[k] != key)
            k++;
        seen[k] = key;
        count += k == count;
    }
    mem_free(seen);
    return count;
}

static void describe_topology(json_t *o, const char *sysroot)
{
    char list[1024];
    int *cpus = mem_alloc(CPUS_MAX, sizeof *cpus);
    int n = cpus && sysfs_line(list, sizeof list, sysroot, "/sys/devices/system/cpu/online") ? sysfs_cpulist(list, cpus, CPUS_MAX) : 0;
    n = min_int(n, CPUS_MAX);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    set_int(o, "threads", n ? (uint64_t)n : (uint64_t)(online > 0 ? online : 1));
    set_int(o, "cores", n ? (uint64_t)count_distinct(sysroot, "core_id", cpus, n) : (uint64_t)(online > 0 ? online : 1));
    set_int(o, "sockets", n ? (uint64_t)count_distinct(sysroot, "physical_package_id", cpus, n) : 1);
    mem_free(cpus);
}

static void describe_memory(json_t *o, const char *sysroot)
{
    const uint64_t gib = 1u << 30;
    char text[4096];
    uint64_t kib = 0;
    sysfs_text(text, sizeof text, sysroot, "/proc/meminfo");
    /* The kernel keeps a part for itself, and not the same at every boot: up to the GiB that are installed. */
    if (sysfs_field(&kib, text, "MemTotal"))
        set_int(o, "memory_bytes", (kib * 1024 + gib - 1) / gib * gib);
}

enum status machine_read(struct machine *m, const char *sysroot, struct err *e)
{
    char text[256];
    struct cpu_caches caches = cpu_caches();
    *m = (struct machine){.json = json_object()};
    if (!m->json)
        return fail(e, ST_ENOMEM, "no memory to describe the machine");
    describe_cpu(m->json, sysroot);
    describe_topology(m->json, sysroot);
    cpu_isa_text(cpu_isa_detected(), text, sizeof text);
    set_text(m->json, "isa", text);
    set_int(m->json, "l1d", caches.l1d);
    set_int(m->json, "l2", caches.l2);
    set_int(m->json, "l3", caches.l3);
    describe_memory(m->json, sysroot);
    if (sysfs_line(text, sizeof text, sysroot, "/proc/sys/kernel/ostype"))
        set_text(m->json, "os", text);
    if (sysfs_line(text, sizeof text, sysroot, "/proc/sys/kernel/osrelease"))
        set_text(m->json, "kernel", text);
    set_text(m->json, "hypervisor", cpu_hypervisor(text, sizeof text) ? text : "none");
    enum status s = identify(m->id, m->json, "machine", e);
    if (s != ST_OK)
        machine_close(m);
    return s;
}

void machine_close(struct machine *m)
{
    json_decref(m->json);
    *m = (struct machine){0};
}

static json_t *describe_blas(void)
{
    struct err e = {0};
    const struct blas *blas = blas_get(&e);
    json_t *o = json_object();
    if (!o)
        return NULL;
    if (!blas) {
        set_text(o, "absent", e.text);
        return o;
    }
    set_text(o, "version", blas->version);
    set_text(o, "core", blas->core);
    set_text(o, "wanted", blas->wanted);
    json_object_set_new(o, "mismatch", json_boolean(blas->mismatch));
    return o;
}

enum status build_read(struct build *b, struct err *e)
{
    *b = (struct build){.json = json_object()};
    if (!b->json)
        return fail(e, ST_ENOMEM, "no memory to describe the build");
    set_text(b->json, "commit", BUILD_COMMIT);
    json_object_set_new(b->json, "dirty", json_boolean(BUILD_DIRTY));
    set_text(b->json, "compiler", BUILD_COMPILER);
    set_text(b->json, "flags", BUILD_FLAGS);
    set_text(b->json, "sqlite", sqlite3_libversion());
    json_object_set_new(b->json, "openblas", describe_blas());
    enum status s = identify(b->id, b->json, "build", e);
    if (s != ST_OK)
        build_close(b);
    return s;
}

void build_close(struct build *b)
{
    json_decref(b->json);
    *b = (struct build){0};
}

static char home[PATH_MAX];

static bool has_suites(const char *folder)
{
    char path[PATH_MAX];
    struct stat st;
    return snprintf(path, sizeof path, "%s/suites", folder) < (int)sizeof path && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void find_home(void)
{
    const char *given = getenv("QBENCH_HOME");
    if (given && *given) {
        snprintf(home, sizeof home, "%s", given);
        return;
    }
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    for (char *slash; (slash = strrchr(path, '/')) && slash != path;) {
        *slash = 0;
        if (home[0] == 0) /* the executable's own folder, should no parent have suites */
            snprintf(home, sizeof home, "%s", path);
        if (has_suites(path)) {
            snprintf(home, sizeof home, "%s", path);
            return;
        }
    }
    if (home[0] == 0)
        snprintf(home, sizeof home, ".");
}

const char *host_home(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_home);
    return home;
}

void host_path(char *buf, size_t n, const char *relative) { snprintf(buf, n, "%s/%s", host_home(), relative); }

int host_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t holds */
    return online > 0 ? (int)online : 1;
}

size_t host_memory_available(const char *sysroot)
{
    char text[4096];
    uint64_t kib = 0, limit, used;
    sysfs_text(text, sizeof text, sysroot, "/proc/meminfo");
    if (!sysfs_field(&kib, text, "MemAvailable"))
        return 0;
    uint64_t bytes = kib * 1024;
    if (sysfs_u64(&limit, sysroot, "/sys/fs/cgroup/memory.max") && sysfs_u64(&used, sysroot, "/sys/fs/cgroup/memory.current")) {
        uint64_t left = limit > used ? limit - used : 0;
        bytes = left < bytes ? left : bytes;
    }
    return (size_t)bytes;
}
