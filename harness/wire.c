/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "wire.h"

#include <errno.h>
#include <unistd.h>

bool wire_read(int fd, void *buf, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, (char *)buf + at, bytes - at);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return true;
}

bool wire_write(int fd, const void *buf, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = write(fd, (const char *)buf + at, bytes - at);
        if (n < 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return true;
}

bool wire_send(int fd, enum wire_type type, int index, const void *head, size_t head_bytes, const void *body, size_t body_bytes)
{
    struct wire_header h = {.type = type, .index = index, .bytes = head_bytes + body_bytes};
    return wire_write(fd, &h, sizeof h) && wire_write(fd, head, head_bytes) && wire_write(fd, body, body_bytes);
}
