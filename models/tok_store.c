/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tok_core.h"

/* ---- qbench's own: a merge a line, as bpe_save writes them */

static char *merge_lines(const struct vocab *v)
{
    char *text = malloc(v->merges * 24 + 1), *at = text;
    for (size_t i = 0; text && i < v->merges; i++)
        at += sprintf(at, "%d %d\n", v->merge[i].left, v->merge[i].right);
    if (text)
        *at = '\0';
    return text;
}

static enum status load_own(struct tokenizer **t, const char *text, struct err *e)
{
    struct bpe *b;
    enum status s = bpe_load(&b, text, e);
    if (s)
        return s;
    s = tokenizer_from_bpe(t, b, e);
    bpe_free(b);
    return s;
}

/* Do the merges alone tell all of it? */
static bool is_own(const struct tokenizer *t, const char *lines)
{
    struct tokenizer *again = NULL;
    bool same = load_own(&again, lines, NULL) == ST_OK && !strcmp(again->hash, t->hash);
    tokenizer_free(again);
    return same;
}

/* ---- any other: its arrays as JSON */

/* What is either so or not, by its name in the list "rules". */
static const struct {
    const char *name;
    size_t offset;
} rules[] = {
    {"scored", offsetof(struct vocab, scored)},           {"add_bos", offsetof(struct vocab, add_bos)},
    {"add_eos", offsetof(struct vocab, add_eos)},         {"space_prefix", offsetof(struct vocab, space_prefix)},
    {"prefix_once", offsetof(struct vocab, prefix_once)}, {"prefix_unless", offsetof(struct vocab, prefix_unless)},
    {"nfc", offsetof(struct vocab, nfc)},                 {"whole_words", offsetof(struct vocab, whole_words)},
};
enum { RULES = sizeof rules / sizeof *rules };

static bool *rule_of(struct vocab *v, int i) { return (bool *)((char *)v + rules[i].offset); }

static json_t *list_rules(struct vocab v)
{
    json_t *list = json_array();
    for (int i = 0; i < RULES; i++)
        if (*rule_of(&v, i))
            json_array_append_new(list, json_string(rules[i].name));
    return list;
}

/* JSON holds UTF-8 alone: what is not becomes a list of its bytes. */
static json_t *piece_text(const struct piece *p)
{
    json_t *text = json_stringn(p->text, p->bytes);
    if (text)
        return text;
    text = json_array();
    for (uint32_t i = 0; i < p->bytes; i++)
        json_array_append_new(text, json_integer((uint8_t)p->text[i]));
    return text;
}

static json_t *list_merges(const struct vocab *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->merges; i++) {
        json_array_append_new(list, json_integer(v->merge[i].left));
        json_array_append_new(list, json_integer(v->merge[i].right));
        json_array_append_new(list, json_integer(v->merge[i].id));
    }
    return list;
}

static json_t *list_patterns(const struct vocab *v)
{
    json_t *list = json_array();
    for (size_t i = 0; i < v->patterns; i++)
        json_array_append_new(list, json_string(v->pattern[i]));
    return list;
}

/* A digit a piece: its type; 1 and 2 for white space taken in front and behind. */
static json_t *digits(const struct vocab *v, bool strip)
{
    char *text = malloc((size_t)v->count + 1);
    for (int i = 0; text && i < v->count; i++) {
        const struct piece *p = &v->piece[i];
        text[i] = (char)('0' + (strip ? p->lstrip + 2 * p->rstrip : (int)p->type));
    }
    json_t *out = text ? json_stringn(text, (size_t)v->count) : NULL;
    free(text);
    return out;
}

static void set_pieces(json_t *o, const struct vocab *v)
{
    json_t *text = json_array(), *score = json_array();
    bool strips = false;
    for (int i = 0; i < v->count; i++) {
        json_array_append_new(text, piece_text(&v->piece[i]));
        json_array_append_new(score, json_real((double)v->piece[i].score));
        strips |= v->piece[i].lstrip || v->piece[i].rstrip;
    }
    json_object_set_new(o, "text", text);
    json_object_set_new(o, "type", digits(v, false));
    if (strips)
        json_object_set_new(o, "strip", digits(v, true));
    if (v->scored)
        json_object_set(o, "score", score);
    json_decref(score);
}

