/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_core.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "utf8.h"

static enum status no_memory(struct err *e) { return fail(e, ST_ENOMEM, "no memory for encoding a text"); }

/* ---- words */

/* Merges one word that is not in the cache. */
static bool merge_new_word(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out)
{
    const struct tok_kind *kind = tok_kind(t);
    t->word.count = 0;
    if (!kind->first_ids(t, s, n, &t->word))
        return false;
    size_t ids = merge_word(&t->table, &t->room, t->word.id, t->word.count);
    bool ok = ids != SIZE_MAX;
    for (size_t i = 0; ok && i < ids; i++)
        ok = kind->last_id(t, t->word.id[i], out);
    return ok;
}

static void remember(struct cached_word *c, const uint8_t *s, size_t n, const int32_t *id, size_t count)
{
    if (n > CACHE_KEY || count > CACHE_IDS)
        return;
    c->bytes = (uint8_t)n;
    c->count = (uint8_t)count;
    memcpy(c->key, s, n);
    memcpy(c->id, id, count * sizeof *id);
}

enum status tok_word(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out, struct err *e)
{
    if (!t->cache && !(t->cache = calloc(CACHE_WORDS, sizeof *t->cache)))
        return no_memory(e);
    struct cached_word *c = &t->cache[XXH3_64bits(s, n) & (CACHE_WORDS - 1)];
    bool ok = true;
    if (c->bytes == n && !memcmp(c->key, s, n)) {
        for (int i = 0; i < c->count && ok; i++)
            ok = id_list_put(out, c->id[i]);
    } else {
        size_t before = out->count;
        ok = merge_new_word(t, s, n, out);
        if (ok)
            remember(c, s, n, out->id + before, out->count - before);
    }
    return ok ? ST_OK : no_memory(e);
}

/* ---- stretches of text between special pieces */

static bool buffer_room(struct tokenizer *t, size_t n)
{
    if (n <= t->buffer_room)
        return true;
    free(t->buffer);
    t->buffer = malloc(n);
    t->buffer_room = t->buffer ? n : 0;
    return t->buffer != NULL;
}

static bool is_ascii(const uint8_t *s, size_t n)
{
    size_t i = 0;
    for (uint64_t x; i + 8 <= n; i += 8) {
        memcpy(&x, s + i, 8);
        if (x & 0x8080808080808080u)
            return false;
    }
    while (i < n && s[i] < 0x80)
        i++;
    return i == n;
}

