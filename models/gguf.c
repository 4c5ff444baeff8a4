/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_core.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MAX_PARTS = 512, SPLIT_ENDING = sizeof "-00001-of-00002.gguf" - 1, CHUNK = 1 << 18 };

struct gguf {
    struct gguf_part *parts; /* (n_parts) owned */
    int n_parts;
    const struct gguf_tensor **tensors, **by_name; /* (n_tensors) owned; file order, sorted */
    size_t n_tensors;
};

void gguf_close(struct gguf *g)
{
    if (!g)
        return;
    for (int i = 0; i < g->n_parts; i++)
        gguf_part_close(&g->parts[i]);
    free(g->parts);
    free(g->tensors);
    free(g->by_name);
    free(g);
}

/* ---- splits */

/* split.no and split.count; a file without them is the only one. */
static enum status split_of(const struct gguf_part *p, int *no, int *count, struct err *e)
{
    const struct gguf_value *v_no = gguf_part_find(p, "split.no"), *v_count = gguf_part_find(p, "split.count");
    int64_t x = 0, n = 1;
    *no = 0;
    *count = 1;
    if (!v_count)
        return ST_OK;
    if (!gguf_as_int(v_count, &n) || n < 0 || n > MAX_PARTS)
        return fail(e, ST_EFORMAT, "%s: split.count is not a number up to %d", p->file.path, MAX_PARTS);
    if (n <= 1)
        return ST_OK;
    if (!v_no || !gguf_as_int(v_no, &x) || x < 0 || x >= n)
        return fail(e, ST_EFORMAT, "%s: split.no is not one of the %d splits", p->file.path, (int)n);
    *no = (int)x;
    *count = (int)n;
    return ST_OK;
}

static void split_ending(char ending[SPLIT_ENDING + 1], int no, int count)
{
    snprintf(ending, SPLIT_ENDING + 1, "-%05u-of-%05u.gguf", (unsigned)(no + 1) % 100000, (unsigned)count % 100000);
}

static enum status open_split(struct gguf_part *p, const char *prefix, size_t prefix_bytes, int no, int count, struct err *e)
{
    char path[4096], ending[SPLIT_ENDING + 1];
    struct err why = {0};
    int found_no, found_count;
    split_ending(ending, no, count);
    if ((size_t)snprintf(path, sizeof path, "%.*s%s", (int)prefix_bytes, prefix, ending) >= sizeof path)
        return fail(e, ST_EUSAGE, "%.200s…: the path is too long", prefix);
    enum status s = gguf_part_open(p, path, &why);
    if (s)
        return fail(e, s, s == ST_ENOENT ? "%s, split %d of %d: put all splits into one folder" : "%s", why.text, no + 1, count);
    s = split_of(p, &found_no, &found_count, e);
    if (!s && (found_no != no || found_count != count))
        s = fail(e, ST_EFORMAT, "%s: its metadata says split %d of %d, its name says %d of %d", path, found_no + 1, found_count, no + 1, count);
    return s;
}

/* first is the split that was named, open already: it moves into its place among the others. */
static enum status open_others(struct gguf *g, struct gguf_part *first, int no, int count, struct err *e)
{
    char ending[SPLIT_ENDING + 1];
    const char *path = first->file.path;
    size_t length = strlen(path);
    split_ending(ending, no, count);
    if (length < SPLIT_ENDING || strcmp(path + length - SPLIT_ENDING, ending))
        return fail(e, ST_EFORMAT, "%s: it is split %d of %d, so its name must end in %s for the others to be found", path, no + 1, count, ending);
    enum status s = ST_OK;
    g->parts[no] = *first;
    *first = (struct gguf_part){.file.fd = -1};
    for (int i = 0; i < count && !s; i++)
        if (i != no)
            s = open_split(&g->parts[i], path, length - SPLIT_ENDING, i, count, e);
    return s;
}

static enum status open_parts(struct gguf *g, struct gguf_part *first, struct err *e)
{
    int no, count;
    enum status s = split_of(first, &no, &count, e);
    if (s)
        return s;
    g->parts = calloc((size_t)count, sizeof *g->parts);
    if (!g->parts)
        return fail(e, ST_ENOMEM, "%s: no memory for %d splits", first->file.path, count);
    g->n_parts = count;
    for (int i = 0; i < count; i++)
        g->parts[i].file.fd = -1;
    if (count > 1)
        return open_others(g, first, no, count, e);
    g->parts[0] = *first;
    *first = (struct gguf_part){.file.fd = -1};
    return ST_OK;
}

/* ---- the tensors of all splits */

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct gguf_tensor *const *)a)->name, (*(const struct gguf_tensor *const *)b)->name);
}

static enum status check_count(const struct gguf *g, struct err *e)
{
    int64_t want = 0;
    const struct gguf_value *v = gguf_find(g, "split.tensors.count");
    if (g->n_parts == 1 || (v && gguf_as_int(v, &want) && want >= 0 && (uint64_t)want == g->n_tensors))
        return ST_OK;
    return fail(e, ST_EFORMAT, "%s: its %d splits hold %zu tensors, and split.tensors.count %s", gguf_path(g), g->n_parts, g->n_tensors,
                v ? "says otherwise" : "is missing");
}

