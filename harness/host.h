/* host.h — the machine, the build and the conditions of a run: three different things. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_HOST_H
#define QBENCH_HOST_H

#include <jansson.h>

#include "base.h"

/* What must match for two runs to be compared: CPU, cores, caches, memory, kernel, hypervisor. Nothing that a reboot changes,
 * and no name of the host. */
struct machine {
    char id[17];   /* XXH64 of json, hex */
    json_t *json;  /* owned object: cpu, family, model, stepping, sockets, cores, threads, isa, l1d, l2, l3, memory_bytes (whole GiB),
                      os, kernel, hypervisor */
};
/* What is compared: commit, dirty, compiler, flags, libraries (OpenBLAS version and core, SQLite). Loads OpenBLAS. */
struct build {
    char id[17];
    json_t *json;
};
enum status machine_read(struct machine *m, const char *sysroot, struct err *e);
enum status build_read(struct build *b, struct err *e);
void machine_close(struct machine *m);
void build_close(struct build *b);

/*
 * Conditions now: load average, runnable tasks, pressure (/proc/pressure/cpu), governor, frequency, temperature, throttle counts,
 * memory available, BLAS core and whether it is the one wanted. Counters (CPU time of all, of this process with the children that it
 * has waited for, stolen time) stand beside their growth since `since` (NULL: none). Absent ones are left out. New reference.
 */
json_t *conditions_read(const char *sysroot, const json_t *since);
/* A one-line warning per condition that spoils figures, '\n' separated; "" when all is well. Either may be NULL. */
void conditions_warn(const json_t *before, const json_t *after, char *buf, size_t n);

/* The folder that holds suites/, plots/ and cache/: QBENCH_HOME, else the executable's folder (or the nearest parent with suites/). */
const char *host_home(void);
void host_path(char *buf, size_t n, const char *relative); /* home/relative */
int host_cpus(void); /* that this process may use */
/* Bytes that a process may still take: what the kernel calls available, within the control group's limit. 0: unknown. */
size_t host_memory_available(const char *sysroot);

#endif
