/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pretokenize.h"
#include "tok_core.h"

#define KEY(name) "tokenizer.ggml." name

/* ---- reading */

struct arrays {
    struct piece *piece;      /* owned; text borrowed from the file */
    struct merge_text *merge; /* owned */
    char pre[64];
};

static enum status take_pieces(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    struct gguf_items items;
    struct gguf_value x;
    struct gguf_string text;
    enum status s = gguf_array(g, KEY("tokens"), GGUF_STRING, &items, e);
    if (s)
        return s;
    if (items.left > INT32_MAX)
        return fail(e, ST_EFORMAT, "%s: %llu tokens", gguf_path(g), (unsigned long long)items.left);
    a->piece = calloc((size_t)items.left + 1, sizeof *a->piece);
    if (!a->piece)
        return fail(e, ST_ENOMEM, "%s: no memory for its vocabulary", gguf_path(g));
    v->piece = a->piece;
    while (gguf_next(&items, &x) && gguf_as_string(&x, &text)) {
        if (text.bytes > UINT32_MAX)
            return fail(e, ST_EFORMAT, "%s: token %d has %zu bytes", gguf_path(g), v->count, text.bytes);
        a->piece[v->count++] = (struct piece){.text = text.text, .bytes = (uint32_t)text.bytes, .type = PIECE_NORMAL};
    }
    return ST_OK;
}

static enum status same_count(const struct gguf *g, const char *key, uint64_t n, int count, struct err *e)
{
    return n == (uint64_t)count ? ST_OK : fail(e, ST_EFORMAT, "%s: %s has %llu elements for %d tokens", gguf_path(g), key, (unsigned long long)n, count);
}

static enum status take_scores(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    struct gguf_items items;
    struct gguf_value x;
    enum status s = gguf_array(g, KEY("scores"), GGUF_F32, &items, e);
    if (!s)
        s = same_count(g, KEY("scores"), items.left, v->count, e);
    for (int i = 0; i < v->count && !s && gguf_next(&items, &x); i++) {
        double score = 0;
        gguf_as_real(&x, &score);
        a->piece[i].score = (float)score;
    }
    return s;
}

/* Files from before there were types: what the text and the ids say. */
static void guess_types(const struct vocab *v, struct arrays *a)
{
    for (int i = 0; i < v->count && v->kind == TOKENIZER_PIECES; i++)
        if (a->piece[i].bytes == 6 && !memcmp(a->piece[i].text, "<0x", 3))
            a->piece[i].type = PIECE_BYTE;
    const int32_t control[] = {v->bos, v->eos, v->unk};
    for (int i = 0; i < 3; i++)
        if (control[i] >= 0 && control[i] < v->count)
            a->piece[control[i]].type = i < 2 ? PIECE_CONTROL : PIECE_UNKNOWN;
}

static enum status take_types(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    struct gguf_items items;
    struct gguf_value x;
    const struct gguf_value *types = gguf_find(g, KEY("token_type"));
    if (!types) {
        guess_types(v, a);
        return ST_OK;
    }
    enum status s = gguf_items_of(types, &items) ? same_count(g, KEY("token_type"), items.left, v->count, e)
                                                 : fail(e, ST_EFORMAT, "%s: %s is no array", gguf_path(g), KEY("token_type"));
    for (int i = 0; i < v->count && !s && gguf_next(&items, &x); i++) {
        int64_t type = 0;
        if (!gguf_as_int(&x, &type) || type < PIECE_NORMAL || type > PIECE_BYTE)
            s = fail(e, ST_EFORMAT, "%s: %s of token %d is %lld; 1 to 6 are known", gguf_path(g), KEY("token_type"), i, (long long)type);
        else /* padding of some files */
            a->piece[i].type = a->piece[i].bytes ? (enum piece_type)type : PIECE_UNUSED;
    }
    return s;
}