static char *save_arrays(const struct vocab *v)
{
    json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:o, s:o}", "kind", v->kind == TOKENIZER_BYTES ? "bytes" : "pieces", "bos", (int)v->bos, "eos",
                          (int)v->eos, "unk", (int)v->unk, "rules", list_rules(*v), "merge", list_merges(v));
    if (!o)
        return NULL;
    set_pieces(o, v);
    if (v->pre)
        json_object_set_new(o, "pre", json_string(v->pre));
    else if (v->kind == TOKENIZER_BYTES)
        json_object_set_new(o, "pattern", list_patterns(v));
    /* Nine digits bring every float back. */
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    json_decref(o);
    return text;
}

char *tokenizer_save(const struct tokenizer *t)
{
    if (t->v.kind == TOKENIZER_BYTES && t->v.pre && pretokenize_find(t->v.pre)->rules & PRETOKENIZE_OWN) {
        char *lines = merge_lines(&t->v);
        if (!lines || is_own(t, lines))
            return lines;
        free(lines);
    }
    return save_arrays(&t->v);
}

/* ---- reading the arrays */

struct arrays {
    struct vocab v;
    struct piece *piece;
    struct merge *merge;
    char *bytes; /* of pieces that are not UTF-8 */
    const char **pattern;
};

static enum status bad(struct err *e, const char *what) { return fail(e, ST_EFORMAT, "tokenizer: '%s' is missing or not what it should be", what); }

static bool read_bytes(struct piece *p, const json_t *list, char **room)
{
    p->text = *room;
    p->bytes = (uint32_t)json_array_size(list);
    for (size_t i = 0; i < p->bytes; i++) {
        const json_t *x = json_array_get(list, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > 255)
            return false;
        *(*room)++ = (char)json_integer_value(x);
    }
    return true;
}

static size_t listed_bytes(const json_t *text)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(text); i++)
        n += json_array_size(json_array_get(text, i)); /* 0 for a string */
    return n;
}

static bool read_piece(struct piece *p, const json_t *text, char type, char strip, const json_t *score, char **room)
{
    bool is_string = json_is_string(text);
    if ((!is_string && !read_bytes(p, text, room)) || (score && !json_is_number(score)) || strip < '0' || strip > '3')
        return false;
    if (is_string) {
        p->text = json_string_value(text);
        p->bytes = (uint32_t)json_string_length(text);
    }
    p->type = (enum piece_type)(type - '0');
    p->lstrip = strip & 1;
    p->rstrip = strip >> 1 & 1;
    p->score = score ? (float)json_number_value(score) : 0;
    return true;
}

static enum status read_pieces(struct arrays *a, const json_t *o, struct err *e)
{
    const json_t *text = json_object_get(o, "text"), *score = json_object_get(o, "score");
    const json_t *type = json_object_get(o, "type"), *strip = json_object_get(o, "strip");
    size_t n = json_array_size(text);
    if (!n || n > BPE_MAX_VOCAB || json_string_length(type) != n || (strip && json_string_length(strip) != n) ||
        (a->v.scored && json_array_size(score) != n))
        return bad(e, "text, type, strip, score");
    a->piece = calloc(n, sizeof *a->piece);
    a->bytes = malloc(listed_bytes(text) + 1);
    if (!a->piece || !a->bytes)
        return fail(e, ST_ENOMEM, "tokenizer: no memory for %zu pieces", n);
    char *room = a->bytes;
    for (size_t i = 0; i < n; i++)
        if (!read_piece(&a->piece[i], json_array_get(text, i), json_string_value(type)[i], strip ? json_string_value(strip)[i] : '0',
                        a->v.scored ? json_array_get(score, i) : NULL, &room))
            return fail(e, ST_EFORMAT, "tokenizer: piece %zu is not what it should be", i);
    a->v.piece = a->piece;
    a->v.count = (int)n;
    return ST_OK;
}

