/* safetensors.h — named tensors and string metadata in one file, written atomically, read with every byte accounted for. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SAFETENSORS_H
#define QBENCH_SAFETENSORS_H

#include <jansson.h>

#include "base.h"

/*
 * The file: 8 bytes of little-endian header length; a JSON object {"__metadata__": {string: string}, name: {"dtype", "shape",
 * "data_offsets": [begin, end)}}, padded with spaces so that the data is aligned; the data, without gap or overlap.
 */
enum { ST_MAX_RANK = 4 };

struct st_tensor {
    char name[96];
    const char *dtype; /* "F32", "U64", … */
    int rank;
    int64_t shape[ST_MAX_RANK];
    void *data;        /* writing: borrowed; reading: points into the mapped file, read-only, aligned to 8 if the writer was */
    size_t bytes;
};

struct st_file {
    struct st_tensor *tensors; /* owned; in the order of their data */
    int count;
    json_t *metadata;  /* owned object of strings */
    void *buffer;      /* owned: the mapped file */
    size_t buffer_bytes;
};

/* Through a temporary file, fsync and rename: a failure or a kill leaves the old file or none. ST_EIO when the disk is full. */
enum status st_write(const char *path, const struct st_tensor *t, int count, const json_t *metadata, struct err *e);

/* Every offset, size and shape is checked. A failure leaves *f empty: ST_ENOENT, ST_EIO, or ST_EFORMAT "path: reason". */
enum status st_read(struct st_file *f, const char *path, struct err *e);
void st_close(struct st_file *f);
const struct st_tensor *st_find(const struct st_file *f, const char *name); /* NULL: none */

/* The header's metadata alone; the data is not looked at. */
enum status st_read_metadata(json_t **metadata, const char *path, struct err *e);

/* Removes temporary files in dir whose writer is dead. */
void st_sweep(const char *dir);

#endif
