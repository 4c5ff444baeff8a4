/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "tok_core.h"
#include "tok_draft.h"
#include "utf8.h"

static size_t count_lines(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += *s == '\n';
    return n + 1;
}

static enum status put_lines(struct draft *d, const struct file_text *f, struct err *e)
{
    d->merge = malloc(count_lines(f->text) * sizeof *d->merge);
    d->v.merge_text = d->merge;
    if (!d->merge)
        return draft_no_memory(d, e);
    const char *line = f->text, *end;
    for (size_t number = 1; *line; line = *end ? end + 1 : end, number++) {
        end = strchrnul(line, '\n');
        size_t n = (size_t)(end - line);
        n -= n && line[n - 1] == '\r';
        if (!n || (number == 1 && !strncmp(line, "#version", 8)))
            continue;
        if (!merge_split(line, n, &d->merge[d->v.merges++]))
            return fail(e, ST_EFORMAT, "%s:%zu: not two pieces with a space between them", f->path, number);
    }
    return ST_OK;
}

/* What is no byte and what no merge makes never comes from text. */
static enum status mark_controls(struct draft *d, const json_t *vocab, struct err *e)
{
    bool *made = calloc((size_t)d->v.count, sizeof *made);
    if (!made)
        return draft_no_memory(d, e);
    for (size_t i = 0; i < d->v.merges; i++) {
        char key[512];
        const struct merge_text *m = &d->merge[i];
        if ((size_t)m->left_bytes + m->right_bytes >= sizeof key)
            continue;
        memcpy(key, m->left, m->left_bytes);
        memcpy(key + m->left_bytes, m->right, m->right_bytes);
        const json_t *id = json_object_getn(vocab, key, m->left_bytes + m->right_bytes);
        if (id)
            made[json_integer_value(id)] = true;
    }
    for (int i = 0; i < d->v.count; i++) {
        uint32_t code;
        const struct piece *p = &d->piece[i];
        bool byte = utf8_decode((const uint8_t *)p->text, p->bytes, &code) == p->bytes && tok_char_byte(code) >= 0;
        if (!made[i] && !byte)
            d->piece[i].type = PIECE_CONTROL;
    }
    free(made);
    return ST_OK;
}

enum status tok_from_pair(struct tokenizer **t, const struct file_text *encoder, const struct file_text *merges, struct err *e)
{
    struct draft d = {.path = encoder->path, .v = {.kind = TOKENIZER_BYTES, .bos = -1, .eos = -1, .unk = -1, .pre = "gpt-2"}};
    json_t *vocab = NULL;
    *t = NULL;
    enum status s = draft_load(&vocab, encoder, e);
    if (!s)
        s = draft_pieces(&d, vocab, NULL, e);
    if (!s)
        s = draft_vocab(&d, vocab, false, e);
    if (!s)
        s = draft_whole(&d, e);
    if (!s)
        s = put_lines(&d, merges, e);
    if (!s)
        s = mark_controls(&d, vocab, e);
    if (!s) {
        draft_guess_ends(&d);
        s = tokenizer_new(t, &d.v, encoder->path, e);
    }
    draft_free(&d);
    json_decref(vocab);
    return s;
}
