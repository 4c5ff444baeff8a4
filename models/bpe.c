/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "bpe_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- words */

enum byte_class { CLASS_OTHER, CLASS_LETTER, CLASS_DIGIT, CLASS_SPACE };

static enum byte_class class_of(uint8_t c)
{
    if (c >= 0x80 || (c | 0x20u) - 'a' < 26u)
        return CLASS_LETTER;
    if ((unsigned)c - '0' < 10u)
        return CLASS_DIGIT;
    return c == ' ' || (unsigned)c - '\t' < 5u ? CLASS_SPACE : CLASS_OTHER;
}

/* A cut in an overlong run falls between UTF-8 characters where there are any. */
static size_t cut_run(const uint8_t *s)
{
    size_t n = BPE_WORD;
    while (n > BPE_WORD - 3 && (s[n] & 0xc0) == 0x80)
        n--;
    return (s[n] & 0xc0) == 0x80 ? BPE_WORD : n;
}

size_t bpe_word(const uint8_t *s, size_t n)
{
    size_t lead = s[0] == ' ' && n > 1 && class_of(s[1]) != CLASS_SPACE, i = lead + 1;
    enum byte_class class = class_of(s[lead]);
    while (i < n && i <= BPE_WORD && class_of(s[i]) == class)
        i++;
    if (i > BPE_WORD)
        return cut_run(s);
    /* The last of several spaces belongs to the word that follows. */
    if (class == CLASS_SPACE && i > 1 && i < n && s[i - 1] == ' ')
        i--;
    return i;
}

/* ---- the vocabulary */

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->pairs);
    free(b->begin);
    free(b->bytes);
    free(b->slots);
    free(b);
}

int bpe_vocab(const struct bpe *b) { return b->vocab; }

struct bpe *bpe_new(int room)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    size_t slots = 64;
    while (slots < 2 * (size_t)room)
        slots *= 2;
    *b = (struct bpe){.vocab = BPE_FIRST_MERGE, .room = room, .mask = slots - 1, .bytes_room = 16 * (size_t)room};
    b->pairs = calloc((size_t)room, sizeof *b->pairs);
    b->begin = calloc((size_t)room + 1, sizeof *b->begin);
    b->bytes = calloc(b->bytes_room, 1);
    b->slots = calloc(slots, sizeof *b->slots);
    if (!b->pairs || !b->begin || !b->bytes || !b->slots) {
        bpe_free(b);
        return NULL;
    }
    for (uint32_t i = 0; i < 256; i++) {
        b->begin[i] = i;
        b->bytes[i] = (uint8_t)i;
    }
    b->begin[BPE_EOT] = b->begin[BPE_FIRST_MERGE] = 256;
    return b;
}

static struct bpe_slot *find_slot(const struct bpe *b, uint64_t pair)
{
    size_t i = bpe_hash(pair) & b->mask;
    while (b->slots[i].id && b->slots[i].pair != pair)
        i = (i + 1) & b->mask;
    return &b->slots[i];
}

const uint8_t *bpe_token(const struct bpe *b, int32_t id, int *bytes)
{
    bool known = id >= 0 && id < b->vocab;
    *bytes = known ? (int)(b->begin[id + 1] - b->begin[id]) : 0;
    return known ? b->bytes + b->begin[id] : b->bytes;
}

int32_t bpe_merge(struct bpe *b, uint64_t pair)
{
    int nl, nr;
    bpe_token(b, bpe_left(pair), &nl);
    bpe_token(b, bpe_right(pair), &nr);
    int32_t id = b->vocab;
    size_t at = b->begin[id], need = at + (size_t)nl + (size_t)nr;
    if (need > b->bytes_room) {
        uint8_t *bytes = realloc(b->bytes, 2 * need);
        if (!bytes)
            return 0;
        b->bytes = bytes;
        b->bytes_room = 2 * need;
    }
    memcpy(b->bytes + at, bpe_token(b, bpe_left(pair), &nl), (size_t)nl);
    memcpy(b->bytes + at + nl, bpe_token(b, bpe_right(pair), &nr), (size_t)nr);
    *find_slot(b, pair) = (struct bpe_slot){pair, id};
    b->pairs[id] = pair;
    b->begin[id + 1] = (uint32_t)need;
    b->vocab = id + 1;
    return id;
}

/* ---- encoding */

/* What the pair merges to; INT32_MAX when it does not. Ids grow with rank, so the smallest id is the lowest rank. */
static int32_t merged(const struct bpe *b, int32_t left, int32_t right)
{
    const struct bpe_slot *m = find_slot(b, bpe_pair(left, right));
    return m->id ? m->id : INT32_MAX;
}

