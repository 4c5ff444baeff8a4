/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { MAX_PIECES = 1 << 22, SHOWN = 40 };

const struct tok_kind *tok_kind(const struct tokenizer *t) { return t->v.kind == TOKENIZER_BYTES ? &tok_bytes : &tok_pieces; }

static enum status no_memory(const char *where, struct err *e) { return fail(e, ST_ENOMEM, "%s: no memory for its vocabulary", where); }

enum status tok_one_line(enum status s, struct err *e)
{
    for (char *c = e ? e->text : ""; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return s;
}

/* ---- lists */

void id_list_free(struct id_list *l)
{
    free(l->id);
    *l = (struct id_list){0};
}

bool id_list_put(struct id_list *l, int32_t id)
{
    if (l->count == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        int32_t *grown = room <= SIZE_MAX / sizeof *grown ? realloc(l->id, room * sizeof *grown) : NULL;
        if (!grown)
            return false;
        l->id = grown;
        l->room = room;
    }
    l->id[l->count++] = id;
    return true;
}

/* ---- finding pieces */

static uint32_t *map_slot(const struct tokenizer *t, const void *text, size_t bytes)
{
    size_t i = (size_t)XXH3_64bits(text, bytes) & t->map.mask;
    for (uint32_t id; (id = t->map.slot[i]); i = (i + 1) & t->map.mask)
        if (t->pieces[id - 1].bytes == bytes && !memcmp(t->pieces[id - 1].text, text, bytes))
            break;
    return &t->map.slot[i];
}

int32_t tok_find(const struct tokenizer *t, const void *text, size_t bytes) { return (int32_t)*map_slot(t, text, bytes) - 1; }

int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t bytes) { return tok_find(t, text, bytes); }

static enum status make_map(struct tokenizer *t, const char *where, struct err *e)
{
    size_t slots = 64;
    while (slots / 2 < (size_t)t->v.count)
        slots *= 2;
    t->map = (struct piece_map){calloc(slots, sizeof *t->map.slot), slots - 1};
    if (!t->map.slot)
        return no_memory(where, e);
    for (int i = 0; i < t->v.count; i++) {
        const struct piece *p = &t->pieces[i];
        uint32_t *slot = p->bytes ? map_slot(t, p->text, p->bytes) : NULL;
        if (slot && *slot && !t->v.merge)
            return fail(e, ST_EFORMAT, "%s: pieces %u and %d are both '%.*s'", where, *slot - 1, i, min_int(SHOWN, (int)p->bytes), p->text);
        if (slot && !*slot)
            *slot = (uint32_t)i + 1;
    }
    return ST_OK;
}

/* ---- copying and checking the arrays */

static enum status check_piece(const struct vocab *v, int i, const char *where, struct err *e)
{
    const struct piece *p = &v->piece[i];
    if (p->type < PIECE_NORMAL || p->type > PIECE_BYTE)
        return fail(e, ST_EFORMAT, "%s: piece %d has type %d; types are 1 to 6", where, i, (int)p->type);
    if (!p->bytes && (p->type == PIECE_NORMAL || p->type == PIECE_BYTE))
        return fail(e, ST_EFORMAT, "%s: piece %d is empty", where, i);
    if (!isfinite(p->score))
        return fail(e, ST_EFORMAT, "%s: the score of piece %d is not finite", where, i);
    return ST_OK;
}

static enum status check_vocab(const struct vocab *v, size_t *text_bytes, const char *where, struct err *e)
{
    if (v->count < 1 || v->count > MAX_PIECES)
        return fail(e, ST_EFORMAT, "%s: a vocabulary of %d pieces; 1 to %d are supported", where, v->count, MAX_PIECES);
    const int32_t ids[] = {v->bos, v->eos, v->unk};
    static const char *const names[] = {"beginning-of-sequence", "end-of-sequence", "unknown"};
    for (int i = 0; i < 3; i++)
        if (ids[i] < -1 || ids[i] >= v->count)
            return fail(e, ST_EFORMAT, "%s: the %s id %d is not in its vocabulary of %d", where, names[i], ids[i], v->count);
    if ((v->add_bos && v->bos < 0) || (v->add_eos && v->eos < 0))
        return fail(e, ST_EFORMAT, "%s: puts its %s id around every text, and has none", where, names[v->add_bos && v->bos < 0 ? 0 : 1]);
    enum status s = ST_OK;
    for (int i = 0; i < v->count && !s; i++) {
        s = check_piece(v, i, where, e);
        *text_bytes += v->piece[i].bytes;
    }
    if (!s && *text_bytes > UINT32_MAX / 2)
        s = fail(e, ST_EFORMAT, "%s: its pieces have %zu bytes together", where, *text_bytes);
    return s;
}

