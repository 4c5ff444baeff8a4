/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "infile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status measure(struct infile *f, struct err *e)
{
    struct stat st;
    if (fstat(f->fd, &st))
        return fail(e, ST_EIO, "%s: %s", f->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ST_EFORMAT, "%s: not a regular file", f->path);
    f->bytes = (uint64_t)st.st_size;
    return ST_OK;
}

enum status infile_open(struct infile *f, const char *path, struct err *e)
{
    *f = (struct infile){.path = strdup(path), .fd = -1};
    if (!f->path)
        return fail(e, ST_ENOMEM, "no memory for a path");
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block before it is refused */
    enum status s = f->fd < 0 ? fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno)) : measure(f, e);
    if (s)
        infile_close(f);
    return s;
}

enum status infile_read(const struct infile *f, void *dst, size_t bytes, uint64_t at, struct err *e)
{
    if (at > f->bytes || bytes > f->bytes - at)
        return fail(e, ST_EFORMAT, "%s: cut short: %zu bytes are wanted at byte %" PRIu64 " of %" PRIu64, f->path, bytes, at, f->bytes);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(f->fd, (char *)dst + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(e, ST_EIO, "%s: cannot be read: %s", f->path, n ? strerror(errno) : "it shrank");
        done += (size_t)n;
    }
    return ST_OK;
}

void infile_close(struct infile *f)
{
    if (f->path && f->fd >= 0)
        close(f->fd);
    free(f->path);
    *f = (struct infile){.fd = -1};
}