static int lowest(const int32_t *x, int n)
{
    int at = 0;
    for (int i = 1; i < n; i++)
        if (x[i] < x[at])
            at = i;
    return at;
}

/* A word is short: the plain scan for the lowest rank beats a heap, and needs no memory. */
static int encode_word(const struct bpe *b, const uint8_t *s, int n, int32_t *id)
{
    int32_t to[BPE_WORD]; /* to[i]: what id[i], id[i + 1] merge to */
    for (int i = 0; i < n; i++)
        id[i] = s[i];
    for (int i = 0; i + 1 < n; i++)
        to[i] = merged(b, id[i], id[i + 1]);
    while (n > 1) {
        int at = lowest(to, n - 1);
        if (to[at] == INT32_MAX)
            break;
        id[at] = to[at];
        n--;
        memmove(id + at + 1, id + at + 2, (size_t)(n - at - 1) * sizeof *id);
        memmove(to + at, to + at + 1, (size_t)(n - at - 1) * sizeof *to);
        if (at > 0)
            to[at - 1] = merged(b, id[at - 1], id[at]);
        if (at + 1 < n)
            to[at] = merged(b, id[at], id[at + 1]);
    }
    return n;
}

size_t bpe_encode(const struct bpe *b, const uint8_t *text, size_t bytes, int32_t *out)
{
    size_t count = 0;
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bpe_word(text + at, bytes - at);
        count += (size_t)encode_word(b, text + at, (int)n, out + count);
    }
    return count;
}

/* ---- as text */

char *bpe_save(const struct bpe *b)
{
    size_t room = (size_t)b->vocab * 16 + 1, n = 0; /* two ids of at most 7 digits, a space, a newline */
    char *text = malloc(room);
    if (!text)
        return NULL;
    text[0] = '\0';
    for (int id = BPE_FIRST_MERGE; id < b->vocab; id++)
        n += (size_t)snprintf(text + n, room - n, "%d %d\n", bpe_left(b->pairs[id]), bpe_right(b->pairs[id]));
    return text;
}

/* Digits up to `end`; -1 when there are none, too many, or another character stands there. */
static int32_t parse_id(const char **s, char end)
{
    int32_t x = 0;
    int n = 0;
    for (; **s >= '0' && **s <= '9' && n < 8; ++*s, n++)
        x = 10 * x + (**s - '0');
    if (!n || n > 7 || **s != end)
        return -1;
    ++*s;
    return x;
}

static enum status load_line(struct bpe *b, const char **text, int line, struct err *e)
{
    int32_t left = parse_id(text, ' '), right = left < 0 ? -1 : parse_id(text, '\n');
    if (left < 0 || right < 0)
        return fail(e, ST_EFORMAT, "tokenizer, line %d: not 'left right'", line);
    if (left >= b->vocab || right >= b->vocab || left == BPE_EOT || right == BPE_EOT)
        return fail(e, ST_EFORMAT, "tokenizer, line %d: %d %d names a token that does not exist yet", line, left, right);
    int nl, nr;
    bpe_token(b, left, &nl);
    bpe_token(b, right, &nr);
    if (nl + nr > BPE_WORD)
        return fail(e, ST_EFORMAT, "tokenizer, line %d: a token of %d bytes; the longest is %d", line, nl + nr, BPE_WORD);
    if (find_slot(b, bpe_pair(left, right))->id)
        return fail(e, ST_EFORMAT, "tokenizer, line %d: %d %d is merged twice", line, left, right);
    return bpe_merge(b, bpe_pair(left, right)) ? ST_OK : fail(e, ST_ENOMEM, "no memory for the tokenizer");
}

enum status bpe_load(struct bpe **b, const char *text, struct err *e)
{
    *b = NULL;
    size_t lines = 0;
    for (const char *s = text; *s; s++)
        lines += *s == '\n';
    if (lines > BPE_MAX_VOCAB - BPE_FIRST_MERGE)
        return fail(e, ST_EFORMAT, "tokenizer: %zu merges; at most %d are possible", lines, BPE_MAX_VOCAB - BPE_FIRST_MERGE);
    struct bpe *t = bpe_new(BPE_FIRST_MERGE + (int)lines + 1);
    if (!t)
        return fail(e, ST_ENOMEM, "no memory for the tokenizer");
    for (int line = 1; *text; line++) {
        enum status s = load_line(t, &text, line, e);
        if (s) {
            bpe_free(t);
            return s;
        }
    }
    *b = t;
    return ST_OK;
}
