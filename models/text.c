/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "utf8.h"

const char *const split_names[SPLIT_COUNT] = {"train", "calib", "valid", "test"};

/* The seed of the documents' hash: of the first two thousand, the one whose splits of Debian 12's kjv, python and man come nearest
 * to their shares in bytes (within a fifth; documents differ much in size, so an arbitrary seed can miss by a factor of three). */
enum { SPLIT_SEED = 616 };

enum { MIN_BYTES = 64 * 1024, SECTION_BYTES = 4096, SECTION_MAX = 2 * SECTION_BYTES };

/* ---- files */

struct blob {
    uint8_t *data; /* NUL-terminated */
    size_t bytes;
};

static enum status read_open(struct blob *b, FILE *f, const char *path, struct err *e)
{
    struct stat st;
    if (fstat(fileno(f), &st))
        return fail(e, ST_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ST_EFORMAT, "%s: not a regular file", path);
    size_t room = (size_t)st.st_size;
    b->data = malloc(room + 1);
    if (!b->data)
        return fail(e, ST_ENOMEM, "%s: no memory for its %zu bytes", path, room);
    b->bytes = fread(b->data, 1, room, f);
    b->data[b->bytes] = '\0';
    if (b->bytes != room)
        return fail(e, ST_EIO, "%s: read %zu of %zu bytes: %s", path, b->bytes, room, ferror(f) ? strerror(errno) : "it shrank");
    return ST_OK;
}

/* b->data is the caller's to free, also after a failure. */
static enum status read_file(struct blob *b, const char *path, struct err *e)
{
    *b = (struct blob){0};
    FILE *f = fopen(path, "rb");
    if (!f)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno));
    enum status s = read_open(b, f, path, e);
    fclose(f);
    return s;
}

/* The CRC of POSIX cksum: most significant bit first, the length after the data, complemented. */
static uint32_t posix_cksum(const uint8_t *p, size_t n)
{
    uint32_t table[256], crc = 0;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t r = i << 24;
        for (int k = 0; k < 8; k++)
            r = r << 1 ^ (r >> 31 ? 0x04c11db7u : 0);
        table[i] = r;
    }
    for (size_t i = 0; i < n; i++)
        crc = crc << 8 ^ table[crc >> 24 ^ p[i]];
    for (; n; n >>= 8)
        crc = crc << 8 ^ table[crc >> 24 ^ (n & 0xff)];
    return ~crc;
}

/* ---- UTF-8 */

static enum status check_utf8(const struct corpus *c, const char *path, struct err *e)
{
    size_t at = utf8_run(c->text, c->bytes);
    if (at < c->bytes)
        return fail(e, ST_EFORMAT, "%s: not UTF-8 at byte %zu (0x%02x); convert it with iconv", path, at, c->text[at]);
    return ST_OK;
}

/* ---- splits */

static enum split split_of(uint64_t hash)
{
    unsigned percent = (unsigned)(hash % 100);
    return percent < 5 ? SPLIT_TEST : percent < 8 ? SPLIT_VALID : percent < 10 ? SPLIT_CALIB : SPLIT_TRAIN;
}

/* The fullest split gives its document of the smallest hash to an empty one. */
static void donate(struct corpus *c, const uint64_t *hash, size_t *counts, enum split empty)
{
    enum split from = SPLIT_TRAIN;
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (counts[s] > counts[from])
            from = (enum split)s;
    size_t best = c->doc_count;
    for (size_t i = 0; i < c->doc_count; i++)
        if (c->docs[i].split == from && (best == c->doc_count || hash[i] < hash[best]))
            best = i;
    c->docs[best].split = empty;
    counts[from]--;
    counts[empty]++;
}

static enum status assign_splits(struct corpus *c, const uint64_t *hash, const char *path, struct err *e)
{
    if (c->doc_count < SPLIT_COUNT)
        return fail(e, ST_EFORMAT, "%s: %zu documents cannot be split into train, calib, valid and test", path, c->doc_count);
    size_t counts[SPLIT_COUNT] = {0};
    for (size_t i = 0; i < c->doc_count; i++)
        counts[c->docs[i].split = split_of(hash[i])]++;
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (!counts[s])
            donate(c, hash, counts, (enum split)s);
    return ST_OK;
}

