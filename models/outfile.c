/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status refused(const struct outfile *o, int why, struct err *e)
{
    return fail(e, ST_EIO, "%s: not written: %s%s", o->path, strerror(why),
                why == ENOSPC || why == EDQUOT || why == EFBIG ? "; free some space or choose another folder" : "");
}

/* A rename would put a file in the place of a device; /dev/stdout may even lead to a file that others hold open. */
static bool in_place(const char *path)
{
    struct stat st;
    return !strncmp(path, "/dev/", 5) || !strncmp(path, "/proc/", 6) || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

static enum status name_temporary(struct outfile *o, struct err *e)
{
    char real[PATH_MAX], temporary[PATH_MAX + 32];
    if (realpath(o->path, real)) { /* an old file, perhaps behind a link */
        free(o->path);
        o->path = strdup(real);
    }
    if (!o->path || snprintf(temporary, sizeof temporary, "%s.tmp.%ld", o->path, (long)getpid()) >= PATH_MAX)
        return fail(e, o->path ? ST_EUSAGE : ST_ENOMEM, o->path ? "%.200s…: the path is too long" : "no memory for a path", o->path);
    o->temporary = strdup(temporary);
    return o->temporary ? ST_OK : fail(e, ST_ENOMEM, "no memory for a path");
}

static enum status create(struct outfile *o, uint64_t expected, struct err *e)
{
    enum status s = in_place(o->path) ? ST_OK : name_temporary(o, e);
    if (s)
        return s;
    o->fd = open(o->temporary ? o->temporary : o->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (o->fd < 0) {
        free(o->temporary); /* it may be another's */
        o->temporary = NULL;
        return refused(o, errno, e);
    }
    if (o->temporary && expected && expected <= INT64_MAX && fallocate(o->fd, 0, 0, (off_t)expected) != 0 && errno == ENOSPC)
        return refused(o, ENOSPC, e);
    return ST_OK;
}

enum status outfile_open(struct outfile *o, const char *path, uint64_t expected, struct err *e)
{
    *o = (struct outfile){.path = strdup(path), .fd = -1};
    if (!o->path)
        return fail(e, ST_ENOMEM, "no memory for a path");
    enum status s = *path ? create(o, expected, e) : fail(e, ST_EUSAGE, "the name of the file to write is empty");
    if (s)
        outfile_abort(o);
    return s;
}

enum status outfile_write(struct outfile *o, const void *data, size_t bytes, struct err *e)
{
    const char *p = data;
    for (size_t left = bytes; left;) {
        ssize_t n = write(o->fd, p, left < (1u << 30) ? left : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return refused(o, n ? errno : EIO, e);
        p += n;
        left -= (size_t)n;
    }
    o->bytes += bytes;
    return ST_OK;
}

/* The new name must survive a power cut as well. What cannot be synced here is not worth a failure. */
static void sync_folder(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

enum status outfile_finish(struct outfile *o, struct err *e)
{
    int why = 0;
    if (o->temporary && (ftruncate(o->fd, (off_t)o->bytes) || fsync(o->fd)))
        why = errno;
    if (close(o->fd) && !why)
        why = errno;
    o->fd = -1;
    if (o->temporary && !why && rename(o->temporary, o->path))
        why = errno;
    if (why) {
        enum status s = refused(o, why, e);
        outfile_abort(o);
        return s;
    }
    if (o->temporary)
        sync_folder(o->path);
    free(o->temporary);
    o->temporary = NULL;
    outfile_abort(o);
    return ST_OK;
}

void outfile_abort(struct outfile *o)
{
    if (o->fd >= 0)
        close(o->fd);
    if (o->temporary)
        unlink(o->temporary);
    free(o->temporary);
    free(o->path);
    *o = (struct outfile){.fd = -1};
}
