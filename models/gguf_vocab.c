/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf_vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, DUMMY_SPECIALS = 3, DUMMY_LEAST = DUMMY_SPECIALS + BYTES, DUMMY_TEXT = 16 };

/* Where the arrays of a vocabulary are filled: one allocation, v's own. */
struct room {
    struct gguf_string *tokens, *merges;
    float *scores;
    int32_t *types;
    char *text;
};

static enum status make_room(struct room *r, struct gguf_vocab *v, size_t text_bytes, struct err *e)
{
    size_t count = (size_t)v->count, strings = count + v->n_merges;
    r->tokens = calloc(1, strings * sizeof *r->tokens + count * (sizeof *r->scores + sizeof *r->types) + text_bytes);
    if (!r->tokens)
        return fail(e, ST_ENOMEM, "no memory for a vocabulary of %d tokens", v->count);
    r->merges = r->tokens + count;
    r->scores = (float *)(r->tokens + strings);
    r->types = (int32_t *)(r->scores + count);
    r->text = (char *)(r->types + count);
    v->room = r->tokens;
    v->tokens = r->tokens;
    v->merges = r->merges;
    v->scores = r->scores;
    v->types = r->types;
    return ST_OK;
}

void gguf_vocab_free(struct gguf_vocab *v)
{
    free(v->room);
    *v = (struct gguf_vocab){0};
}

/* ---- made up */

static int dummy_token(char text[DUMMY_TEXT], int id, int32_t *type)
{
    static const char *const specials[DUMMY_SPECIALS] = {"<unk>", "<s>", "</s>"};
    *type = id == 0 ? GGUF_TOKEN_UNKNOWN : id < DUMMY_SPECIALS ? GGUF_TOKEN_CONTROL : id < DUMMY_LEAST ? GGUF_TOKEN_BYTE : GGUF_TOKEN_NORMAL;
    if (id < DUMMY_SPECIALS)
        return snprintf(text, DUMMY_TEXT, "%s", specials[id]);
    if (id < DUMMY_LEAST)
        return snprintf(text, DUMMY_TEXT, "<0x%02X>", (unsigned)(id - DUMMY_SPECIALS));
    return snprintf(text, DUMMY_TEXT, "\u2581t%d", id); /* U+2581 stands for a space */
}

enum status gguf_vocab_dummy(struct gguf_vocab *v, int count, struct err *e)
{
    *v = (struct gguf_vocab){.model = "llama", .pre = "default", .count = count, .bos = 1, .eos = 2, .unk = 0, .add_bos = 1, .add_space_prefix = 1};
    if (count < DUMMY_LEAST)
        return fail(e, ST_EUSAGE, "a vocabulary of %d tokens is too small for its %d bytes and specials", count, DUMMY_LEAST);
    struct room r = {0};
    enum status s = make_room(&r, v, (size_t)count * DUMMY_TEXT, e);
    for (int i = 0; i < count && !s; i++, r.text += DUMMY_TEXT) {
        r.tokens[i] = (struct gguf_string){r.text, (size_t)dummy_token(r.text, i, &r.types[i])};
        r.scores[i] = i < DUMMY_LEAST ? 0 : -(float)i;
    }
    return s;
}

/* ---- byte pairs */

/* GPT-2 writes a byte as a printable character: Latin-1's own where it has one, otherwise the next from U+0100 on. */
static int byte_character(uint8_t byte)
{
    int shift = 0;
    for (int b = 0; b <= byte; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        if (b == byte)
            return printable ? b : 256 + shift;
        shift += !printable;
    }
    return 0;
}

static size_t put_character(char *text, int c)
{
    if (c < 0x80) {
        text[0] = (char)c;
        return 1;
    }
    text[0] = (char)(0xc0 | c >> 6);
    text[1] = (char)(0x80 | (c & 63));
    return 2;
}

/* At most two bytes of text a byte. */
static size_t put_token(char *text, const struct bpe *b, int32_t id)
{
    int n;
    size_t used = 0;
    const uint8_t *bytes = bpe_token(b, id, &n);
    for (int i = 0; i < n; i++)
        used += put_character(text + used, byte_character(bytes[i]));
    return used;
}

static const char boundary[] = "<|endoftext|>";

static size_t text_bytes(const struct bpe *b)
{
    size_t bytes = sizeof boundary;
    for (int id = 0, n; id < bpe_vocab(b); id++) {
        bpe_token(b, id, &n);
        bytes += 4 * (size_t)n + 1; /* as a token, and as a merge with a space in it */
    }
    return bytes;
}