/* ---- documents: sections of a user's file */

/* Where the section that begins at `at` ends: a blank line after 4 KB, else a line's end before 8 KB, else a character's. */
static size_t section_end(const struct corpus *c, size_t at)
{
    size_t left = c->bytes - at, n = left < SECTION_MAX ? left : SECTION_MAX;
    const uint8_t *s = c->text + at;
    if (left < SECTION_BYTES + SECTION_BYTES / 2)
        return c->bytes;
    for (size_t i = SECTION_BYTES; i < n; i++)
        if (s[i] == '\n' && s[i - 1] == '\n')
            return at + i + 1;
    for (size_t i = n; i > SECTION_BYTES; i--)
        if (s[i - 1] == '\n')
            return at + i;
    while (n < left && (s[n] & 0xc0) == 0x80)
        n--;
    return at + n;
}

static enum status cut_sections(struct corpus *c, uint64_t **hash, struct err *e)
{
    size_t room = c->bytes / SECTION_BYTES + 1;
    c->docs = malloc(room * sizeof *c->docs);
    *hash = malloc(room * sizeof **hash);
    if (!c->docs || !*hash)
        return fail(e, ST_ENOMEM, "no memory for the documents of '%s'", c->name);
    for (size_t at = 0; at < c->bytes; c->doc_count++) {
        char name[24];
        size_t n = (size_t)snprintf(name, sizeof name, "%zu", c->doc_count), end = section_end(c, at);
        c->docs[c->doc_count] = (struct document){.begin = at, .end = end};
        (*hash)[c->doc_count] = XXH64(name, n, SPLIT_SEED);
        at = end;
    }
    return ST_OK;
}

/* ---- documents: corpus.sh's index */

static const char remake[] = "delete it and run 'make corpus'";

/* One line: "<offset>\t<name>". Offsets grow from 0 and fall on characters. */
static enum status index_line(struct corpus *c, const char *line, uint64_t *hash, const char *path, struct err *e)
{
    size_t i = c->doc_count;
    char *tab;
    errno = 0;
    unsigned long long offset = strtoull(line, &tab, 10);
    if (line[0] < '0' || line[0] > '9' || errno || *tab != '\t' || !tab[1])
        return fail(e, ST_EFORMAT, "%s:%zu: not an offset, a tab and a name; %s", path, i + 1, remake);
    bool in_order = i ? offset > c->docs[i - 1].begin : offset == 0;
    if (!in_order || offset >= c->bytes || (c->text[offset] & 0xc0) == 0x80)
        return fail(e, ST_EFORMAT, "%s:%zu: no document can begin at byte %llu; %s", path, i + 1, offset, remake);
    if (i)
        c->docs[i - 1].end = (size_t)offset;
    c->docs[i] = (struct document){.begin = (size_t)offset, .end = c->bytes};
    hash[i] = XXH64(tab + 1, strlen(tab + 1), SPLIT_SEED);
    c->doc_count++;
    return ST_OK;
}

static enum status parse_index(struct corpus *c, struct blob *index, uint64_t **hash, const char *path, struct err *e)
{
    size_t lines = 1;
    for (size_t i = 0; i < index->bytes; i++)
        lines += index->data[i] == '\n';
    c->docs = malloc(lines * sizeof *c->docs);
    *hash = malloc(lines * sizeof **hash);
    if (!c->docs || !*hash)
        return fail(e, ST_ENOMEM, "no memory for the documents of '%s'", c->name);
    enum status s = ST_OK;
    for (char *line = (char *)index->data; *line && !s;) {
        char *end = strchrnul(line, '\n'), *next = *end ? end + 1 : end;
        *end = '\0';
        s = index_line(c, line, *hash, path, e);
        line = next;
    }
    return s;
}

/* ---- corpus.sh's record */

