/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tok_core.h"
#include "tok_gguf.h"

static enum status no_memory(const char *path, struct err *e) { return fail(e, ST_ENOMEM, "%s: no memory", path); }

/* ---- reading files */

enum { MAX_BYTES = 1 << 30 };

static enum status read_stream(struct file_text *f, FILE *in, struct err *e)
{
    struct stat st;
    if (fstat(fileno(in), &st))
        return fail(e, ST_EIO, "%s: %s", f->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ST_EFORMAT, "%s: not a regular file", f->path);
    if (st.st_size > MAX_BYTES)
        return fail(e, ST_EFORMAT, "%s: %lld bytes are too many for a tokenizer", f->path, (long long)st.st_size);
    f->text = malloc((size_t)st.st_size + 1);
    if (!f->text)
        return no_memory(f->path, e);
    f->bytes = fread(f->text, 1, (size_t)st.st_size, in);
    f->text[f->bytes] = '\0';
    return ferror(in) ? fail(e, ST_EIO, "%s: %s", f->path, strerror(errno)) : ST_OK;
}

static enum status read_text(struct file_text *f, const char *path, struct err *e)
{
    *f = (struct file_text){.path = path};
    FILE *in = fopen(path, "rb");
    if (!in)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno));
    enum status s = read_stream(f, in, e);
    fclose(in);
    return s;
}

/* The file `name` in the folder of path. */
static void beside(char *out, size_t room, const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    snprintf(out, room, "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
}

/* The first of the names (ends with NULL) that is a file in the folder of path, read. */
static enum status read_beside(struct file_text *f, char path[PATH_MAX], const char *of, const char *const *names, struct err *e)
{
    for (const char *const *n = names; *n; n++) {
        struct err why = {0};
        beside(path, PATH_MAX, of, *n);
        enum status s = read_text(f, path, &why);
        if (s != ST_ENOENT)
            return s ? fail(e, s, "%s", why.text) : ST_OK;
    }
    return fail(e, ST_ENOENT, "%s: needs %s%s%s in the same folder", of, names[0], names[1] ? " or " : "", names[1] ? names[1] : "");
}

/* ---- llama2.c */

enum { SPECIALS = 3 };
static const char *const special_names[SPECIALS] = {"<unk>", "<s>", "</s>"};

struct cursor {
    const uint8_t *at;
    size_t left;
};

static bool take(struct cursor *c, void *out, size_t n)
{
    if (c->left < n)
        return false;
    memcpy(out, c->at, n);
    c->at += n;
    c->left -= n;
    return true;
}

/* One piece, its text copied behind *room with U+2581 for spaces. */
static enum status read_piece(struct piece *p, int id, struct cursor *c, int32_t longest, char **room, const char *path, struct err *e)
{
    int32_t n;
    if (!take(c, &p->score, 4) || !take(c, &n, 4))
        return fail(e, ST_EFORMAT, "%s: cut off at piece %d", path, id);
    if (n < 1 || n > longest)
        return fail(e, ST_EFORMAT, "%s: piece %d has %d bytes; the file's longest has %d", path, id, n, longest);
    if (c->left < (size_t)n)
        return fail(e, ST_EFORMAT, "%s: cut off at piece %d", path, id);
    p->text = *room;
    for (int32_t i = 0; i < n; i++)
        *room = c->at[i] == ' ' ? stpcpy(*room, "\xe2\x96\x81") : (**room = (char)c->at[i], *room + 1);
    p->bytes = (uint32_t)(*room - p->text);
    p->type = n == 6 && !memcmp(c->at, "<0x", 3) && c->at[5] == '>' ? PIECE_BYTE : PIECE_NORMAL;
    c->at += n;
    c->left -= (size_t)n;
    return ST_OK;
}

/* The exporter puts line ends around them. */
static enum status make_special(struct piece *p, int id, const char *path, struct err *e)
{
    if (!memmem(p->text, p->bytes, special_names[id], strlen(special_names[id])))
        return fail(e, ST_EFORMAT, "%s: piece %d is '%.*s'; in llama2.c's tokenizer.bin it is '%s'", path, id, min_int(40, (int)p->bytes), p->text,
                    special_names[id]);
    p->text = special_names[id];
    p->bytes = (uint32_t)strlen(p->text);
    p->type = id ? PIECE_CONTROL : PIECE_UNKNOWN;
    return ST_OK;
}

static enum status read_pieces(struct vocab *v, struct piece *piece, char *room, const struct file_text *f, struct err *e)
{
    struct cursor c = {(const uint8_t *)f->text, f->bytes};
    int32_t longest = 0;
    enum status s = ST_OK;
    if (!take(&c, &longest, 4) || longest < 1)
        return fail(e, ST_EFORMAT, "%s: not a tokenizer that qbench knows", f->path);
    for (; c.left && !s; v->count++) {
        s = read_piece(&piece[v->count], v->count, &c, longest, &room, f->path, e);
        if (!s && v->count < SPECIALS)
            s = make_special(&piece[v->count], v->count, f->path, e);
    }
    if (!s && v->count < SPECIALS)
        s = fail(e, ST_EFORMAT, "%s: %d pieces", f->path, v->count);
    return s;
}

enum status tok_from_llama2c(struct tokenizer **t, const struct file_text *f, struct err *e)
{
    *t = NULL;
    struct piece *piece = calloc(f->bytes / 9 + 1, sizeof *piece); /* a piece takes nine bytes at least */
    char *room = malloc(3 * f->bytes + 1);
    struct vocab v = {.kind = TOKENIZER_PIECES, .piece = piece, .bos = 1, .eos = 2, .unk = 0, .add_bos = true, .space_prefix = true, .scored = true};
    enum status s = piece && room ? ST_OK : no_memory(f->path, e);
    if (!s)
        s = read_pieces(&v, piece, room, f, e);
    if (!s)
        s = tokenizer_new(t, &v, f->path, e);
    free(piece);
    free(room);
    return s;
}

/* ---- choosing */

static const char *const merges_names[] = {"vocab.bpe", "merges.txt", NULL};
static const char *const encoder_names[] = {"encoder.json", "vocab.json", NULL};

static enum status open_with_merges(struct tokenizer **t, const struct file_text *encoder, struct err *e)
{
    char path[PATH_MAX];
    struct file_text merges = {0};
    enum status s = read_beside(&merges, path, encoder->path, merges_names, e);
    if (!s)
        s = tok_from_pair(t, encoder, &merges, e);
    free(merges.text);
    return s;
}

static enum status open_with_encoder(struct tokenizer **t, const struct file_text *merges, struct err *e)
{
    char path[PATH_MAX];
    struct file_text encoder = {0};
    enum status s = read_beside(&encoder, path, merges->path, encoder_names, e);
    if (!s)
        s = tok_from_pair(t, &encoder, merges, e);
    free(encoder.text);
    return s;
}

static enum status open_json(struct tokenizer **t, const struct file_text *f, struct err *e)
{
    char path[PATH_MAX];
    struct file_text config = {0};
    beside(path, sizeof path, f->path, "tokenizer_config.json");
    enum status s = read_text(&config, path, NULL);
    s = s == ST_ENOENT ? ST_OK : s ? fail(e, s, "%s: cannot be read", path) : ST_OK;
    if (!s)
        s = tok_from_json(t, f, config.text ? &config : NULL, e);
    free(config.text);
    return s;
}

/* tokenizer.json has an object under "model"; encoder.json is an object of numbers, though one of them may be the id of the piece "model". */
static bool is_tokenizer_json(const struct file_text *f)
{
    static const char key[] = "\"model\"";
    const char *at = f->text, *end = f->text + f->bytes;
    while ((at = memmem(at, (size_t)(end - at), key, sizeof key - 1))) {
        at += sizeof key - 1;
        const char *colon = at + strspn(at, " \t\r\n");
        if (*colon == ':' && colon[1 + strspn(colon + 1, " \t\r\n")] == '{')
            return true;
    }
    return false;
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    FILE *f = fopen(path, "rb");
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);
    if (f)
        fclose(f);
    return is;
}

