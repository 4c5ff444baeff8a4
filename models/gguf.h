/* gguf.h — the GGUF container: typed metadata by key and tensors by name, in one file or in splits; reading and writing. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_H
#define QBENCH_GGUF_H

#include "gguf_types.h"

/*
 * The file (little-endian): "GGUF", version, number of tensors, number of keys; key, type and value of each; name, shape, type
 * and offset of each tensor; padding; the data, every tensor aligned. Versions 2 and 3 are read, 3 is written.
 *
 * Opening reads everything in front of the data into memory and checks it: what the functions below return lives until
 * gguf_close. Tensor data is read where it is asked for, through pread: no page of a file that others may shorten is mapped, so
 * a file that shrinks is an error message and never SIGBUS.
 */
struct gguf;

/* path: a file, or any one of its splits "…-00002-of-00003.gguf"; the others are found beside it. A failure leaves *g NULL:
 * ST_ENOENT, ST_EIO, ST_EUNSUPPORTED (version), or ST_EFORMAT "path: what, where: reason". */
enum status gguf_open(struct gguf **g, const char *path, struct err *e);
void gguf_close(struct gguf *g);
const char *gguf_path(const struct gguf *g); /* of the first split */
int gguf_parts(const struct gguf *g);        /* 1: not split */
int gguf_version(const struct gguf *g);
uint64_t gguf_bytes(const struct gguf *g);   /* of all splits */
/* XXH64 of the bytes of all splits in order, in hex; reads them all. */
enum status gguf_hash(const struct gguf *g, char hash[17], struct err *e);

/* ---- metadata: that of the first split */

enum gguf_type {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_TYPE_COUNT
};
extern const char *const gguf_type_names[GGUF_TYPE_COUNT]; /* "u8", …, "string", "array", … */

struct gguf_string {
    const char *text; /* valid UTF-8, not terminated; may hold NUL */
    size_t bytes;
};

struct gguf_value {
    enum gguf_type type;
    enum gguf_type of;   /* GGUF_ARRAY: type of its elements */
    uint64_t count;      /* GGUF_ARRAY: how many; otherwise 1 */
    const uint8_t *data; /* where the value, or the first element, stands in the file; unaligned: use the functions below */
};

/* One key's value; NULL: there is none. The i-th key in file order, for listing: NULL past the last. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_value *gguf_key(const struct gguf *g, size_t i, struct gguf_string *key);

/* Conversions; false, with *x untouched, when the value is of another kind or out of range. */
bool gguf_as_int(const struct gguf_value *v, int64_t *x);   /* any integer type that fits */
bool gguf_as_real(const struct gguf_value *v, double *x);   /* f32, f64, any integer type */
bool gguf_as_bool(const struct gguf_value *v, bool *x);
bool gguf_as_string(const struct gguf_value *v, struct gguf_string *x);
bool gguf_is(const struct gguf_value *v, const char *text); /* a string that equals text; v may be NULL */
/* For messages and tables: as much of x as fits, on one line, whole characters, control characters as '?'. Returns buf. */
const char *gguf_show(struct gguf_string x, char *buf, size_t n);

/*
 * The same by key, failing in words. An absent key is ST_ENOENT with *x untouched (so: set the default, and allow ST_ENOENT with a
 * NULL e where a key is optional); another type or a value outside lo..hi is ST_EFORMAT.
 */
enum status gguf_int(const struct gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *x, struct err *e);
enum status gguf_real(const struct gguf *g, const char *key, double *x, struct err *e);
enum status gguf_bool(const struct gguf *g, const char *key, bool *x, struct err *e);
enum status gguf_text(const struct gguf *g, const char *key, struct gguf_string *x, struct err *e);

/*
 * Arrays, element by element:
 *
 *     struct gguf_items it;
 *     struct gguf_value v;
 *     struct gguf_string token;
 *     if (gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &it, e) == ST_OK)
 *         while (gguf_next(&it, &v) && gguf_as_string(&v, &token))
 *             …
 */
struct gguf_items {
    enum gguf_type of;
    uint64_t left; /* elements that gguf_next has not given yet; at first: all */
    const uint8_t *at;
};
/* ST_ENOENT: no such key; ST_EFORMAT: no array, or not of this type. */
enum status gguf_array(const struct gguf *g, const char *key, enum gguf_type of, struct gguf_items *items, struct err *e);
bool gguf_items_of(const struct gguf_value *array, struct gguf_items *items); /* of any element type, also of a nested array */
bool gguf_next(struct gguf_items *items, struct gguf_value *v);               /* false: no more */

/* ---- tensors: of all splits */

enum { GGUF_MAX_RANK = 4, GGUF_MAX_NAME = 64 };

struct gguf_tensor {
    const char *name; /* terminated, shorter than GGUF_MAX_NAME */
    enum gtype type;
    int rank;
    uint64_t shape[GGUF_MAX_RANK]; /* as in the file: the length of a row first; 1 past rank */
    uint64_t offset;               /* in its file */
    uint64_t bytes;
    int part;
};
size_t gguf_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i);              /* in file order */
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name); /* NULL: none */
uint64_t gguf_tensor_rows(const struct gguf_tensor *t);                             /* shape without the first dimension */

/* The bytes [at, at + bytes) of a tensor; they must lie within it. ST_EIO when the file has shrunk. */
enum status gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t at, void *dst, size_t bytes, struct err *e);
/* w (rows, shape[0]) = rows first .. of t, dequantized. ST_EUNSUPPORTED: a type that qbench cannot dequantize; ST_EFORMAT: a weight
 * that is infinite or not a number. */
enum status gguf_read_floats(const struct gguf *g, const struct gguf_tensor *t, uint64_t first, uint64_t rows, float *w, struct err *e);

/* ---- writing: set keys, declare tensors, begin, give every tensor's bytes in the order of declaration, finish */

struct gguf_writer;

/* Lack of memory and misuse of the first phase are told by gguf_writer_begin. */
struct gguf_writer *gguf_writer_new(void);
void gguf_set_u32(struct gguf_writer *w, const char *key, uint32_t x);
void gguf_set_u64(struct gguf_writer *w, const char *key, uint64_t x);
void gguf_set_i32(struct gguf_writer *w, const char *key, int32_t x);
void gguf_set_f32(struct gguf_writer *w, const char *key, float x);
void gguf_set_bool(struct gguf_writer *w, const char *key, bool x);
void gguf_set_text(struct gguf_writer *w, const char *key, const char *text);
void gguf_set_strings(struct gguf_writer *w, const char *key, const struct gguf_string *x, size_t n);
void gguf_set_i32s(struct gguf_writer *w, const char *key, const int32_t *x, size_t n);
void gguf_set_f32s(struct gguf_writer *w, const char *key, const float *x, size_t n);
/* shape: the length of a row first. */
void gguf_declare(struct gguf_writer *w, const char *name, enum gtype type, int rank, const uint64_t *shape);

/* A regular file is made beside path and takes its name in gguf_writer_finish; a device or pipe is written in place. */
enum status gguf_writer_begin(struct gguf_writer *w, const char *path, struct err *e);
enum status gguf_write(struct gguf_writer *w, const void *data, size_t bytes, struct err *e); /* the next bytes of the current tensor */
enum status gguf_writer_finish(struct gguf_writer *w, struct err *e); /* ST_EWRONG: a tensor lacks bytes */
void gguf_writer_free(struct gguf_writer *w); /* unfinished: leaves no file behind */

#endif