struct record {
    char title[128];
    struct {
        unsigned long crc, bytes;
        bool known;
    } text, index;
};

static void parse_record(struct record *r, const char *s)
{
    *r = (struct record){0};
    for (const char *end; *s; s = *end ? end + 1 : end) {
        end = strchrnul(s, '\n');
        if (!strncmp(s, "title: ", 7))
            snprintf(r->title, sizeof r->title, "%.*s", (int)(end - s - 7), s + 7);
        else if (sscanf(s, "text: %lu %lu", &r->text.crc, &r->text.bytes) == 2)
            r->text.known = true;
        else if (sscanf(s, "index: %lu %lu", &r->index.crc, &r->index.bytes) == 2)
            r->index.known = true;
    }
}

static enum status verify(const uint8_t *p, size_t n, unsigned long crc, unsigned long bytes, const char *path, struct err *e)
{
    if (n != bytes)
        return fail(e, ST_EFORMAT, "%s: %zu bytes, but %lu were extracted; %s", path, n, bytes, remake);
    uint32_t is = posix_cksum(p, n);
    if (is != crc)
        return fail(e, ST_EFORMAT, "%s: checksum %lu, but %lu was recorded; %s", path, (unsigned long)is, crc, remake);
    return ST_OK;
}

/* ---- opening */

static enum status check_text(const struct corpus *c, const char *path, struct err *e)
{
    if (!c->bytes)
        return fail(e, ST_EFORMAT, "%s: empty", path);
    if (c->bytes < MIN_BYTES)
        return fail(e, ST_EFORMAT, "%s: %zu bytes are too few to split into train, calib, valid and test; give at least %d", path,
                    c->bytes, MIN_BYTES);
    return check_utf8(c, path, e);
}

static enum status open_file(struct corpus *c, const char *path, uint64_t **hash, struct err *e)
{
    struct blob b;
    enum status s = read_file(&b, path, e);
    c->text = b.data;
    c->bytes = b.bytes;
    const char *slash = strrchr(path, '/');
    snprintf(c->name, sizeof c->name, "%s", slash ? slash + 1 : path);
    snprintf(c->title, sizeof c->title, "%s", c->name);
    if (!s)
        s = check_text(c, path, e);
    if (!s)
        s = cut_sections(c, hash, e);
    return s ? s : assign_splits(c, *hash, path, e);
}

/* Reads dir/name.what. What corpus.sh has not made, or not finished, is simply not there. */
static enum status read_part(struct blob *b, char *path, size_t room, const char *dir, const char *name, const char *what,
                             struct err *e)
{
    struct err why = {0};
    snprintf(path, room, "%s/%s.%s", dir, name, what);
    enum status s = read_file(b, path, &why);
    if (s == ST_ENOENT)
        return fail(e, s, "no text '%s' (%s is not there); run 'make corpus', or give the path of a UTF-8 file", name, path);
    return s ? fail(e, s, "%s", why.text) : ST_OK;
}

static enum status open_extracted(struct corpus *c, const char *name, const char *dir, uint64_t **hash, struct err *e)
{
    char path[3][1024];
    struct blob text = {0}, index = {0}, info = {0};
    enum status s = read_part(&text, path[0], sizeof path[0], dir, name, "txt", e);
    c->text = text.data;
    c->bytes = text.bytes;
    snprintf(c->name, sizeof c->name, "%s", name);
    if (!s)
        s = read_part(&index, path[1], sizeof path[1], dir, name, "docs", e);
    if (!s)
        s = read_part(&info, path[2], sizeof path[2], dir, name, "info", e);
    if (s)
        goto out;
    struct record r;
    parse_record(&r, (const char *)info.data);
    snprintf(c->title, sizeof c->title, "%s", r.title);
    if (!r.title[0] || !r.text.known || !r.index.known)
        s = fail(e, ST_EFORMAT, "%s: no title, text or index line; %s", path[2], remake);
    else if (!(s = verify(text.data, text.bytes, r.text.crc, r.text.bytes, path[0], e)) &&
             !(s = verify(index.data, index.bytes, r.index.crc, r.index.bytes, path[1], e)) &&
             !(s = check_text(c, path[0], e)) && !(s = parse_index(c, &index, hash, path[1], e)))
        s = assign_splits(c, *hash, path[1], e);
out:
    free(index.data);
    free(info.data);
    return s;
}

