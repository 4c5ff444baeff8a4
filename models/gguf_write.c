/* gguf_write.c — the writer of gguf.h: keys and tensor descriptions are gathered in memory, the data is streamed. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gguf.h"
#include "outfile.h"

enum { VERSION = 3, ALIGNMENT = 32 };

struct buffer {
    uint8_t *data; /* owned */
    size_t bytes, room;
};

struct declared {
    char name[GGUF_MAX_NAME];
    uint64_t bytes;
};

struct gguf_writer {
    struct buffer keys, infos;
    uint64_t n_keys, data_bytes;
    struct declared *tensors; /* owned */
    size_t n_tensors, room;
    bool no_memory;
    struct outfile out;
    size_t current;    /* the tensor being written */
    uint64_t written;  /* bytes of it */
};

struct gguf_writer *gguf_writer_new(void)
{
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (w)
        w->out.fd = -1;
    return w;
}

void gguf_writer_free(struct gguf_writer *w)
{
    if (!w)
        return;
    outfile_abort(&w->out);
    free(w->keys.data);
    free(w->infos.data);
    free(w->tensors);
    free(w);
}

/* ---- gathering */

static void append(struct gguf_writer *w, struct buffer *b, const void *data, size_t bytes)
{
    if (bytes > b->room - b->bytes) {
        size_t room = 2 * b->room > b->bytes + bytes ? 2 * b->room : b->bytes + bytes + 4096;
        uint8_t *grown = realloc(b->data, room);
        if (!grown) {
            w->no_memory = true;
            return;
        }
        b->data = grown;
        b->room = room;
    }
    if (bytes)
        memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
}

static void append_u32(struct gguf_writer *w, struct buffer *b, uint32_t x) { append(w, b, &x, sizeof x); }
static void append_u64(struct gguf_writer *w, struct buffer *b, uint64_t x) { append(w, b, &x, sizeof x); }

static void append_string(struct gguf_writer *w, struct buffer *b, const char *text, size_t bytes)
{
    append_u64(w, b, bytes);
    append(w, b, text, bytes);
}

static void begin_key(struct gguf_writer *w, const char *key, enum gguf_type type)
{
    append_string(w, &w->keys, key, strlen(key));
    append_u32(w, &w->keys, type);
    w->n_keys++;
}

static void set_scalar(struct gguf_writer *w, const char *key, enum gguf_type type, const void *x, size_t bytes)
{
    begin_key(w, key, type);
    append(w, &w->keys, x, bytes);
}

void gguf_set_u32(struct gguf_writer *w, const char *key, uint32_t x) { set_scalar(w, key, GGUF_U32, &x, sizeof x); }
void gguf_set_u64(struct gguf_writer *w, const char *key, uint64_t x) { set_scalar(w, key, GGUF_U64, &x, sizeof x); }
void gguf_set_i32(struct gguf_writer *w, const char *key, int32_t x) { set_scalar(w, key, GGUF_I32, &x, sizeof x); }
void gguf_set_f32(struct gguf_writer *w, const char *key, float x) { set_scalar(w, key, GGUF_F32, &x, sizeof x); }

void gguf_set_bool(struct gguf_writer *w, const char *key, bool x)
{
    uint8_t byte = x;
    set_scalar(w, key, GGUF_BOOL, &byte, 1);
}

void gguf_set_text(struct gguf_writer *w, const char *key, const char *text)
{
    begin_key(w, key, GGUF_STRING);
    append_string(w, &w->keys, text, strlen(text));
}

static void begin_array(struct gguf_writer *w, const char *key, enum gguf_type of, size_t n)
{
    begin_key(w, key, GGUF_ARRAY);
    append_u32(w, &w->keys, of);
    append_u64(w, &w->keys, n);
}

void gguf_set_strings(struct gguf_writer *w, const char *key, const struct gguf_string *x, size_t n)
{
    begin_array(w, key, GGUF_STRING, n);
    for (size_t i = 0; i < n; i++)
        append_string(w, &w->keys, x[i].text, x[i].bytes);
}

void gguf_set_i32s(struct gguf_writer *w, const char *key, const int32_t *x, size_t n)
{
    begin_array(w, key, GGUF_I32, n);
    append(w, &w->keys, x, n * sizeof *x);
}

void gguf_set_f32s(struct gguf_writer *w, const char *key, const float *x, size_t n)
{
    begin_array(w, key, GGUF_F32, n);
    append(w, &w->keys, x, n * sizeof *x);
}

static struct declared *new_tensor(struct gguf_writer *w)
{
    if (w->n_tensors == w->room) {
        size_t room = 2 * w->room + 64;
        struct declared *grown = realloc(w->tensors, room * sizeof *grown);
        if (!grown) {
            w->no_memory = true;
            return NULL;
        }
        w->tensors = grown;
        w->room = room;
    }
    return &w->tensors[w->n_tensors++];
}

void gguf_declare(struct gguf_writer *w, const char *name, enum gtype type, int rank, const uint64_t *shape)
{
    struct declared *t = new_tensor(w);
    assert(strlen(name) < GGUF_MAX_NAME && rank >= 1 && rank <= GGUF_MAX_RANK);
    if (!t)
        return;
    strcpy(t->name, name);
    t->bytes = gtype_row_bytes(gtype_info(type), shape[0]);
    assert(t->bytes);
    append_string(w, &w->infos, name, strlen(name));
    append_u32(w, &w->infos, (uint32_t)rank);
    for (int i = 0; i < rank; i++) {
        t->bytes *= i ? shape[i] : 1;
        append_u64(w, &w->infos, shape[i]);
    }
    append_u32(w, &w->infos, type);
    append_u64(w, &w->infos, w->data_bytes);
    w->data_bytes = round_up(w->data_bytes + t->bytes, ALIGNMENT);
}

/* ---- the file */

static enum status pad(struct gguf_writer *w, struct err *e)
{
    static const uint8_t zeros[ALIGNMENT];
    return outfile_write(&w->out, zeros, round_up(w->out.bytes, ALIGNMENT) - w->out.bytes, e);
}

enum status gguf_writer_begin(struct gguf_writer *w, const char *path, struct err *e)
{
    struct buffer head = {0};
    append(w, &head, "GGUF", 4);
    append_u32(w, &head, VERSION);
    append_u64(w, &head, w->n_tensors);
    append_u64(w, &head, w->n_keys);
    append(w, &head, w->keys.data, w->keys.bytes);
    append(w, &head, w->infos.data, w->infos.bytes);
    enum status s = w->no_memory ? fail(e, ST_ENOMEM, "%s: no memory for its header", path) : ST_OK;
    if (!s)
        s = outfile_open(&w->out, path, round_up(head.bytes, ALIGNMENT) + w->data_bytes, e);
    if (!s)
        s = outfile_write(&w->out, head.data, head.bytes, e);
    free(head.data);
    return s ? s : pad(w, e);
}

enum status gguf_write(struct gguf_writer *w, const void *data, size_t bytes, struct err *e)
{
    assert(w->current < w->n_tensors && bytes <= w->tensors[w->current].bytes - w->written);
    enum status s = outfile_write(&w->out, data, bytes, e);
    w->written += bytes;
    if (s || w->written < w->tensors[w->current].bytes)
        return s;
    w->current++;
    w->written = 0;
    return pad(w, e);
}

enum status gguf_writer_finish(struct gguf_writer *w, struct err *e)
{
    if (w->current < w->n_tensors)
        return fail(e, ST_EWRONG, "%s: tensor '%s' is not complete", w->out.path, w->tensors[w->current].name);
    return outfile_finish(&w->out, e);
}