static void put_tokens(struct room *r, const struct bpe *b)
{
    for (int id = 0; id < bpe_vocab(b); id++) {
        bool normal = id != BPE_EOT;
        size_t n = normal ? put_token(r->text, b, id) : sizeof boundary - 1;
        if (!normal)
            memcpy(r->text, boundary, n);
        r->types[id] = normal ? GGUF_TOKEN_NORMAL : GGUF_TOKEN_CONTROL;
        r->tokens[id] = (struct gguf_string){r->text, n};
        r->text += n;
    }
}

/* pairs: bpe_save's lines "left right". */
static void put_merges(struct room *r, const struct bpe *b, size_t n_merges, const char *pairs)
{
    for (size_t i = 0; i < n_merges; i++) {
        char *end;
        int32_t left = (int32_t)strtol(pairs, &end, 10), right = (int32_t)strtol(end, &end, 10);
        size_t n = put_token(r->text, b, left);
        r->text[n++] = ' ';
        n += put_token(r->text + n, b, right);
        r->merges[i] = (struct gguf_string){r->text, n};
        r->text += n;
        pairs = end + 1;
    }
}

static int by_text(const void *a, const void *b)
{
    const struct gguf_string *x = *(const struct gguf_string *const *)a, *y = *(const struct gguf_string *const *)b;
    size_t n = x->bytes < y->bytes ? x->bytes : y->bytes;
    int order = memcmp(x->text, y->text, n);
    return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static enum status check_distinct(const struct gguf_vocab *v, struct err *e)
{
    const struct gguf_string **sorted = malloc((size_t)v->count * sizeof *sorted);
    enum status s = sorted ? ST_OK : fail(e, ST_ENOMEM, "no memory for a vocabulary of %d tokens", v->count);
    for (int i = 0; i < v->count && !s; i++)
        sorted[i] = &v->tokens[i];
    if (!s)
        qsort(sorted, (size_t)v->count, sizeof *sorted, by_text);
    for (int i = 1; i < v->count && !s; i++)
        if (by_text(&sorted[i - 1], &sorted[i]) == 0)
            s = fail(e, ST_EUNSUPPORTED, "tokens %td and %td of the vocabulary stand for the same bytes, which GPT-2's notation cannot tell apart",
                     sorted[i - 1] - v->tokens, sorted[i] - v->tokens);
    free(sorted);
    return s;
}

enum status gguf_vocab_bpe(struct gguf_vocab *v, const struct bpe *b, struct err *e)
{
    int count = bpe_vocab(b);
    *v = (struct gguf_vocab){.model = "gpt2", .pre = "gpt-2", .count = count, .n_merges = (size_t)(count - BPE_FIRST_MERGE),
                             .bos = BPE_EOT, .eos = BPE_EOT, .unk = -1};
    struct room r = {0};
    char *pairs = bpe_save(b);
    enum status s = pairs ? make_room(&r, v, text_bytes(b), e) : fail(e, ST_ENOMEM, "no memory for a vocabulary of %d tokens", count);
    if (!s) {
        put_tokens(&r, b);
        put_merges(&r, b, v->n_merges, pairs);
        v->scores = NULL;
        s = check_distinct(v, e);
    }
    free(pairs);
    if (s)
        gguf_vocab_free(v);
    return s;
}

/* ---- into a file */

static void set_id(struct gguf_writer *w, const char *key, int id)
{
    if (id >= 0)
        gguf_set_u32(w, key, (uint32_t)id);
}

void gguf_vocab_write(struct gguf_writer *w, const struct gguf_vocab *v)
{
    size_t n = (size_t)v->count;
    gguf_set_text(w, "tokenizer.ggml.model", v->model);
    if (v->pre)
        gguf_set_text(w, "tokenizer.ggml.pre", v->pre);
    gguf_set_strings(w, "tokenizer.ggml.tokens", v->tokens, n);
    if (v->scores)
        gguf_set_f32s(w, "tokenizer.ggml.scores", v->scores, n);
    if (v->types)
        gguf_set_i32s(w, "tokenizer.ggml.token_type", v->types, n);
    if (v->merges && v->n_merges)
        gguf_set_strings(w, "tokenizer.ggml.merges", v->merges, v->n_merges);
    set_id(w, "tokenizer.ggml.bos_token_id", v->bos);
    set_id(w, "tokenizer.ggml.eos_token_id", v->eos);
    set_id(w, "tokenizer.ggml.unknown_token_id", v->unk);
    if (v->add_bos >= 0)
        gguf_set_bool(w, "tokenizer.ggml.add_bos_token", v->add_bos);
    if (v->add_space_prefix >= 0)
        gguf_set_bool(w, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
}