enum status corpus_open(struct corpus *c, const char *name, const char *dir, struct err *e)
{
    *c = (struct corpus){0};
    uint64_t *hash = NULL;
    bool is_path = strchr(name, '/') || strchr(name, '.');
    enum status s = is_path ? open_file(c, name, &hash, e) : open_extracted(c, name, dir, &hash, e);
    free(hash);
    if (s)
        corpus_close(c);
    else
        snprintf(c->hash, sizeof c->hash, "%016llx", (unsigned long long)XXH64(c->text, c->bytes, 0));
    if (!s && is_path) {
        char *absolute = realpath(name, NULL);
        snprintf(c->path, sizeof c->path, "%s", absolute ? absolute : name);
        free(absolute);
    }
    return s;
}

void corpus_close(struct corpus *c)
{
    free(c->text);
    free(c->docs);
    *c = (struct corpus){0};
}

size_t corpus_split_bytes(const struct corpus *c, enum split split)
{
    size_t sum = 0;
    for (size_t i = 0; i < c->doc_count; i++)
        if (c->docs[i].split == split)
            sum += c->docs[i].end - c->docs[i].begin;
    return sum;
}

/* ---- tokens */

void tokens_free(struct tokens *t)
{
    free(t->id);
    free(t->doc);
    *t = (struct tokens){0};
}

static int32_t boundary_of(const struct tokenizer *t)
{
    const struct vocab *v = tokenizer_vocab(t);
    return v->bos >= 0 ? v->bos : v->eos;
}

int token_bytes(const struct tokenizer *t, int32_t before, int32_t id)
{
    int bytes;
    const uint8_t *text = tokenizer_piece(t, id, &bytes);
    bool first = before < 0 || before == boundary_of(t);
    return bytes - (first && bytes > 0 && text[0] == ' ' && tokenizer_vocab(t)->space_prefix);
}

static enum status put_document(struct tokens *t, struct id_list *ids, const struct corpus *c, const struct document *d, struct tokenizer *tokenizer,
                                struct err *e)
{
    t->doc[t->docs++] = ids->count;
    if (t->boundary >= 0 && !id_list_put(ids, t->boundary))
        return fail(e, ST_ENOMEM, "no memory for the tokens of '%s'", c->name);
    t->bytes += d->end - d->begin;
    return tokenizer_encode(tokenizer, c->text + d->begin, d->end - d->begin, 0, ids, e);
}

enum status tokens_cut(struct tokens *t, const struct corpus *c, enum split split, struct tokenizer *tokenizer, size_t max_tokens,
                       struct err *e)
{
    struct id_list ids = {0};
    size_t docs = 0;
    for (size_t i = 0; i < c->doc_count; i++)
        docs += c->docs[i].split == split;
    *t = (struct tokens){.boundary = boundary_of(tokenizer)};
    if (!docs)
        return fail(e, ST_EUSAGE, "the text '%s' has no document in its %s split", c->name, split_names[split]);
    t->doc = malloc(docs * sizeof *t->doc);
    enum status s = t->doc ? ST_OK : fail(e, ST_ENOMEM, "no memory for the tokens of '%s'", c->name);
    for (size_t i = 0; i < c->doc_count && !s && (!max_tokens || ids.count < max_tokens); i++)
        if (c->docs[i].split == split)
            s = put_document(t, &ids, c, &c->docs[i], tokenizer, e);
    t->id = ids.id;
    t->count = ids.count;
    if (s)
        tokens_free(t);
    for (; !s && max_tokens && t->count > max_tokens; t->count--)
        t->bytes -= (size_t)token_bytes(tokenizer, t->count > 1 ? t->id[t->count - 2] : -1, t->id[t->count - 1]);
    return s;
}
