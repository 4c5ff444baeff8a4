/* infile.h — a file read by position, with every read checked against its size. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_INFILE_H
#define QBENCH_INFILE_H

#include "base.h"

/*
 * Nothing is mapped: a page of a mapped file that another process cuts off ends the reader with SIGBUS, while a read past the new
 * end is an answer. A copy is made anyway where weights are dequantized, and floats are read straight to their place.
 */
struct infile {
    char *path;     /* owned */
    int fd;
    uint64_t bytes; /* when it was opened */
};

/* Regular files only. ST_ENOENT, ST_EIO or ST_EFORMAT; *f is closed then. */
enum status infile_open(struct infile *f, const char *path, struct err *e);
/* ST_EFORMAT: beyond the end; ST_EIO: it shrank, or cannot be read. */
enum status infile_read(const struct infile *f, void *dst, size_t bytes, uint64_t at, struct err *e);
void infile_close(struct infile *f);

#endif
