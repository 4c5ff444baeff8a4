/* gguf_core.h — what gguf.c (opening, tensors) and gguf_parse.c (one file's header) share. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_CORE_H
#define QBENCH_GGUF_CORE_H

#include "gguf.h"
#include "infile.h"

struct gguf_entry {
    struct gguf_string key;
    struct gguf_value value;
};

/* One file: a whole model, or one of its splits. */
struct gguf_part {
    struct infile file;
    int version;
    uint8_t *head;      /* owned: everything in front of the data; keys, names and values point into it */
    size_t head_bytes;
    struct gguf_entry *entries; /* (n_entries) owned */
    uint32_t *by_key;           /* (n_entries) owned: sorted */
    size_t n_entries;
    struct gguf_tensor *tensors; /* (n_tensors) owned; names owned by name_room */
    size_t n_tensors;
    char *name_room;             /* (n_tensors, GGUF_MAX_NAME) owned */
    uint64_t data_begin, alignment;
};

/* A failure leaves *p empty. */
enum status gguf_part_open(struct gguf_part *p, const char *path, struct err *e);
void gguf_part_close(struct gguf_part *p);
const struct gguf_value *gguf_part_find(const struct gguf_part *p, const char *key);

/* Bytes of a value of fixed size; 0 for strings and arrays. */
size_t gguf_fixed_bytes(enum gguf_type type);

#endif
