/* gguf_parse.c — the header of one GGUF file, with every length checked against the bytes that are there. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_core.h"

enum {
    OLDEST = 2, NEWEST = 3,
    MAX_DEPTH = 8,            /* of arrays in arrays */
    LEAST_KEY = 8 + 1 + 4 + 1, LEAST_TENSOR = 8 + 1 + 4 + 4 + 8, /* bytes that one takes in a file: a bound on how many there can be */
    MAX_KEY = 65535, FIRST_READ = 1 << 16,
};

/*
 * The file's first bytes, read as far as they are needed. The buffer moves as it grows, so while it does, pointers into it are
 * kept as positions (place) and become pointers at the end.
 */
struct reader {
    const struct infile *file;
    uint8_t *data; /* owned, until the part takes it */
    size_t have, room, at;
};

/* A position where a pointer will be. */
static const void *place(size_t at) { return (const void *)(uintptr_t)at; }
static const void *placed(const struct reader *r, const void *p) { return r->data + (uintptr_t)p; }

static enum status grow(struct reader *r, size_t want, struct err *e)
{
    size_t room = r->room > want / 2 ? 2 * r->room : want;
    if (room < FIRST_READ)
        room = FIRST_READ;
    if (room > r->file->bytes)
        room = (size_t)r->file->bytes;
    uint8_t *data = realloc(r->data, room);
    if (!data)
        return fail(e, ST_ENOMEM, "%s: no memory for a header of %zu bytes", r->file->path, room);
    r->data = data;
    r->room = room;
    enum status s = infile_read(r->file, data + r->have, room - r->have, r->have, e);
    if (!s)
        r->have = room;
    return s;
}

/* So that the next `bytes` bytes are in memory. */
static enum status need(struct reader *r, uint64_t bytes, const char *what, struct err *e)
{
    if (bytes > r->file->bytes - r->at)
        return fail(e, ST_EFORMAT, "%s: %s wants %" PRIu64 " bytes at byte %zu of %" PRIu64 ": cut short, or damaged", r->file->path, what, bytes,
                    r->at, r->file->bytes);
    return r->at + bytes > r->have ? grow(r, r->at + (size_t)bytes, e) : ST_OK;
}

static enum status take(struct reader *r, void *x, size_t bytes, const char *what, struct err *e)
{
    enum status s = need(r, bytes, what, e);
    if (!s) {
        memcpy(x, r->data + r->at, bytes);
        r->at += bytes;
    }
    return s;
}

/* ---- strings */

/* Bytes of the UTF-8 character at s, n > 0; 0 for what is none: overlong, surrogate, beyond U+10FFFF or cut. */
static size_t character(const uint8_t *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (length < 2 || length > n)
        return length <= n ? length : 0;
    uint32_t c = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        c = c << 6 | (s[i] & 63);
    }
    return c < least[length] || c >> 11 == 27 || c > 0x10ffff ? 0 : length;
}

static bool is_utf8(const uint8_t *s, size_t n)
{
    for (size_t i = 0, k; i < n; i += k) {
        k = character(s + i, n - i);
        if (!k)
            return false;
    }
    return true;
}

static enum status take_string(struct reader *r, struct gguf_string *x, const char *what, struct err *e)
{
    uint64_t bytes = 0;
    enum status s = take(r, &bytes, sizeof bytes, what, e);
    if (!s)
        s = need(r, bytes, what, e);
    if (s)
        return s;
    if (!is_utf8(r->data + r->at, (size_t)bytes))
        return fail(e, ST_EFORMAT, "%s: %s at byte %zu is not UTF-8", r->file->path, what, r->at);
    *x = (struct gguf_string){place(r->at), (size_t)bytes};
    r->at += (size_t)bytes;
    return ST_OK;
}

/* Keys and names are printed: nothing in them may break a line. */
static enum status take_name(struct reader *r, struct gguf_string *x, size_t most, const char *what, struct err *e)
{
    enum status s = take_string(r, x, what, e);
    if (s)
        return s;
    const uint8_t *text = placed(r, x->text);
    for (size_t i = 0; i < x->bytes && !s; i++)
        if (text[i] < ' ' || text[i] == 0x7f)
            s = fail(e, ST_EFORMAT, "%s: %s before byte %zu holds a control character", r->file->path, what, r->at);
    if (!s && (x->bytes == 0 || x->bytes > most))
        s = fail(e, ST_EFORMAT, "%s: %s before byte %zu has %zu bytes; it must have 1 to %zu", r->file->path, what, r->at, x->bytes, most);
    return s;
}

