/* outfile.h — a file that is written from front to back and appears whole or not at all. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_OUTFILE_H
#define QBENCH_OUTFILE_H

#include "base.h"

/*
 * A regular file is written under a temporary name beside path ("path.tmp.<pid>", which st_sweep knows), synced and renamed; a link
 * is followed first. A device, a pipe, and whatever stands below /dev or /proc is written in place.
 */
struct outfile {
    char *path, *temporary; /* owned; temporary is NULL in place */
    int fd;
    uint64_t bytes;         /* written so far */
};

/* expected: bytes that will be written (0: unknown), so that a disk too full for them is told before the work. A failure leaves no file. */
enum status outfile_open(struct outfile *o, const char *path, uint64_t expected, struct err *e);
enum status outfile_write(struct outfile *o, const void *data, size_t bytes, struct err *e);
enum status outfile_finish(struct outfile *o, struct err *e); /* closes in any case */
void outfile_abort(struct outfile *o);                        /* after finish: does nothing */

#endif