static enum status read_merges(struct arrays *a, const json_t *o, struct err *e)
{
    const json_t *list = json_object_get(o, "merge");
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n % 3)
        return bad(e, "merge");
    a->merge = malloc((n / 3 + 1) * sizeof *a->merge);
    if (!a->merge)
        return fail(e, ST_ENOMEM, "tokenizer: no memory for %zu merges", n / 3);
    for (size_t i = 0; i < n; i++) {
        const json_t *x = json_array_get(list, i);
        json_int_t id = json_is_integer(x) ? json_integer_value(x) : -1;
        if (id < 0 || id > INT32_MAX)
            return bad(e, "merge");
        *(i % 3 == 0 ? &a->merge[i / 3].left : i % 3 == 1 ? &a->merge[i / 3].right : &a->merge[i / 3].id) = (int32_t)id;
    }
    a->v.merges = n / 3;
    a->v.merge = a->merge;
    return ST_OK;
}

static enum status read_rules(struct vocab *v, const json_t *o, struct err *e)
{
    const json_t *list = json_object_get(o, "rules");
    if (!json_is_array(list))
        return bad(e, "rules");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        int k = 0;
        while (k < RULES && (!name || strcmp(name, rules[k].name)))
            k++;
        if (k == RULES)
            return fail(e, ST_EUNSUPPORTED, "tokenizer: unknown rule '%.40s'; build a newer qbench", name ? name : "");
        *rule_of(v, k) = true;
    }
    return ST_OK;
}

static enum status read_patterns(struct arrays *a, const json_t *o, struct err *e)
{
    const json_t *list = json_object_get(o, "pattern");
    a->v.pre = json_string_value(json_object_get(o, "pre"));
    if (a->v.pre || a->v.kind == TOKENIZER_PIECES)
        return ST_OK;
    if (!json_is_array(list))
        return bad(e, "pattern");
    a->pattern = calloc(json_array_size(list) + 1, sizeof *a->pattern);
    if (!a->pattern)
        return fail(e, ST_ENOMEM, "tokenizer: no memory");
    for (; a->v.patterns < json_array_size(list); a->v.patterns++)
        if (!(a->pattern[a->v.patterns] = json_string_value(json_array_get(list, a->v.patterns))))
            return bad(e, "pattern");
    a->v.pattern = a->pattern;
    return ST_OK;
}

static enum status read_arrays(struct arrays *a, json_t *o, struct err *e)
{
    const char *kind;
    int bos, eos, unk;
    json_error_t why;
    if (json_unpack_ex(o, &why, 0, "{s:s, s:i, s:i, s:i}", "kind", &kind, "bos", &bos, "eos", &eos, "unk", &unk))
        return fail(e, ST_EFORMAT, "tokenizer: %s", why.text);
    if (strcmp(kind, "bytes") && strcmp(kind, "pieces"))
        return fail(e, ST_EUNSUPPORTED, "tokenizer: unknown kind '%.40s'; build a newer qbench", kind);
    a->v = (struct vocab){.kind = *kind == 'b' ? TOKENIZER_BYTES : TOKENIZER_PIECES, .bos = bos, .eos = eos, .unk = unk};
    enum status s = read_rules(&a->v, o, e);
    if (!s)
        s = read_pieces(a, o, e);
    if (!s)
        s = read_merges(a, o, e);
    return s ? s : read_patterns(a, o, e);
}

static enum status load_arrays(struct tokenizer **t, const char *text, struct err *e)
{
    struct arrays a = {0};
    json_error_t why;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    enum status s = o ? read_arrays(&a, o, e) : fail(e, ST_EFORMAT, "tokenizer: %s", why.text);
    if (!s)
        s = tokenizer_new(t, &a.v, "tokenizer", e);
    free(a.piece);
    free(a.merge);
    free(a.bytes);
    free(a.pattern);
    json_decref(o);
    return tok_one_line(s, e);
}

enum status tokenizer_load(struct tokenizer **t, const char *text, struct err *e)
{
    *t = NULL;
    return *text == '{' ? load_arrays(t, text, e) : load_own(t, text, e);
}

enum status tokenizer_copy(struct tokenizer **t, const struct tokenizer *from, struct err *e) { return tokenizer_new(t, &from->v, "tokenizer", e); }