/* ---- values */

const char *const gguf_type_names[GGUF_TYPE_COUNT] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

size_t gguf_fixed_bytes(enum gguf_type type)
{
    static const uint8_t bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return bytes[type];
}

static enum status take_type(struct reader *r, enum gguf_type *type, const char *what, struct err *e)
{
    uint32_t x = 0;
    enum status s = take(r, &x, sizeof x, what, e);
    if (!s && x >= GGUF_TYPE_COUNT)
        s = fail(e, ST_EFORMAT, "%s: %s: unknown type %" PRIu32 " of a value", r->file->path, what, x);
    *type = s ? GGUF_U8 : (enum gguf_type)x;
    return s;
}

static enum status skip_fixed(struct reader *r, enum gguf_type type, uint64_t count, const char *what, struct err *e)
{
    uint64_t bytes;
    if (__builtin_mul_overflow(count, (uint64_t)gguf_fixed_bytes(type), &bytes))
        return fail(e, ST_EFORMAT, "%s: %s: %" PRIu64 " elements are impossible", r->file->path, what, count);
    enum status s = need(r, bytes, what, e);
    if (s)
        return s;
    for (size_t i = 0; type == GGUF_BOOL && i < bytes; i++)
        if (r->data[r->at + i] > 1)
            return fail(e, ST_EFORMAT, "%s: %s: a boolean of value %d", r->file->path, what, r->data[r->at + i]);
    r->at += (size_t)bytes;
    return ST_OK;
}

static enum status take_value(struct reader *r, enum gguf_type type, struct gguf_value *v, int depth, const char *what, struct err *e)
{
    struct gguf_string text;
    enum status s = ST_OK;
    *v = (struct gguf_value){.type = type, .of = type, .count = 1, .data = place(r->at)};
    if (type == GGUF_STRING)
        return take_string(r, &text, what, e);
    if (type != GGUF_ARRAY)
        return skip_fixed(r, type, 1, what, e);
    if (depth == MAX_DEPTH)
        return fail(e, ST_EFORMAT, "%s: %s: arrays nested more than %d deep", r->file->path, what, MAX_DEPTH);
    s = take_type(r, &v->of, what, e);
    if (!s)
        s = take(r, &v->count, sizeof v->count, what, e);
    v->data = place(r->at);
    if (!s && gguf_fixed_bytes(v->of))
        return skip_fixed(r, v->of, v->count, what, e);
    struct gguf_value element;
    for (uint64_t i = 0; i < v->count && !s; i++)
        s = take_value(r, v->of, &element, depth + 1, what, e);
    return s;
}

static enum status take_entry(struct reader *r, struct gguf_entry *x, struct err *e)
{
    char what[96];
    enum gguf_type type = GGUF_U8;
    enum status s = take_name(r, &x->key, MAX_KEY, "a key", e);
    if (s)
        return s;
    snprintf(what, sizeof what, "key '%.*s'", x->key.bytes < 80 ? (int)x->key.bytes : 80, (const char *)placed(r, x->key.text));
    s = take_type(r, &type, what, e);
    return s ? s : take_value(r, type, &x->value, 0, what, e);
}

/* ---- tensors */

static uint64_t align(uint64_t x, uint64_t step) { return x + (step - x % step) % step; }

static enum status take_shape(struct reader *r, struct gguf_tensor *t, uint64_t *weights, const char *what, struct err *e)
{
    uint32_t rank = 0;
    enum status s = take(r, &rank, sizeof rank, what, e);
    if (!s && rank > GGUF_MAX_RANK)
        s = fail(e, ST_EFORMAT, "%s: %s has %" PRIu32 " dimensions; at most %d are possible", r->file->path, what, rank, GGUF_MAX_RANK);
    t->rank = (int)rank;
    *weights = 1;
    for (int i = 0; i < GGUF_MAX_RANK && !s; i++) {
        t->shape[i] = 1;
        if (i < t->rank)
            s = take(r, &t->shape[i], sizeof t->shape[i], what, e);
        if (!s && (t->shape[i] == 0 || __builtin_mul_overflow(*weights, t->shape[i], weights)))
            s = fail(e, ST_EFORMAT, "%s: %s: dimension %d is %" PRIu64 ", which is impossible", r->file->path, what, i, t->shape[i]);
    }
    return s;
}