/* At most three bytes for one (Unicode Standard Annex 15); bytes of no character stay. Returns how many bytes; SIZE_MAX: no memory. */
static size_t compose(const uint8_t *s, size_t n, uint8_t *out)
{
    size_t used = 0;
    for (size_t at = 0, run; at < n; at += run) {
        run = utf8_run(s + at, n - at);
        if (!run) {
            run = 1;
            out[used++] = s[at];
            continue;
        }
        utf8proc_uint8_t *composed = NULL;
        utf8proc_ssize_t length = utf8proc_map(s + at, (utf8proc_ssize_t)run, &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (length < 0 || (size_t)length > 3 * run) {
            free(composed);
            return SIZE_MAX;
        }
        memcpy(out + used, composed, (size_t)length);
        used += (size_t)length;
        free(composed);
    }
    return used;
}

static bool begins_with_space(const struct tokenizer *t, const uint8_t *s, size_t n)
{
    return n && (s[0] == ' ' || (t->v.kind == TOKENIZER_PIECES && n >= 3 && !memcmp(s, "\xe2\x96\x81", 3)));
}

static enum status encode_stretch(struct tokenizer *t, const uint8_t *s, size_t n, bool first, unsigned flags, struct id_list *out, struct err *e)
{
    const struct vocab *v = &t->v;
    bool prefix = v->space_prefix && !(first ? flags & TOKENIZER_CONTINUE : v->prefix_once) && !(v->prefix_unless && begins_with_space(t, s, n));
    bool nfc = v->nfc && !is_ascii(s, n);
    if (n > SIZE_MAX / 4)
        return no_memory(e);
    if (prefix || nfc) {
        if (!buffer_room(t, 3 * n + 1))
            return no_memory(e);
        t->buffer[0] = ' ';
        size_t made = n;
        if (nfc)
            made = compose(s, n, t->buffer + prefix);
        else
            memcpy(t->buffer + prefix, s, n);
        if (made == SIZE_MAX)
            return no_memory(e);
        s = t->buffer;
        n = made + prefix;
    }
    return tok_kind(t)->encode(t, s, n, out, e);
}

/* ---- special pieces in text */

static bool is_space(uint32_t c)
{
    return c == ' ' || c - '\t' < 5u || c == 0x85 || c == 0xa0 || c == 0x1680 || c - 0x2000u < 11u || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static size_t strip_left(const uint8_t *s, size_t from, size_t at)
{
    for (size_t i = at; i > from;) {
        uint32_t code;
        do
            i--;
        while (i > from && at - i < 4 && (s[i] & 0xc0) == 0x80);
        if (utf8_decode(s + i, at - i, &code) != at - i || !is_space(code))
            break;
        at = i;
    }
    return at;
}

static size_t strip_right(const uint8_t *s, size_t n, size_t at)
{
    uint32_t code;
    for (size_t length; at < n && (length = utf8_decode(s + at, n - at, &code)) && is_space(code);)
        at += length;
    return at;
}

/* The longest special piece that stands at s. */
static const struct special *special_at(const struct tokenizer *t, const uint8_t *s, size_t n, unsigned flags)
{
    for (uint32_t i = t->special_begin[s[0]]; i < t->special_begin[s[0] + 1]; i++) {
        const struct special *p = &t->special[i];
        bool wanted = flags & TOKENIZER_SPECIAL || t->pieces[p->id].type == PIECE_USER;
        if (wanted && p->bytes <= n && !memcmp(p->text, s, p->bytes))
            return p;
    }
    return NULL;
}

/* The first special piece from `from` on: where it begins and ends, and its id; -1: none, both are n. */
static int32_t next_special(const struct tokenizer *t, const uint8_t *s, size_t n, size_t from, unsigned flags, size_t *begin, size_t *end)
{
    *begin = *end = n;
    if (!t->any_user && !(flags & TOKENIZER_SPECIAL))
        return -1;
    for (size_t i = from; i < n; i++) {
        const struct special *p = special_at(t, s + i, n - i, flags);
        if (!p)
            continue;
        *begin = t->pieces[p->id].lstrip ? strip_left(s, from, i) : i;
        *end = t->pieces[p->id].rstrip ? strip_right(s, n, i + p->bytes) : i + p->bytes;
        return p->id;
    }
    return -1;
}

enum status tokenizer_encode(struct tokenizer *t, const void *text, size_t bytes, unsigned flags, struct id_list *out, struct err *e)
{
    const uint8_t *s = text;
    enum status st = ST_OK;
    if (flags & TOKENIZER_ENDS && t->v.add_bos && !id_list_put(out, t->v.bos))
        return no_memory(e);
    for (size_t at = 0, begin, end; at < bytes && !st; at = end) {
        int32_t id = next_special(t, s, bytes, at, flags, &begin, &end);
        if (begin > at)
            st = encode_stretch(t, s + at, begin - at, at == 0, flags, out, e);
        if (!st && id >= 0 && !id_list_put(out, id))
            st = no_memory(e);
    }
    if (!st && flags & TOKENIZER_ENDS && t->v.add_eos && !id_list_put(out, t->v.eos))
        return no_memory(e);
    return tok_one_line(st, e);
}

/* ---- back to text */

size_t tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, unsigned flags, uint8_t *out)
{
    size_t used = 0;
    bool strip = t->v.space_prefix && t->v.kind == TOKENIZER_PIECES && !(flags & TOKENIZER_CONTINUE);
    for (size_t i = 0; i < n; i++) {
        int bytes;
        const uint8_t *s = tokenizer_piece(t, id[i], &bytes);
        if (!bytes && flags & TOKENIZER_SPECIAL && id[i] >= 0 && id[i] < t->v.count)
            bytes = (int)(t->begin[id[i] + 1] - t->begin[id[i]]), s = t->raw + t->begin[id[i]];
        else if (bytes && strip) {
            bool space = s[0] == ' ';
            s += space;
            bytes -= space;
            strip = false;
        }
        if (out && bytes)
            memcpy(out + used, s, (size_t)bytes);
        used += (size_t)bytes;
    }
    return used;
}
