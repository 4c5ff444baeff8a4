/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/*
 * SentencePiece's byte-pair encoding (Kudo and Richardson 2018) merges over the whole text. But a merge always forms a piece, so none
 * reaches across two neighbouring characters that stand together in no piece: between such the text is cut into words, which changes
 * no id, makes the work linear for any real vocabulary, and lets words be cached.
 */
enum { SPACE = 0x2581, NO_SYMBOL = -1, PAIR_BITS = 20, LONGEST = 4096 };

struct character {
    uint32_t code;
    int32_t symbol;
    bool used;
};

/*
 * A character's symbol is the id of the piece that it is, or, when it only occurs inside longer pieces, a number from the vocabulary's
 * size on: whatever of those is left in the end becomes bytes.
 */
struct characters {
    int32_t ascii[128];
    struct character *slot;
    size_t mask;
    uint32_t *extra; /* code points of the symbols past the vocabulary */
    size_t extras;
    uint64_t pairs[1 << (PAIR_BITS - 6)]; /* hashes of neighbours within a piece: a stray bit costs a cut, never an id */
};

void tok_characters_free(struct characters *c)
{
    if (!c)
        return;
    free(c->slot);
    free(c->extra);
    free(c);
}

static struct character *slot_of(const struct characters *c, uint32_t code)
{
    size_t i = (code * 0x9e3779b9u >> 7) & c->mask;
    while (c->slot[i].used && c->slot[i].code != code)
        i = (i + 1) & c->mask;
    return &c->slot[i];
}

static int32_t symbol_of(const struct characters *c, uint32_t code)
{
    if (code < 128)
        return c->ascii[code];
    const struct character *slot = slot_of(c, code);
    return slot->used ? slot->symbol : NO_SYMBOL;
}

static uint32_t pair_hash(uint32_t a, uint32_t b)
{
    uint64_t h = ((uint64_t)a << 32 | b) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> (64 - PAIR_BITS));
}

static bool neighbours(const struct characters *c, uint32_t a, uint32_t b)
{
    uint32_t h = pair_hash(a, b);
    return c->pairs[h >> 6] >> (h & 63) & 1;
}

/* ---- from pieces */

static bool takes_part(const struct piece *p) { return p->type == PIECE_NORMAL || p->type == PIECE_USER; }

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

static size_t raw(const struct piece *p, uint8_t *out)
{
    size_t n = 0;
    if (p->type == PIECE_BYTE && p->bytes == 6 && hex(p->text[3]) >= 0 && hex(p->text[4]) >= 0) {
        out[n++] = (uint8_t)(16 * hex(p->text[3]) + hex(p->text[4]));
        return n;
    }
    for (size_t i = 0; i < p->bytes; i++) {
        bool space = p->bytes - i >= 3 && !memcmp(p->text + i, "\xe2\x96\x81", 3);
        out[n++] = space ? ' ' : (uint8_t)p->text[i];
        i += space ? 2 : 0;
    }
    return n;
}

static enum status find_bytes(struct tokenizer *t, const char *where, struct err *e)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        int32_t id = tok_find(t, text, 6);
        if (id < 0)
            return fail(e, ST_EFORMAT, "%s: has no byte piece %s", where, text);
        if (t->pieces[id].type != PIECE_BYTE)
            return fail(e, ST_EFORMAT, "%s: piece %d, %s, has type %d; a byte has type %d", where, id, text, (int)t->pieces[id].type, PIECE_BYTE);
        t->byte_id[byte] = id;
    }
    return ST_OK;
}

static enum status check_pieces(const struct tokenizer *t, const char *where, struct err *e)
{
    for (int i = 0; i < t->v.count; i++) {
        const struct piece *p = &t->pieces[i];
        if (!takes_part(p))
            continue;
        if (p->bytes > LONGEST)
            return fail(e, ST_EFORMAT, "%s: piece %d has %u bytes; at most %d are supported", where, i, p->bytes, LONGEST);
        size_t run = utf8_run((const uint8_t *)p->text, p->bytes);
        if (run < p->bytes)
            return fail(e, ST_EFORMAT, "%s: piece %d is not UTF-8 at its byte %zu (0x%02x)", where, i, run, (unsigned)(uint8_t)p->text[run]);
    }
    return ST_OK;
}