static enum status copy_pieces(struct tokenizer *t, const struct vocab *v, size_t text_bytes, const char *where, struct err *e)
{
    t->pieces = malloc((size_t)v->count * sizeof *t->pieces);
    t->text = malloc(text_bytes + 1);
    if (!t->pieces || !t->text)
        return no_memory(where, e);
    char *at = t->text;
    for (int i = 0; i < v->count; i++) {
        t->pieces[i] = v->piece[i];
        t->pieces[i].text = at;
        if (v->piece[i].bytes)
            memcpy(at, v->piece[i].text, v->piece[i].bytes);
        at += v->piece[i].bytes;
    }
    t->v.piece = t->pieces;
    return ST_OK;
}

/* ---- merges */

bool merge_split(const char *text, size_t bytes, struct merge_text *m)
{
    const char *space = memchr(text, ' ', bytes);
    if (!space || bytes > UINT32_MAX || space == text || space + 1 == text + bytes || memchr(space + 1, ' ', (size_t)(text + bytes - space - 1)))
        return false;
    *m = (struct merge_text){text, space + 1, (uint32_t)(space - text), (uint32_t)(text + bytes - space - 1)};
    return true;
}

static enum status part(const struct tokenizer *t, size_t rank, const char *text, uint32_t bytes, int32_t *id, const char *where, struct err *e)
{
    *id = tok_find(t, text, bytes);
    return *id >= 0 ? ST_OK
                    : fail(e, ST_EFORMAT, "%s: merge %zu: '%.*s' is not in the vocabulary", where, rank, min_int(SHOWN, (int)bytes), text);
}

/* Where the two parts stand together in the vocabulary. */
static enum status find_result(struct tokenizer *t, size_t rank, struct merge *m, uint8_t *room, const char *where, struct err *e)
{
    const struct piece *left = &t->pieces[m->left], *right = &t->pieces[m->right];
    memcpy(room, left->text, left->bytes);
    memcpy(room + left->bytes, right->text, right->bytes);
    return part(t, rank, (const char *)room, left->bytes + right->bytes, &m->id, where, e);
}

static enum status spell_merges(struct tokenizer *t, const struct vocab *v, const char *where, struct err *e)
{
    uint32_t longest = 0;
    for (int i = 0; i < v->count; i++)
        longest = v->piece[i].bytes > longest ? v->piece[i].bytes : longest;
    uint8_t *room = malloc(2 * (size_t)longest + 1);
    enum status s = room ? ST_OK : no_memory(where, e);
    for (size_t i = 0; i < v->merges && !s; i++) {
        const struct merge_text *m = &v->merge_text[i];
        s = part(t, i, m->left, m->left_bytes, &t->merges[i].left, where, e);
        if (!s)
            s = part(t, i, m->right, m->right_bytes, &t->merges[i].right, where, e);
        if (!s)
            s = find_result(t, i, &t->merges[i], room, where, e);
    }
    free(room);
    return s;
}

/* The piece must be spelt by its parts: so it is longer than they are, and no chain of merges is a circle. */
static enum status check_merge(const struct tokenizer *t, size_t rank, const char *where, struct err *e)
{
    const struct merge *m = &t->merges[rank];
    if (m->left < 0 || m->right < 0 || m->id < 0 || m->left >= t->v.count || m->right >= t->v.count || m->id >= t->v.count)
        return fail(e, ST_EFORMAT, "%s: merge %zu: ids %d, %d and %d are not all in the vocabulary of %d", where, rank, m->left, m->right, m->id,
                    t->v.count);
    const struct piece *left = &t->pieces[m->left], *right = &t->pieces[m->right], *both = &t->pieces[m->id];
    if (!left->bytes || !right->bytes || both->bytes != left->bytes + right->bytes || memcmp(both->text, left->text, left->bytes) ||
        memcmp(both->text + left->bytes, right->text, right->bytes))
        return fail(e, ST_EFORMAT, "%s: merge %zu: '%.*s' and '%.*s' do not make '%.*s'", where, rank, min_int(SHOWN, (int)left->bytes), left->text,
                    min_int(SHOWN, (int)right->bytes), right->text, min_int(SHOWN, (int)both->bytes), both->text);
    return ST_OK;
}