static enum status take_merges(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    struct gguf_items items;
    struct gguf_value x;
    struct gguf_string text;
    enum status s = gguf_array(g, KEY("merges"), GGUF_STRING, &items, e);
    if (!s && !(a->merge = malloc(((size_t)items.left + 1) * sizeof *a->merge)))
        s = fail(e, ST_ENOMEM, "%s: no memory for its merges", gguf_path(g));
    v->merge_text = a->merge;
    for (; !s && gguf_next(&items, &x) && gguf_as_string(&x, &text); v->merges++)
        if (!merge_split(text.text, text.bytes, &a->merge[v->merges]))
            s = fail(e, ST_EFORMAT, "%s: merge %zu is not two pieces with a space between them", gguf_path(g), v->merges);
    return s;
}

/* An absent key leaves *x. */
static enum status take_id(const struct gguf *g, const char *key, int count, int32_t *x, struct err *e)
{
    int64_t id;
    if (!gguf_find(g, key))
        return ST_OK;
    enum status s = gguf_int(g, key, 0, count - 1, &id, e);
    *x = s ? *x : (int32_t)id;
    return s;
}

static enum status take_flag(const struct gguf *g, const char *key, bool *x, struct err *e) { return gguf_find(g, key) ? gguf_bool(g, key, x, e) : ST_OK; }

static enum status take_rules(struct vocab *v, const struct gguf *g, struct err *e)
{
    enum status s = take_id(g, KEY("bos_token_id"), v->count, &v->bos, e);
    if (!s)
        s = take_id(g, KEY("eos_token_id"), v->count, &v->eos, e);
    if (!s)
        s = take_id(g, KEY("unknown_token_id"), v->count, &v->unk, e);
    if (!s)
        s = take_flag(g, KEY("add_bos_token"), &v->add_bos, e);
    if (!s)
        s = take_flag(g, KEY("add_eos_token"), &v->add_eos, e);
    if (!s && v->kind == TOKENIZER_PIECES)
        s = take_flag(g, KEY("add_space_prefix"), &v->space_prefix, e);
    return s;
}

static enum status take_pre(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    struct gguf_string pre = {"default", 7};
    enum status s = gguf_find(g, KEY("pre")) ? gguf_text(g, KEY("pre"), &pre, e) : ST_OK;
    if (s)
        return s;
    snprintf(a->pre, sizeof a->pre, "%.*s", (int)min_int((int)sizeof a->pre, (int)pre.bytes), pre.text);
    v->pre = a->pre;
    const struct pretokenize_row *row = pretokenize_find(a->pre);
    if (!row)
        return fail(e, ST_EUNSUPPORTED, "%s: unknown pre-tokenizer '%s' (%s)", gguf_path(g), a->pre, KEY("pre"));
    v->add_bos = row->rules & PRETOKENIZE_BOS;
    return ST_OK;
}

static enum status take_model(struct vocab *v, struct arrays *a, const struct gguf *g, struct err *e)
{
    const struct gguf_value *model = gguf_find(g, KEY("model"));
    struct gguf_string name = {"", 0};
    if (gguf_is(model, "llama")) {
        *v = (struct vocab){.kind = TOKENIZER_PIECES, .bos = 1, .eos = 2, .unk = 0, .add_bos = true, .space_prefix = true, .scored = true};
        return ST_OK;
    }
    if (gguf_is(model, "gpt2")) {
        *v = (struct vocab){.kind = TOKENIZER_BYTES, .bos = -1, .eos = -1, .unk = -1};
        return take_pre(v, a, g, e);
    }
    if (!model)
        return fail(e, ST_ENOENT, "%s: has no tokenizer (%s)", gguf_path(g), KEY("model"));
    gguf_as_string(model, &name);
    return fail(e, ST_EUNSUPPORTED, "%s: the tokenizer '%.*s'; 'llama' and 'gpt2' are supported", gguf_path(g), min_int(40, (int)name.bytes), name.text);
}

