/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_core.h"

#include <stdlib.h>
#include <string.h>

#include "utf8.h"

/*
 * GPT-2 (Radford et al. 2019) writes every byte as a printable character: Latin-1's own where it has one, otherwise the next from U+0100
 * on. So a piece is text without spaces, and merges can be listed one a line. The bytes without a character of their own:
 */
enum { CONTROLS = 0x21, HIGH = 0x7f, HIGH_END = 0xa1, SOFT_HYPHEN = 0xad, SHIFTED = 0x100, HIGH_AT = SHIFTED + CONTROLS, HYPHEN_AT = HIGH_AT + HIGH_END - HIGH };

uint32_t tok_byte_char(uint8_t byte)
{
    if (byte < CONTROLS)
        return SHIFTED + byte;
    if (byte >= HIGH && byte < HIGH_END)
        return HIGH_AT + (byte - (uint32_t)HIGH);
    return byte == SOFT_HYPHEN ? HYPHEN_AT : byte;
}

int tok_char_byte(uint32_t code)
{
    if (code >= SHIFTED && code < HIGH_AT)
        return (int)(code - SHIFTED);
    if (code >= HIGH_AT && code < HYPHEN_AT)
        return (int)(code - HIGH_AT + HIGH);
    if (code == HYPHEN_AT)
        return SOFT_HYPHEN;
    return code < SHIFTED && tok_byte_char((uint8_t)code) == code ? (int)code : -1;
}

/* A piece that is not spelt in those characters stands for its text as it is. */
static size_t raw(const struct piece *p, uint8_t *out)
{
    const uint8_t *s = (const uint8_t *)p->text;
    size_t n = 0;
    for (size_t at = 0, length; p->type == PIECE_NORMAL && at < p->bytes; at += length, n++) {
        uint32_t code;
        length = utf8_decode(s + at, p->bytes - at, &code);
        int byte = length ? tok_char_byte(code) : -1;
        if (byte < 0)
            break;
        out[n] = (uint8_t)byte;
        if (at + length == p->bytes)
            return n + 1;
    }
    memcpy(out, p->text, p->bytes);
    return p->bytes;
}

static enum status build(struct tokenizer *t, const char *where, struct err *e)
{
    for (int byte = 0; byte < 256; byte++) {
        uint8_t text[4];
        size_t n = utf8_encode(tok_byte_char((uint8_t)byte), text);
        t->byte_id[byte] = tok_find(t, text, n);
        if (t->byte_id[byte] < 0)
            return fail(e, ST_EFORMAT, "%s: no piece stands for the byte 0x%02x ('%.*s')", where, (unsigned)byte, (int)n, (const char *)text);
    }
    return ST_OK;
}

/* ---- words */

enum { LONGEST_WHOLE = 256 };

/* The id of the word as a whole; -1: it is no piece. */
static int32_t whole(const struct tokenizer *t, const uint8_t *s, size_t n)
{
    uint8_t text[2 * LONGEST_WHOLE + 4];
    size_t used = 0;
    if (n > LONGEST_WHOLE)
        return -1;
    for (size_t i = 0; i < n; i++)
        used += utf8_encode(tok_byte_char(s[i]), text + used);
    int32_t id = tok_find(t, text, used);
    return id >= 0 && t->pieces[id].type == PIECE_NORMAL ? id : -1;
}

static bool first_ids(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out)
{
    int32_t id = t->v.whole_words ? whole(t, s, n) : -1;
    if (id >= 0)
        return id_list_put(out, id);
    for (size_t i = 0; i < n; i++)
        if (!id_list_put(out, t->byte_id[s[i]]))
            return false;
    return true;
}

static bool last_id(const struct tokenizer *t, int32_t id, struct id_list *out)
{
    (void)t;
    return id_list_put(out, id);
}

struct destination {
    struct tokenizer *t;
    struct id_list *out;
};

static enum status put_word(void *ctx, const uint8_t *s, size_t n, struct err *e)
{
    const struct destination *d = ctx;
    return tok_word(d->t, s, n, d->out, e);
}

static enum status encode(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out, struct err *e)
{
    struct destination d = {t, out};
    return pretokenize(t->pre, s, n, put_word, &d, e);
}

const struct tok_kind tok_bytes = {.raw = raw, .build = build, .encode = encode, .first_ids = first_ids, .last_id = last_id};