static enum status fill_merges(struct tokenizer *t, const struct vocab *v, const char *where, struct err *e)
{
    if (v->merges > UINT32_MAX / 4)
        return fail(e, ST_EFORMAT, "%s: %zu merges", where, v->merges);
    t->merges = malloc((v->merges + 1) * sizeof *t->merges);
    if (!t->merges || !merge_table_init(&t->table, v->merges))
        return no_memory(where, e);
    if (v->merge && v->merges)
        memcpy(t->merges, v->merge, v->merges * sizeof *t->merges);
    enum status s = v->merge ? ST_OK : spell_merges(t, v, where, e);
    t->v.merge = t->merges;
    t->v.merge_text = NULL;
    for (size_t i = 0; i < v->merges && !s; i++) {
        const struct merge *m = &t->merges[i];
        s = check_merge(t, i, where, e);
        if (!s && !merge_table_add(&t->table, m->left, m->right, (uint32_t)i, m->id))
            s = fail(e, ST_EFORMAT, "%s: merge %zu repeats an earlier one", where, i);
    }
    return s;
}

/* ---- what is derived from the pieces */

static bool is_text(enum piece_type type) { return type == PIECE_NORMAL || type == PIECE_USER || type == PIECE_BYTE; }

static enum status fill_raw(struct tokenizer *t, size_t text_bytes, const char *where, struct err *e)
{
    t->begin = malloc(((size_t)t->v.count + 1) * sizeof *t->begin);
    t->raw = malloc(text_bytes + 1);
    if (!t->begin || !t->raw)
        return no_memory(where, e);
    uint32_t at = 0;
    for (int i = 0; i < t->v.count; i++) {
        const struct piece *p = &t->pieces[i];
        t->begin[i] = at;
        if (is_text(p->type))
            at += (uint32_t)tok_kind(t)->raw(p, t->raw + at);
        else if (p->bytes) {
            memcpy(t->raw + at, p->text, p->bytes);
            at += p->bytes;
        }
    }
    t->begin[t->v.count] = at;
    return ST_OK;
}