static enum status open_gguf(struct tokenizer **t, const char *path, struct err *e)
{
    struct gguf *g;
    enum status s = gguf_open(&g, path, e);
    if (!s)
        s = tokenizer_from_gguf(t, g, e);
    gguf_close(g);
    return s;
}

static enum status open_file(struct tokenizer **t, const char *path, struct err *e)
{
    struct file_text f;
    if (is_gguf(path))
        return open_gguf(t, path, e);
    enum status s = read_text(&f, path, e);
    size_t blank = s ? 0 : strspn(f.text, " \t\r\n");
    if (!s && f.text[blank] == '{')
        s = is_tokenizer_json(&f) ? open_json(t, &f, e) : open_with_merges(t, &f, e);
    else if (!s && !strncmp(f.text, "#version", 8))
        s = open_with_encoder(t, &f, e);
    else if (!s)
        s = tok_from_llama2c(t, &f, e);
    free(f.text);
    return tok_one_line(s, e);
}

enum status tokenizer_open(struct tokenizer **t, const char *path, struct err *e)
{
    static const char *const names[] = {"tokenizer.json", "vocab.bpe", "merges.txt", "tokenizer.bin"};
    struct stat st;
    *t = NULL;
    if (stat(path, &st))
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return open_file(t, path, e);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char file[PATH_MAX];
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        if (!stat(file, &st))
            return open_file(t, file, e);
    }
    return fail(e, ST_ENOENT, "%s: no tokenizer.json, vocab.bpe, merges.txt or tokenizer.bin in this folder", path);
}
