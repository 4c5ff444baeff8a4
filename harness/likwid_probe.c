/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "likwid_probe.h"

#include <stdio.h>

#if defined(__has_include)
#if __has_include(<likwid.h>)
#define HAVE_LIKWID 1
#endif
#endif

#ifdef HAVE_LIKWID

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <likwid.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const library = "liblikwid.so.5"; /* the ABI of the header */
enum { ALARM_SECONDS = 15 };
static const double busy_seconds = 0.05;

struct lib {
    int (*topology_init)(void), (*numa_init)(void);
    CpuInfo_t (*get_cpuInfo)(void);
    CpuTopology_t (*get_cpuTopology)(void);
    NumaTopology_t (*get_numaTopology)(void);
    int (*perfmon_init)(int, const int *), (*perfmon_addEventSet)(const char *), (*perfmon_setupCounters)(int);
    int (*perfmon_startCounters)(void), (*perfmon_stopCounters)(void);
    double (*perfmon_getResult)(int, int, int);
    int (*power_init)(int), (*power_start)(PowerData_t, int, PowerType), (*power_stop)(PowerData_t, int, PowerType);
    double (*power_printEnergy)(const PowerData *);
};

static bool load(struct lib *l, struct likwid_report *r)
{
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"topology_init", &l->topology_init},
        {"numa_init", &l->numa_init},
        {"get_cpuInfo", &l->get_cpuInfo},
        {"get_cpuTopology", &l->get_cpuTopology},
        {"get_numaTopology", &l->get_numaTopology},
        {"perfmon_init", &l->perfmon_init},
        {"perfmon_addEventSet", &l->perfmon_addEventSet},
        {"perfmon_setupCounters", &l->perfmon_setupCounters},
        {"perfmon_startCounters", &l->perfmon_startCounters},
        {"perfmon_stopCounters", &l->perfmon_stopCounters},
        {"perfmon_getResult", &l->perfmon_getResult},
        {"power_init", &l->power_init},
        {"power_start", &l->power_start},
        {"power_stop", &l->power_stop},
        {"power_printEnergy", &l->power_printEnergy},
    };
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(r->reason, sizeof r->reason, "%s is not installed", library);
        return false;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (!address) {
            snprintf(r->reason, sizeof r->reason, "%s has no %s", library, symbols[i].name);
            return false;
        }
        memcpy(symbols[i].slot, &address, sizeof address);
    }
    return r->loaded = true;
}

static void spin(void)
{
    for (double end = now_seconds() + busy_seconds; now_seconds() < end;)
        ;
}

static void ask_topology(const struct lib *l, struct likwid_report *r)
{
    l->topology_init();
    l->numa_init();
    CpuInfo_t info = l->get_cpuInfo();
    CpuTopology_t topology = l->get_cpuTopology();
    NumaTopology_t numa = l->get_numaTopology();
    if (info && info->name)
        snprintf(r->cpu, sizeof r->cpu, "%s", info->name);
    if (topology) {
        r->sockets = (int)topology->numSockets;
        r->cores = (int)(topology->numSockets * topology->numCoresPerSocket);
        r->threads = (int)topology->numHWThreads;
    }
    r->numa_nodes = numa ? (int)numa->numberOfNodes : 0;
    r->topology = r->threads > 0;
}

static void ask_counters(const struct lib *l, struct likwid_report *r)
{
    const int cpu = 0;
    int status = l->perfmon_init(1, &cpu), set;
    if (status != 0) {
        snprintf(r->reason, sizeof r->reason, "%sit does not know this CPU's counters (perfmon_init %d)",
                 r->topology ? "topology works; " : "", status);
        return;
    }
    if ((set = l->perfmon_addEventSet("INSTR_RETIRED_ANY:FIXC0")) < 0 || l->perfmon_setupCounters(set) < 0)
        return;
    l->perfmon_startCounters();
    spin();
    l->perfmon_stopCounters();
    double counted = l->perfmon_getResult(set, 0, 0);
    r->instructions = counted > 0 ? counted : 0;
}

static void ask_energy(const struct lib *l, struct likwid_report *r)
{
    PowerData data;
    memset(&data, 0, sizeof data);
    l->power_init(0);
    if (l->power_start(&data, 0, PKG) != 0)
        return;
    spin();
    l->power_stop(&data, 0, PKG);
    double joules = l->power_printEnergy(&data);
    r->joules = joules > 0 ? joules : 0;
}

static void tell(int fd, const struct likwid_report *r)
{
    if (write(fd, r, sizeof *r) != (ssize_t)sizeof *r) /* below PIPE_BUF: whole or not at all */
        _exit(1);
}

/* Tells after every step, since the next one may be the last. */
static void child(int fd)
{
    struct lib l;
    struct likwid_report r = {0};
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    alarm(ALARM_SECONDS);
    signal(SIGALRM, SIG_DFL);
    if (load(&l, &r)) {
        snprintf(r.reason, sizeof r.reason, "the library ended its process while reading the topology");
        tell(fd, &r);
        r.reason[0] = 0;
        ask_topology(&l, &r);
        snprintf(r.reason, sizeof r.reason, "topology works; the library ended its process while opening counters");
        tell(fd, &r);
        r.reason[0] = 0;
        ask_counters(&l, &r);
        if (!r.instructions && !r.reason[0])
            snprintf(r.reason, sizeof r.reason, "topology works; counters open but read 0");
        tell(fd, &r);
        ask_energy(&l, &r);
    }
    tell(fd, &r);
    _exit(0);
}

/* The last whole report that the child made. */
static void listen_to(int fd, struct likwid_report *r)
{
    struct likwid_report next;
    ssize_t got;
    while ((got = read(fd, &next, sizeof next)) == (ssize_t)sizeof next || (got < 0 && errno == EINTR))
        if (got > 0)
            *r = next;
}

enum status likwid_probe(struct likwid_report *r, struct err *e)
{
    int ends[2];
    *r = (struct likwid_report){0};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(e, ST_EIO, "likwid: cannot make a pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        child(ends[1]);
    }
    close(ends[1]);
    if (pid > 0) {
        listen_to(ends[0], r);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    if (pid < 0)
        return fail(e, ST_EIO, "likwid: cannot start a process: %s", strerror(errno));
    if (!r->loaded)
        return fail(e, ST_EUNSUPPORTED, "%s", r->reason[0] ? r->reason : "the library ended its process while loading");
    return ST_OK;
}

#else

enum status likwid_probe(struct likwid_report *r, struct err *e)
{
    *r = (struct likwid_report){0};
    return fail(e, ST_EUNSUPPORTED, "this program was built without likwid.h; install likwid and build again");
}

#endif
