/* sysfs.h — small files of /sys and /proc, under a root that tests can point elsewhere. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SYSFS_H
#define QBENCH_SYSFS_H

#include "base.h"

/* The first line of the file at sysroot + the formatted path, without its newline. False (and "" in buf) when it cannot be read. */
bool sysfs_line(char *buf, size_t n, const char *sysroot, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* A whole small file. */
bool sysfs_text(char *buf, size_t n, const char *sysroot, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool sysfs_u64(uint64_t *value, const char *sysroot, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The number behind "name:" or "name " at the beginning of a line: /proc/meminfo, /proc/stat. */
bool sysfs_field(uint64_t *value, const char *text, const char *name);
/* The CPUs of a list such as "0-3,8", ascending; returns how many there are, at most max are written. */
int sysfs_cpulist(const char *list, int *cpus, int max);

#endif