static enum status take_tensor_type(struct reader *r, struct gguf_tensor *t, uint64_t weights, const char *what, struct err *e)
{
    uint32_t type = 0;
    enum status s = take(r, &type, sizeof type, what, e);
    const struct gtype_info *info = gtype_info(type);
    if (s)
        return s;
    if (!info)
        return fail(e, ST_EFORMAT, "%s: %s: unknown type %" PRIu32, r->file->path, what, type);
    if (t->shape[0] % (uint64_t)info->weights)
        return fail(e, ST_EFORMAT, "%s: %s: rows of %" PRIu64 " weights are no whole blocks of %s", r->file->path, what, t->shape[0], info->name);
    if (__builtin_mul_overflow(weights / (uint64_t)info->weights, (uint64_t)info->bytes, &t->bytes))
        return fail(e, ST_EFORMAT, "%s: %s: %" PRIu64 " weights are impossible", r->file->path, what, weights);
    t->type = (enum gtype)type;
    return ST_OK;
}

static enum status take_tensor(struct reader *r, struct gguf_tensor *t, char *name_room, struct err *e)
{
    char what[GGUF_MAX_NAME + 16];
    struct gguf_string name;
    uint64_t weights = 0;
    enum status s = take_name(r, &name, GGUF_MAX_NAME - 1, "a tensor's name", e);
    if (s)
        return s;
    memcpy(name_room, placed(r, name.text), name.bytes); /* zeroed: terminated */
    t->name = name_room;
    snprintf(what, sizeof what, "tensor '%s'", name_room);
    s = take_shape(r, t, &weights, what, e);
    if (!s)
        s = take_tensor_type(r, t, weights, what, e);
    return s ? s : take(r, &t->offset, sizeof t->offset, what, e);
}

/* Offsets become positions in the file. Tensors follow each other in the order of the header; gaps do no harm. */
static enum status place_tensors(struct gguf_part *p, struct err *e)
{
    uint64_t room = p->file.bytes > p->data_begin ? p->file.bytes - p->data_begin : 0, next = 0;
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct gguf_tensor *t = &p->tensors[i];
        if (t->offset % p->alignment)
            return fail(e, ST_EFORMAT, "%s: tensor '%s': offset %" PRIu64 " is no multiple of the alignment %" PRIu64, p->file.path, t->name,
                        t->offset, p->alignment);
        if (t->offset > room || t->bytes > room - t->offset)
            return fail(e, ST_EFORMAT, "%s: tensor '%s': %" PRIu64 " bytes at offset %" PRIu64 " of %" PRIu64 " bytes of data: cut short?",
                        p->file.path, t->name, t->bytes, t->offset, room);
        if (t->offset < next)
            return fail(e, ST_EFORMAT, "%s: tensor '%s' at offset %" PRIu64 " overlaps the tensor before it, which ends at %" PRIu64, p->file.path,
                        t->name, t->offset, next);
        next = t->offset + t->bytes;
        t->offset += p->data_begin;
    }
    return ST_OK;
}

/* ---- the header */

static enum status take_counts(struct reader *r, struct gguf_part *p, struct err *e)
{
    char magic[4];
    uint32_t version = 0;
    uint64_t tensors = 0, keys = 0;
    if (r->file->bytes < sizeof magic || take(r, magic, sizeof magic, "the header", e) != ST_OK || memcmp(magic, "GGUF", sizeof magic))
        return fail(e, ST_EFORMAT, "%s: not a GGUF file", r->file->path);
    enum status s = take(r, &version, sizeof version, "the header", e);
    if (!s && (version < OLDEST || version > NEWEST))
        return version && !(version & 0xffff)
                   ? fail(e, ST_EUNSUPPORTED, "%s: a big-endian GGUF file; only little-endian ones are read", r->file->path)
                   : fail(e, ST_EUNSUPPORTED, "%s: GGUF version %" PRIu32 "; %d and %d are read", r->file->path, version, OLDEST, NEWEST);
    p->version = (int)version;
    if (!s)
        s = take(r, &tensors, sizeof tensors, "the header", e);
    if (!s)
        s = take(r, &keys, sizeof keys, "the header", e);
    if (!s && (tensors > r->file->bytes / LEAST_TENSOR || keys > r->file->bytes / LEAST_KEY || tensors > UINT32_MAX || keys > UINT32_MAX))
        s = fail(e, ST_EFORMAT, "%s: %" PRIu64 " tensors and %" PRIu64 " keys are more than its %" PRIu64 " bytes can hold", r->file->path, tensors,
                 keys, r->file->bytes);
    p->n_tensors = s ? 0 : (size_t)tensors;
    p->n_entries = s ? 0 : (size_t)keys;
    return s;
}

