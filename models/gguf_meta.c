/* gguf_meta.c — the values of gguf.h: conversions, typed lookup, arrays. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gguf_core.h"

/* ---- one value */

static uint64_t load(const struct gguf_value *v)
{
    uint64_t x = 0;
    memcpy(&x, v->data, gguf_fixed_bytes(v->type)); /* little-endian: the low bytes come first */
    return x;
}

bool gguf_as_int(const struct gguf_value *v, int64_t *x)
{
    uint64_t bits = load(v);
    switch (v->type) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32: *x = (int64_t)bits; return true;
    case GGUF_I8: *x = (int8_t)bits; return true;
    case GGUF_I16: *x = (int16_t)bits; return true;
    case GGUF_I32: *x = (int32_t)bits; return true;
    case GGUF_I64: *x = (int64_t)bits; return true;
    case GGUF_U64:
        if (bits <= INT64_MAX)
            *x = (int64_t)bits;
        return bits <= INT64_MAX;
    default: return false;
    }
}

bool gguf_as_real(const struct gguf_value *v, double *x)
{
    int64_t integer;
    float single;
    if (v->type == GGUF_F64) {
        memcpy(x, v->data, sizeof *x);
    } else if (v->type == GGUF_F32) {
        memcpy(&single, v->data, sizeof single);
        *x = (double)single;
    } else if (gguf_as_int(v, &integer)) {
        *x = (double)integer;
    } else if (v->type == GGUF_U64) {
        *x = (double)load(v);
    } else {
        return false;
    }
    return true;
}

bool gguf_as_bool(const struct gguf_value *v, bool *x)
{
    if (v->type != GGUF_BOOL)
        return false;
    *x = v->data[0] != 0;
    return true;
}

bool gguf_as_string(const struct gguf_value *v, struct gguf_string *x)
{
    uint64_t bytes;
    if (v->type != GGUF_STRING)
        return false;
    memcpy(&bytes, v->data, sizeof bytes);
    *x = (struct gguf_string){(const char *)v->data + sizeof bytes, (size_t)bytes};
    return true;
}

bool gguf_is(const struct gguf_value *v, const char *text)
{
    struct gguf_string x;
    return v && gguf_as_string(v, &x) && x.bytes == strlen(text) && !memcmp(x.text, text, x.bytes);
}

const char *gguf_show(struct gguf_string x, char *buf, size_t n)
{
    size_t bytes = x.bytes < n - 1 ? x.bytes : n - 1;
    while (bytes < x.bytes && bytes && (x.text[bytes] & 0xc0) == 0x80) /* not within a character */
        bytes--;
    for (size_t i = 0; i < bytes; i++)
        buf[i] = (unsigned char)x.text[i] < ' ' || x.text[i] == 0x7f ? '?' : x.text[i];
    buf[bytes] = '\0';
    return buf;
}

/* ---- by key */

static enum status find(const struct gguf *g, const char *key, const struct gguf_value **v, struct err *e)
{
    *v = gguf_find(g, key);
    return *v ? ST_OK : fail(e, ST_ENOENT, "%s: key '%s' is missing", gguf_path(g), key);
}

static enum status other_type(const struct gguf *g, const char *key, const struct gguf_value *v, const char *want, struct err *e)
{
    return fail(e, ST_EFORMAT, "%s: key '%s' is %s%s%s, not %s", gguf_path(g), key, gguf_type_names[v->type], v->type == GGUF_ARRAY ? " of " : "",
                v->type == GGUF_ARRAY ? gguf_type_names[v->of] : "", want);
}

enum status gguf_int(const struct gguf *g, const char *key, int64_t lo, int64_t hi, int64_t *x, struct err *e)
{
    const struct gguf_value *v;
    int64_t found;
    enum status s = find(g, key, &v, e);
    if (s)
        return s;
    if (!gguf_as_int(v, &found))
        return other_type(g, key, v, "a whole number", e);
    if (found < lo || found > hi)
        return fail(e, ST_EFORMAT, "%s: key '%s' is %" PRId64 "; it must be %" PRId64 " to %" PRId64, gguf_path(g), key, found, lo, hi);
    *x = found;
    return ST_OK;
}

enum status gguf_real(const struct gguf *g, const char *key, double *x, struct err *e)
{
    const struct gguf_value *v;
    enum status s = find(g, key, &v, e);
    return s ? s : gguf_as_real(v, x) ? ST_OK : other_type(g, key, v, "a number", e);
}

enum status gguf_bool(const struct gguf *g, const char *key, bool *x, struct err *e)
{
    const struct gguf_value *v;
    enum status s = find(g, key, &v, e);
    return s ? s : gguf_as_bool(v, x) ? ST_OK : other_type(g, key, v, "a boolean", e);
}

enum status gguf_text(const struct gguf *g, const char *key, struct gguf_string *x, struct err *e)
{
    const struct gguf_value *v;
    enum status s = find(g, key, &v, e);
    return s ? s : gguf_as_string(v, x) ? ST_OK : other_type(g, key, v, "a string", e);
}

/* ---- arrays */

bool gguf_items_of(const struct gguf_value *array, struct gguf_items *items)
{
    if (array->type != GGUF_ARRAY)
        return false;
    *items = (struct gguf_items){array->of, array->count, array->data};
    return true;
}

enum status gguf_array(const struct gguf *g, const char *key, enum gguf_type of, struct gguf_items *items, struct err *e)
{
    char want[32];
    const struct gguf_value *v;
    enum status s = find(g, key, &v, e);
    if (s)
        return s;
    snprintf(want, sizeof want, "an array of %s", gguf_type_names[of]);
    return gguf_items_of(v, items) && items->of == of ? ST_OK : other_type(g, key, v, want, e);
}

/* Behind the value at v->data; everything was checked when the file was opened. */
static const uint8_t *behind(const struct gguf_value *v)
{
    struct gguf_string text;
    struct gguf_items items;
    struct gguf_value element;
    if (gguf_as_string(v, &text))
        return (const uint8_t *)text.text + text.bytes;
    if (!gguf_items_of(v, &items))
        return v->data + gguf_fixed_bytes(v->type);
    if (gguf_fixed_bytes(items.of))
        return items.at + items.left * gguf_fixed_bytes(items.of);
    while (gguf_next(&items, &element))
        ;
    return items.at;
}

bool gguf_next(struct gguf_items *items, struct gguf_value *v)
{
    uint32_t of;
    if (items->left == 0)
        return false;
    *v = (struct gguf_value){.type = items->of, .of = items->of, .count = 1, .data = items->at};
    if (v->type == GGUF_ARRAY) {
        memcpy(&of, items->at, sizeof of);
        v->of = (enum gguf_type)of;
        memcpy(&v->count, items->at + sizeof of, sizeof v->count);
        v->data = items->at + sizeof of + sizeof v->count;
    }
    items->at = behind(v);
    items->left--;
    return true;
}