enum status tokenizer_from_gguf(struct tokenizer **t, const struct gguf *g, struct err *e)
{
    struct arrays a = {0};
    struct vocab v;
    *t = NULL;
    enum status s = take_model(&v, &a, g, e);
    if (!s)
        s = take_pieces(&v, &a, g, e);
    if (!s)
        s = v.scored ? take_scores(&v, &a, g, e) : take_merges(&v, &a, g, e);
    if (!s)
        s = take_rules(&v, g, e);
    if (!s)
        s = take_types(&v, &a, g, e);
    if (!s)
        s = tokenizer_new(t, &v, gguf_path(g), e);
    free(a.piece);
    free(a.merge);
    return tok_one_line(s, e);
}

/* ---- writing */

static enum status can_say(const struct tokenizer *t, struct err *e)
{
    const struct vocab *v = tokenizer_vocab(t);
    if (v->kind == TOKENIZER_PIECES && !v->scored)
        return fail(e, ST_EUNSUPPORTED, "GGUF has no place for a list of merges with SentencePiece-style pieces");
    if (v->kind == TOKENIZER_BYTES && !v->pre)
        return fail(e, ST_EUNSUPPORTED, "GGUF has no name for the pre-tokenizer pattern \"%s\"", v->patterns ? v->pattern[0] : "");
    if (v->kind == TOKENIZER_BYTES && v->space_prefix)
        return fail(e, ST_EUNSUPPORTED, "GGUF cannot say that a byte-level vocabulary puts a space in front of text");
    if (v->add_eos)
        return fail(e, ST_EUNSUPPORTED, "qbench's GGUF files cannot say that an end-of-sequence id is put behind every text");
    for (int i = 0; i < v->count; i++) {
        int32_t first = tokenizer_find(t, v->piece[i].text, v->piece[i].bytes);
        if (first >= 0 && first != i)
            return fail(e, ST_EUNSUPPORTED, "tokens %d and %d stand for the same text, which GGUF cannot tell apart", first, i);
    }
    return ST_OK;
}

/* Merges are written out with a space between their parts; pieces are the tokenizer's. */
static size_t merges_bytes(const struct vocab *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->merges; i++)
        n += (size_t)v->piece[v->merge[i].id].bytes + 1;
    return n;
}

static void write_merge(struct gguf_string *to, char **room, const struct vocab *v, const struct merge *m)
{
    const struct piece *left = &v->piece[m->left], *right = &v->piece[m->right];
    *to = (struct gguf_string){*room, (size_t)left->bytes + right->bytes + 1};
    *room = (char *)mempcpy(*room, left->text, left->bytes);
    *(*room)++ = ' ';
    *room = (char *)mempcpy(*room, right->text, right->bytes);
}

enum status tokenizer_to_gguf(struct gguf_vocab *out, const struct tokenizer *t, struct err *e)
{
    const struct vocab *v = tokenizer_vocab(t);
    *out = (struct gguf_vocab){0};
    enum status s = can_say(t, e);
    if (s)
        return s;
    size_t count = (size_t)v->count, strings = count + v->merges;
    struct gguf_string *token = calloc(1, strings * sizeof *token + count * (sizeof(float) + sizeof(int32_t)) + merges_bytes(v));
    if (!token)
        return fail(e, ST_ENOMEM, "no memory for a vocabulary of %d tokens", v->count);
    float *score = (float *)(token + strings);
    int32_t *type = (int32_t *)(score + count);
    char *room = (char *)(type + count);
    for (size_t i = 0; i < count; i++) {
        token[i] = (struct gguf_string){v->piece[i].text, v->piece[i].bytes};
        score[i] = v->piece[i].score;
        type[i] = (int32_t)v->piece[i].type;
    }
    for (size_t i = 0; i < v->merges; i++)
        write_merge(&token[count + i], &room, v, &v->merge[i]);
    bool scored = v->kind == TOKENIZER_PIECES;
    *out = (struct gguf_vocab){.model = scored ? "llama" : "gpt2", .pre = scored ? "default" : v->pre, .count = v->count, .tokens = token,
                               .scores = scored ? score : NULL, .types = type, .merges = token + count, .n_merges = v->merges, .bos = v->bos,
                               .eos = v->eos, .unk = v->unk, .add_bos = v->add_bos, .add_space_prefix = scored ? v->space_prefix : -1, .room = token};
    return ST_OK;
}