static enum status reserve(struct gguf_part *p, struct err *e)
{
    p->entries = calloc(p->n_entries + 1, sizeof *p->entries);
    p->by_key = calloc(p->n_entries + 1, sizeof *p->by_key);
    p->tensors = calloc(p->n_tensors + 1, sizeof *p->tensors);
    p->name_room = calloc(p->n_tensors + 1, GGUF_MAX_NAME);
    if (p->entries && p->by_key && p->tensors && p->name_room)
        return ST_OK;
    return fail(e, ST_ENOMEM, "%s: no memory for %zu tensors and %zu keys", p->file.path, p->n_tensors, p->n_entries);
}

static int compare(struct gguf_string a, struct gguf_string b)
{
    int order = memcmp(a.text, b.text, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int by_key(const void *a, const void *b, void *part)
{
    const struct gguf_part *p = part;
    return compare(p->entries[*(const uint32_t *)a].key, p->entries[*(const uint32_t *)b].key);
}

/* The buffer moves no more: positions become pointers, keys are sorted, and one that comes twice is found. */
static enum status index_keys(struct gguf_part *p, const struct reader *r, struct err *e)
{
    for (size_t i = 0; i < p->n_entries; i++) {
        p->entries[i].key.text = placed(r, p->entries[i].key.text);
        p->entries[i].value.data = placed(r, p->entries[i].value.data);
        p->by_key[i] = (uint32_t)i;
    }
    qsort_r(p->by_key, p->n_entries, sizeof *p->by_key, by_key, p);
    for (size_t i = 1; i < p->n_entries; i++)
        if (by_key(&p->by_key[i - 1], &p->by_key[i], p) == 0) {
            struct gguf_string key = p->entries[p->by_key[i]].key;
            return fail(e, ST_EFORMAT, "%s: key '%.*s' comes twice", p->file.path, key.bytes < 80 ? (int)key.bytes : 80, key.text);
        }
    return ST_OK;
}

const struct gguf_value *gguf_part_find(const struct gguf_part *p, const char *key)
{
    struct gguf_string want = {key, strlen(key)};
    for (size_t low = 0, high = p->n_entries; low < high;) {
        size_t middle = low + (high - low) / 2;
        const struct gguf_entry *x = &p->entries[p->by_key[middle]];
        int order = compare(want, x->key);
        if (order == 0)
            return &x->value;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static enum status read_alignment(struct gguf_part *p, struct err *e)
{
    const struct gguf_value *v = gguf_part_find(p, "general.alignment");
    int64_t x = 32;
    if (v && (!gguf_as_int(v, &x) || x < 1 || x > 1 << 20 || (x & (x - 1))))
        return fail(e, ST_EFORMAT, "%s: general.alignment is no power of two up to %d", p->file.path, 1 << 20);
    p->alignment = (uint64_t)x;
    return ST_OK;
}

static enum status parse(struct gguf_part *p, struct reader *r, struct err *e)
{
    enum status s = take_counts(r, p, e);
    if (!s)
        s = reserve(p, e);
    for (size_t i = 0; i < p->n_entries && !s; i++)
        s = take_entry(r, &p->entries[i], e);
    for (size_t i = 0; i < p->n_tensors && !s; i++)
        s = take_tensor(r, &p->tensors[i], p->name_room + i * GGUF_MAX_NAME, e);
    if (!s)
        s = index_keys(p, r, e);
    if (!s)
        s = read_alignment(p, e);
    p->data_begin = s ? 0 : align(r->at, p->alignment);
    return s ? s : place_tensors(p, e);
}

enum status gguf_part_open(struct gguf_part *p, const char *path, struct err *e)
{
    *p = (struct gguf_part){.file.fd = -1};
    enum status s = infile_open(&p->file, path, e);
    if (s)
        return s;
    struct reader r = {.file = &p->file};
    s = parse(p, &r, e);
    p->head = r.data;
    p->head_bytes = r.at;
    if (s)
        gguf_part_close(p);
    return s;
}

void gguf_part_close(struct gguf_part *p)
{
    infile_close(&p->file);
    free(p->head);
    free(p->entries);
    free(p->by_key);
    free(p->tensors);
    free(p->name_room);
    *p = (struct gguf_part){.file.fd = -1};
}