static int by_first_byte(const void *a, const void *b)
{
    const struct special *x = a, *y = b;
    if (x->text[0] != y->text[0])
        return x->text[0] < y->text[0] ? -1 : 1;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static bool is_special(const struct tokenizer *t, int i)
{
    enum piece_type type = t->pieces[i].type;
    return t->begin[i + 1] > t->begin[i] && (type == PIECE_CONTROL || type == PIECE_USER || type == PIECE_UNKNOWN);
}

static enum status fill_special(struct tokenizer *t, const char *where, struct err *e)
{
    uint32_t n = 0;
    for (int i = 0; i < t->v.count; i++)
        n += is_special(t, i);
    t->special = malloc((n + 1) * sizeof *t->special);
    if (!t->special)
        return no_memory(where, e);
    n = 0;
    for (int i = 0; i < t->v.count; i++)
        if (is_special(t, i)) {
            t->special[n++] = (struct special){t->raw + t->begin[i], t->begin[i + 1] - t->begin[i], i};
            t->any_user |= t->pieces[i].type == PIECE_USER;
        }
    qsort(t->special, n, sizeof *t->special, by_first_byte);
    for (uint32_t byte = 0, i = 0; byte <= 256; byte++) {
        while (i < n && t->special[i].text[0] < byte)
            i++;
        t->special_begin[byte] = i;
    }
    return ST_OK;
}

/* ---- patterns */

static enum status fill_patterns(struct tokenizer *t, const struct vocab *v, const char *where, struct err *e)
{
    const struct pretokenize_row *row = v->pre ? pretokenize_find(v->pre) : NULL;
    if (v->pre && !row)
        return fail(e, ST_EUNSUPPORTED, "%s: unknown pre-tokenizer '%s'", where, v->pre);
    const char *const *from = row ? row->stage : v->pattern;
    size_t n = row ? 0 : v->patterns;
    while (row && row->stage[n])
        n++;
    t->patterns = calloc(n + 1, sizeof *t->patterns);
    if (!t->patterns)
        return no_memory(where, e);
    t->v.pattern = (const char *const *)t->patterns;
    t->v.patterns = n;
    for (size_t i = 0; i < n; i++)
        if (!(t->patterns[i] = strdup(from[i])))
            return no_memory(where, e);
    unsigned rules = row ? row->rules : v->whole_words ? PRETOKENIZE_WHOLE : 0;
    t->v.whole_words = rules & PRETOKENIZE_WHOLE;
    row = row ? row : pretokenize_match(from, n, rules);
    t->v.pre = row ? row->name : NULL;
    struct err why = {0};
    enum status s = pretokenizer_new(&t->pre, t->v.pattern, n, rules, &why);
    return s ? fail(e, s, "%s: %s", where, why.text) : ST_OK;
}

/* ---- the whole */

static void hash_all(struct tokenizer *t)
{
    const struct vocab *v = &t->v;
    const int32_t numbers[] = {v->kind, v->count, v->bos, v->eos, v->unk, v->add_bos, v->add_eos, v->space_prefix, v->prefix_once,
                               v->prefix_unless, v->nfc, v->scored, v->whole_words, t->v.pre && (pretokenize_find(t->v.pre)->rules & PRETOKENIZE_OWN)};
    uint64_t h = XXH64(numbers, sizeof numbers, 0);
    for (int i = 0; i < v->count; i++) {
        const struct piece *p = &v->piece[i];
        struct {
            uint64_t before, flags;
            double score;
        } facts = {h, (uint64_t)p->bytes << 8 | (uint64_t)p->type << 2 | (uint64_t)p->lstrip << 1 | p->rstrip, p->score};
        h = XXH64(p->text, p->bytes, XXH64(&facts, sizeof facts, 0));
    }
    h = XXH64(t->merges, v->merges * sizeof *v->merge, h);
    for (size_t i = 0; i < v->patterns; i++)
        h = XXH64(v->pattern[i], strlen(v->pattern[i]), h);
    snprintf(t->hash, sizeof t->hash, "%016llx", (unsigned long long)h);
}

static enum status build(struct tokenizer *t, const struct vocab *v, const char *where, struct err *e)
{
    size_t text_bytes = 0;
    enum status s = check_vocab(v, &text_bytes, where, e);
    if (!s)
        s = copy_pieces(t, v, text_bytes, where, e);
    if (!s)
        s = make_map(t, where, e);
    if (!s)
        s = fill_merges(t, v, where, e);
    if (!s)
        s = fill_raw(t, text_bytes, where, e);
    if (!s)
        s = fill_special(t, where, e);
    t->v.pre = NULL;
    t->v.pattern = NULL;
    t->v.patterns = 0;
    if (!s && v->kind == TOKENIZER_BYTES)
        s = fill_patterns(t, v, where, e);
    if (!s)
        s = tok_kind(t)->build(t, where, e);
    if (!s)
        hash_all(t);
    return s;
}

enum status tokenizer_new(struct tokenizer **out, const struct vocab *v, const char *where, struct err *e)
{
    *out = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(where, e);
    t->v = *v;
    enum status s = build(t, v, where, e);
    if (s)
        tokenizer_free(t);
    else
        *out = t;
    return tok_one_line(s, e);
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    for (size_t i = 0; t->patterns && i < t->v.patterns; i++)
        free(t->patterns[i]);
    void *all[] = {t->patterns, t->pieces, t->merges, t->text, t->begin, t->raw, t->map.slot, t->special, t->cache, t->buffer};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    merge_table_free(&t->table);
    pretokenizer_free(t->pre);
    tok_characters_free(t->chars);
    merge_room_free(&t->room);
    id_list_free(&t->word);
    free(t);
}

const struct vocab *tokenizer_vocab(const struct tokenizer *t) { return &t->v; }

const char *tokenizer_hash(const struct tokenizer *t) { return t->hash; }

const uint8_t *tokenizer_piece(const struct tokenizer *t, int32_t id, int *bytes)
{
    bool known = id >= 0 && id < t->v.count && is_text(t->pieces[id].type);
    *bytes = known ? (int)(t->begin[id + 1] - t->begin[id]) : 0;
    return t->raw + (known ? t->begin[id] : 0);
}
