/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* These files have no size: one reads until there is no more. */
static bool read_whole(char *buf, size_t n, const char *sysroot, const char *fmt, va_list ap)
{
    char path[PATH_MAX];
    buf[0] = 0;
    size_t used = (size_t)snprintf(path, sizeof path, "%s", sysroot);
    if (used >= sizeof path || vsnprintf(path + used, sizeof path - used, fmt, ap) >= (int)(sizeof path - used))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t got = 0;
    ssize_t r = 1;
    while (got + 1 < n && (r = read(fd, buf + got, n - 1 - got)) != 0) {
        if (r < 0 && errno != EINTR)
            break;
        got += r > 0 ? (size_t)r : 0;
    }
    close(fd);
    buf[r < 0 ? 0 : got] = 0;
    return r >= 0;
}

bool sysfs_text(char *buf, size_t n, const char *sysroot, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = read_whole(buf, n, sysroot, fmt, ap);
    va_end(ap);
    return ok;
}

bool sysfs_line(char *buf, size_t n, const char *sysroot, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    bool ok = read_whole(buf, n, sysroot, fmt, ap);
    va_end(ap);
    buf[strcspn(buf, "\n")] = 0;
    return ok;
}

bool sysfs_u64(uint64_t *value, const char *sysroot, const char *fmt, ...)
{
    char text[64], *end;
    va_list ap;
    va_start(ap, fmt);
    bool ok = read_whole(text, sizeof text, sysroot, fmt, ap);
    va_end(ap);
    if (!ok || !isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 0);
    if (errno || (*end && !isspace((unsigned char)*end)))
        return false;
    *value = v;
    return true;
}

bool sysfs_field(uint64_t *value, const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, name, n) != 0)
            continue;
        const char *p = line + n + strspn(line + n, ": \t");
        if (p == line + n || !isdigit((unsigned char)*p))
            continue;
        *value = strtoull(p, NULL, 10);
        return true;
    }
    return false;
}

int sysfs_cpulist(const char *list, int *cpus, int max)
{
    int count = 0;
    for (const char *p = list; isdigit((unsigned char)*p);) {
        char *end;
        long first = strtol(p, &end, 10), last = first;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long c = first; c <= last && c < 1 << 20; c++, count++)
            if (count < max)
                cpus[count] = (int)c;
        p = *end == ',' ? end + 1 : end;
    }
    return count;
}
