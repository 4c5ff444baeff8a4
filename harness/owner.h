/* owner.h — the name of a process that outlives its number: boot, pid and start time. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_OWNER_H
#define QBENCH_OWNER_H

#include <stddef.h>

void owner_write(char *buf, size_t n);  /* this process; 160 bytes are enough */
long owner_alive(const char *owner);    /* the pid of another process that owner names and that still runs; 0 otherwise */

#endif