/* How many different characters the pieces are made of; SIZE_MAX: no memory. */
static size_t count_characters(const struct tokenizer *t)
{
    size_t n = 0;
    uint32_t code;
    bool *seen = calloc(0x110000, sizeof *seen);
    for (int i = 0; i < t->v.count && seen; i++) {
        const struct piece *p = &t->pieces[i];
        const uint8_t *s = (const uint8_t *)p->text;
        for (size_t at = 0; takes_part(p) && at < p->bytes; seen[code] = true) {
            at += utf8_decode(s + at, p->bytes - at, &code);
            n += !seen[code];
        }
    }
    free(seen);
    return seen ? n : SIZE_MAX;
}

static enum status make_characters(struct tokenizer *t, const char *where, struct err *e)
{
    size_t slots = 64, n = count_characters(t);
    while (n != SIZE_MAX && slots / 2 < n)
        slots *= 2;
    struct characters *c = t->chars = n == SIZE_MAX ? NULL : calloc(1, sizeof *c);
    if (c) {
        c->slot = calloc(slots, sizeof *c->slot);
        c->extra = malloc((n + 1) * sizeof *c->extra);
        c->mask = slots - 1;
        for (int i = 0; i < 128; i++)
            c->ascii[i] = NO_SYMBOL;
    }
    return c && c->slot && c->extra ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory for its characters", where);
}

static void put_character(struct characters *c, uint32_t code, int32_t symbol)
{
    struct character *slot = slot_of(c, code);
    if (!slot->used)
        *slot = (struct character){code, symbol, true};
    if (code < 128)
        c->ascii[code] = slot->symbol;
}

/* Pieces of one character first, so that the others find their characters. */
static void fill_characters(struct tokenizer *t)
{
    struct characters *c = t->chars;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->v.count; i++) {
            const struct piece *p = &t->pieces[i];
            const uint8_t *s = (const uint8_t *)p->text;
            uint32_t code, last = 0;
            for (size_t at = 0, length; takes_part(p) && at < p->bytes; at += length, last = code) {
                length = utf8_decode(s + at, p->bytes - at, &code);
                if (pass == 0 && length == p->bytes)
                    put_character(c, code, i);
                if (pass == 0)
                    break;
                if (at) {
                    uint32_t h = pair_hash(last, code);
                    c->pairs[h >> 6] |= (uint64_t)1 << (h & 63);
                }
                if (t->v.scored && !slot_of(c, code)->used) {
                    c->extra[c->extras] = code;
                    put_character(c, code, t->v.count + (int32_t)c->extras++);
                }
            }
        }
    c->ascii[' '] = slot_of(c, SPACE)->used ? slot_of(c, SPACE)->symbol : NO_SYMBOL;
}

/* ---- scores as ranks of pairs */

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* The symbol of text: a character's, or the id of a piece that takes part. */
static int32_t symbol_at(const struct tokenizer *t, const uint8_t *s, size_t n)
{
    uint32_t code;
    if (utf8_decode(s, n, &code) == n) {
        const struct character *slot = slot_of(t->chars, code);
        return slot->used ? slot->symbol : NO_SYMBOL;
    }
    int32_t id = tok_find(t, s, n);
    return id >= 0 && takes_part(&t->pieces[id]) ? id : NO_SYMBOL;
}

/* Every way to cut a piece in two symbols is a pair that merges to it. Counts them; adds them where add is set. */
static size_t cut_piece(struct tokenizer *t, int32_t id, uint32_t rank, bool add)
{
    const struct piece *p = &t->pieces[id];
    const uint8_t *s = (const uint8_t *)p->text;
    size_t found = 0;
    uint32_t code;
    for (size_t at = utf8_decode(s, p->bytes, &code); at < p->bytes; at += utf8_decode(s + at, p->bytes - at, &code)) {
        int32_t left = symbol_at(t, s, at), right = left < 0 ? left : symbol_at(t, s + at, p->bytes - at);
        if (right < 0)
            continue;
        found++;
        if (add)
            merge_table_add(&t->table, left, right, rank, id);
    }
    return found;
}