static enum status index_tensors(struct gguf *g, struct err *e)
{
    for (int i = 0; i < g->n_parts; i++)
        g->n_tensors += g->parts[i].n_tensors;
    g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
    g->by_name = calloc(g->n_tensors + 1, sizeof *g->by_name);
    if (!g->tensors || !g->by_name)
        return fail(e, ST_ENOMEM, "%s: no memory for a list of %zu tensors", gguf_path(g), g->n_tensors);
    size_t n = 0;
    for (int i = 0; i < g->n_parts; i++)
        for (size_t k = 0; k < g->parts[i].n_tensors; k++) {
            g->parts[i].tensors[k].part = i;
            g->tensors[n] = g->by_name[n] = &g->parts[i].tensors[k];
            n++;
        }
    qsort(g->by_name, n, sizeof *g->by_name, by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(g->by_name[i - 1]->name, g->by_name[i]->name))
            return fail(e, ST_EFORMAT, "%s: tensor '%s' comes twice", gguf_path(g), g->by_name[i]->name);
    return check_count(g, e);
}

enum status gguf_open(struct gguf **out, const char *path, struct err *e)
{
    struct gguf_part first;
    *out = NULL;
    enum status s = gguf_part_open(&first, path, e);
    if (s)
        return s;
    struct gguf *g = calloc(1, sizeof *g);
    s = g ? open_parts(g, &first, e) : fail(e, ST_ENOMEM, "%s: no memory", path);
    gguf_part_close(&first);
    if (!s)
        s = index_tensors(g, e);
    if (s)
        gguf_close(g);
    else
        *out = g;
    return s;
}

const char *gguf_path(const struct gguf *g) { return g->parts[0].file.path; }
int gguf_parts(const struct gguf *g) { return g->n_parts; }
int gguf_version(const struct gguf *g) { return g->parts[0].version; }

uint64_t gguf_bytes(const struct gguf *g)
{
    uint64_t bytes = 0;
    for (int i = 0; i < g->n_parts; i++)
        bytes += g->parts[i].file.bytes;
    return bytes;
}

static enum status hash_file(const struct infile *f, XXH64_state_t *state, uint8_t *chunk, struct err *e)
{
    enum status s = ST_OK;
    for (uint64_t at = 0; at < f->bytes && !s; at += CHUNK) {
        size_t n = f->bytes - at < CHUNK ? (size_t)(f->bytes - at) : CHUNK;
        s = infile_read(f, chunk, n, at, e);
        XXH64_update(state, chunk, s ? 0 : n);
    }
    return s;
}

enum status gguf_hash(const struct gguf *g, char hash[17], struct err *e)
{
    XXH64_state_t state;
    uint8_t *chunk = malloc(CHUNK);
    enum status s = chunk ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory to read it", gguf_path(g));
    XXH64_reset(&state, 0);
    for (int i = 0; i < g->n_parts && !s; i++)
        s = hash_file(&g->parts[i].file, &state, chunk, e);
    snprintf(hash, 17, "%016" PRIx64, (uint64_t)XXH64_digest(&state));
    free(chunk);
    return s;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) { return gguf_part_find(&g->parts[0], key); }

const struct gguf_value *gguf_key(const struct gguf *g, size_t i, struct gguf_string *key)
{
    const struct gguf_part *p = &g->parts[0];
    if (i >= p->n_entries)
        return NULL;
    *key = p->entries[i].key;
    return &p->entries[i].value;
}

size_t gguf_tensors(const struct gguf *g) { return g->n_tensors; }
const struct gguf_tensor *gguf_tensor(const struct gguf *g, size_t i) { return i < g->n_tensors ? g->tensors[i] : NULL; }

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    struct gguf_tensor want = {.name = name}, *key = &want;
    const struct gguf_tensor **found = bsearch(&key, g->by_name, g->n_tensors, sizeof *g->by_name, by_name);
    return found ? *found : NULL;
}

uint64_t gguf_tensor_rows(const struct gguf_tensor *t) { return t->shape[1] * t->shape[2] * t->shape[3]; }

/* ---- data */

enum status gguf_read(const struct gguf *g, const struct gguf_tensor *t, uint64_t at, void *dst, size_t bytes, struct err *e)
{
    struct err why = {0};
    if (at > t->bytes || bytes > t->bytes - at)
        return fail(e, ST_EUSAGE, "%s: tensor '%s' has no %zu bytes at byte %" PRIu64, gguf_path(g), t->name, bytes, at);
    enum status s = infile_read(&g->parts[t->part].file, dst, bytes, t->offset + at, &why);
    return s ? fail(e, s, "%s (tensor '%s')", why.text, t->name) : ST_OK;
}

static enum status check_finite(const struct gguf *g, const struct gguf_tensor *t, const float *w, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return fail(e, ST_EFORMAT, "%s: tensor '%s': a weight is infinite or not a number", g->parts[t->part].file.path, t->name);
    return ST_OK;
}

enum status gguf_read_floats(const struct gguf *g, const struct gguf_tensor *t, uint64_t first, uint64_t rows, float *w, struct err *e)
{
    const struct gtype_info *type = gtype_info(t->type);
    uint64_t row_blocks = t->shape[0] / (uint64_t)type->weights, at = first * row_blocks * (uint64_t)type->bytes;
    if (!type->dequantize)
        return fail(e, ST_EUNSUPPORTED, "%s: tensor '%s' is %s, which qbench does not dequantize", gguf_path(g), t->name, type->name);
    uint8_t *chunk = malloc(CHUNK);
    enum status s = chunk ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory to read a tensor", gguf_path(g));
    size_t most = CHUNK / (size_t)type->bytes;
    for (uint64_t left = rows * row_blocks; left && !s;) {
        size_t blocks = left < most ? (size_t)left : most, n = blocks * (size_t)type->weights, bytes = blocks * (size_t)type->bytes;
        s = gguf_read(g, t, at, chunk, bytes, e);
        if (!s) {
            type->dequantize(w, chunk, blocks);
            s = check_finite(g, t, w, n, e);
        }
        w += n;
        at += bytes;
        left -= blocks;
    }
    free(chunk);
    return s;
}
