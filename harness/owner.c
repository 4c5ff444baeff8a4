/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "owner.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* When process pid of this boot started, in clock ticks; 0 when there is none. */
static unsigned long long process_start(long pid)
{
    char path[64], line[1024];
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    if (fgets(line, sizeof line, f)) {
        const char *after = strrchr(line, ')'); /* the name in brackets may hold anything */
        if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start) != 1)
            start = 0;
    }
    fclose(f);
    return start;
}

static void boot_id(char *buf, size_t n)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (!f || !fgets(buf, (int)n, f))
        snprintf(buf, n, "?");
    buf[strcspn(buf, "\n ")] = '\0';
    if (f)
        fclose(f);
}

void owner_write(char *buf, size_t n)
{
    char boot[64];
    boot_id(boot, sizeof boot);
    snprintf(buf, n, "%s %ld %llu", boot, (long)getpid(), process_start(getpid()));
}

long owner_alive(const char *owner)
{
    char boot[64], theirs[64];
    long pid;
    unsigned long long start;
    boot_id(boot, sizeof boot);
    if (sscanf(owner, "%63s %ld %llu", theirs, &pid, &start) != 3 || strcmp(boot, theirs) || pid == getpid())
        return 0;
    return start && process_start(pid) == start ? pid : 0;
}