/* Equal scores are equal ranks: the leftmost pair merges first. */
static enum status rank_pairs(struct tokenizer *t, const char *where, struct err *e)
{
    size_t n = 0, pairs = 0;
    struct scored *order = malloc((size_t)t->v.count * sizeof *order);
    for (int i = 0; i < t->v.count && order; i++)
        if (takes_part(&t->pieces[i])) {
            order[n++] = (struct scored){t->pieces[i].score, i};
            pairs += cut_piece(t, i, 0, false);
        }
    merge_table_free(&t->table);
    if (!order || !merge_table_init(&t->table, pairs)) {
        free(order);
        return fail(e, ST_ENOMEM, "%s: no memory for its pairs", where);
    }
    qsort(order, n, sizeof *order, by_score);
    for (size_t i = 0, rank = 0; i < n; i++) {
        rank = i && order[i].score == order[i - 1].score ? rank : i;
        cut_piece(t, order[i].id, (uint32_t)rank, true);
    }
    free(order);
    return ST_OK;
}

static enum status build(struct tokenizer *t, const char *where, struct err *e)
{
    enum status s = find_bytes(t, where, e);
    if (!s)
        s = check_pieces(t, where, e);
    if (!s)
        s = make_characters(t, where, e);
    if (s)
        return s;
    fill_characters(t);
    return t->v.scored ? rank_pairs(t, where, e) : ST_OK;
}

/* ---- encoding */

static bool put_bytes(const struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out)
{
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = id_list_put(out, t->byte_id[s[i]]);
    return ok;
}

/* The character at s as pieces spell it: a space is U+2581. Its bytes in text; 0: ill-formed. */
static size_t read_character(const uint8_t *s, size_t n, uint32_t *code)
{
    size_t length = utf8_decode(s, n, code);
    if (*code == ' ')
        *code = SPACE;
    return length;
}

/* The word of characters with symbols at s; 0: the first has none. */
static size_t word_at(const struct characters *c, const uint8_t *s, size_t n)
{
    uint32_t code, last = 0;
    size_t at = 0;
    for (size_t length; at < n; at += length, last = code) {
        length = read_character(s + at, n - at, &code);
        if (!length || symbol_of(c, code) < 0 || (at && !neighbours(c, last, code)))
            break;
    }
    return at;
}

static bool put_unknown(const struct tokenizer *t, const uint8_t *s, size_t length, struct id_list *out)
{
    return *s == ' ' ? put_bytes(t, (const uint8_t *)"\xe2\x96\x81", 3, out) : put_bytes(t, s, length, out);
}

static enum status encode(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out, struct err *e)
{
    enum status st = ST_OK;
    for (size_t at = 0, length; at < n && !st; at += length) {
        uint32_t code;
        length = word_at(t->chars, s + at, n - at);
        if (length) {
            st = tok_word(t, s + at, length, out, e);
            continue;
        }
        length = utf8_decode(s + at, n - at, &code);
        length = length ? length : 1;
        if (!put_unknown(t, s + at, length, out))
            st = fail(e, ST_ENOMEM, "no memory for encoding a text");
    }
    return st;
}

static bool first_ids(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out)
{
    uint32_t code;
    for (size_t at = 0; at < n;) {
        at += read_character(s + at, n - at, &code);
        if (!id_list_put(out, symbol_of(t->chars, code)))
            return false;
    }
    return true;
}

static bool last_id(const struct tokenizer *t, int32_t id, struct id_list *out)
{
    uint8_t text[4];
    return id < t->v.count ? id_list_put(out, id) : put_bytes(t, text, utf8_encode(t->chars->extra[id - t->v.count], text), out);
}

const struct tok_kind tok_pieces = {.raw = raw, .build = build, .encode = encode, .first_ids = first_ids, .last_id = last_id};
