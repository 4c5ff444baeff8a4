/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_draft.h"

#include <stdlib.h>
#include <string.h>

void draft_free(struct draft *d)
{
    free(d->piece);
    free(d->merge);
    for (size_t i = 0; i < d->v.patterns; i++)
        free(d->pattern[i]);
}

enum status draft_no_memory(const struct draft *d, struct err *e) { return fail(e, ST_ENOMEM, "%s: no memory", d->path); }

const char *draft_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

enum status draft_load(json_t **root, const struct file_text *f, struct err *e)
{
    json_error_t why;
    *root = json_loadb(f->text, f->bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!*root)
        return fail(e, ST_EFORMAT, "%s:%d:%d: %s", f->path, why.line, why.column, why.text);
    if (json_is_object(*root))
        return ST_OK;
    json_decref(*root);
    *root = NULL;
    return fail(e, ST_EFORMAT, "%s: not a JSON object", f->path);
}

/* ---- pieces */

static bool is_byte(const char *s, size_t n) { return n == 6 && !memcmp(s, "<0x", 3) && s[5] == '>'; }

enum status draft_put(struct draft *d, const char *text, size_t bytes, const json_t *id, enum piece_type type, struct err *e)
{
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= d->v.count)
        return fail(e, ST_EFORMAT, "%s: the id of piece '%.40s' is not one of 0 to %d, one for each piece", d->path, text, d->v.count - 1);
    struct piece *p = &d->piece[json_integer_value(id)];
    if (p->text && (p->bytes != bytes || memcmp(p->text, text, bytes)))
        return fail(e, ST_EFORMAT, "%s: id %lld is both '%.40s' and '%.40s'", d->path, (long long)json_integer_value(id), p->text, text);
    p->text = text;
    p->bytes = (uint32_t)bytes;
    p->type = type;
    return ST_OK;
}

enum status draft_vocab(struct draft *d, json_t *vocab, bool byte_pieces, struct err *e)
{
    const char *key;
    json_t *id;
    enum status s = ST_OK;
    json_object_foreach(vocab, key, id)
    {
        size_t n = strlen(key);
        s = draft_put(d, key, n, id, byte_pieces && is_byte(key, n) ? PIECE_BYTE : PIECE_NORMAL, e);
        if (s)
            break;
    }
    return s;
}

/* How many ids vocabulary and added tokens have together: those added come behind it, or stand in it too. */
enum status draft_pieces(struct draft *d, const json_t *vocab, const json_t *added, struct err *e)
{
    size_t n = json_object_size(vocab);
    for (size_t i = 0; i < json_array_size(added); i++)
        n += !json_object_get(vocab, draft_text(json_array_get(added, i), "content"));
    if (!json_is_object(vocab) || !n || n > INT32_MAX)
        return fail(e, ST_EFORMAT, "%s: no vocabulary of pieces and ids", d->path);
    d->v.count = (int)n;
    d->piece = calloc(n, sizeof *d->piece);
    d->v.piece = d->piece;
    return d->piece ? ST_OK : draft_no_memory(d, e);
}

int32_t draft_find(const struct draft *d, const char *text)
{
    for (int i = d->v.count; text && *text && i-- > 0;)
        if (d->piece[i].bytes == strlen(text) && !memcmp(d->piece[i].text, text, d->piece[i].bytes))
            return i;
    return -1;
}

enum status draft_whole(const struct draft *d, struct err *e)
{
    for (int i = 0; i < d->v.count; i++)
        if (!d->piece[i].text)
            return fail(e, ST_EFORMAT, "%s: id %d of %d has no piece", d->path, i, d->v.count);
    return ST_OK;
}

static int32_t control_piece(const struct draft *d, const char *text)
{
    int32_t id = draft_find(d, text);
    return id >= 0 && d->piece[id].type == PIECE_CONTROL ? id : -1;
}

/* By the names that published models use, where no file says it. */
void draft_guess_ends(struct draft *d)
{
    struct vocab *v = &d->v;
    static const char *const bos[] = {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|endoftext|>"};
    static const char *const eos[] = {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof bos / sizeof bos[0] && v->bos < 0; i++)
        v->bos = control_piece(d, bos[i]);
    for (size_t i = 0; i < sizeof eos / sizeof eos[0] && v->eos < 0; i++)
        v->eos = control_piece(d, eos[i]);
}
