/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

const struct protocol protocols[PROTOCOL_COUNT] = {
#define PROTOCOL(identifier, name_, title_, join_, context_) \
    [PROTOCOL_##identifier] = {.name = name_, .title = title_, .join = join_, .context = context_},
#include "protocols.def"
#undef PROTOCOL
};

const struct protocol *protocol_find(const char *name)
{
    for (int i = 0; i < PROTOCOL_COUNT; i++)
        if (!strcmp(protocols[i].name, name))
            return &protocols[i];
    return NULL;
}

void windows_free(struct windows *w)
{
    free(w->id);
    free(w->window);
    *w = (struct windows){0};
}

/* ---- documents */

struct span {
    const char *s;
    size_t n;
};

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static struct span trimmed(struct span d)
{
    while (d.n && blank(d.s[d.n - 1]))
        d.n--;
    for (; d.n && blank(d.s[0]); d.n--)
        d.s++;
    return d;
}

/* The next document, *rest behind it; false: there is none. A line keeps its end, unless it is blank: then it is empty. */
static bool next_document(struct span *rest, const char *separator, bool lines, struct span *d)
{
    if (!rest->n)
        return false;
    const char *mark = separator ? separator : "\n";
    size_t skip = strlen(mark);
    const char *end = separator || lines ? memmem(rest->s, rest->n, mark, skip) : NULL;
    size_t n = end ? (size_t)(end - rest->s) : rest->n, used = end ? n + skip : n;
    *d = (struct span){rest->s, separator ? n : used};
    rest->s += used;
    rest->n -= used;
    if (separator)
        *d = trimmed(*d);
    else if (lines && !trimmed(*d).n)
        d->n = 0;
    return true;
}

/* Documents with `join` between them; the caller frees. NULL: no memory. */
static char *joined(const struct protocol_text *text, const char *join, size_t *bytes)
{
    struct span rest = {text->text, text->bytes}, d;
    size_t documents = 1, n = 0, between = strlen(join);
    for (struct span r = rest; next_document(&r, text->separator, true, &d);)
        documents++;
    size_t room;
    if (__builtin_mul_overflow(documents, between, &room) || __builtin_add_overflow(room, text->bytes, &room))
        return NULL;
    char *s = malloc(room + 1);
    for (bool first = true; s && next_document(&rest, text->separator, true, &d);) {
        if (text->separator && !d.n)
            continue;
        if (!first)
            memcpy(s + n, join, between), n += between;
        memcpy(s + n, d.s, d.n);
        n += d.n;
        first = false;
    }
    *bytes = n;
    return s;
}

/* ---- windows */

static enum status no_memory(struct err *e) { return fail(e, ST_ENOMEM, "no memory for the windows of a text"); }

static enum status put_window(struct windows *w, size_t *room, struct window x, struct err *e)
{
    if (w->count == *room) {
        size_t more = *room ? 2 * *room : 64;
        struct window *grown = realloc(w->window, more * sizeof *grown);
        if (!grown)
            return no_memory(e);
        w->window = grown;
        *room = more;
    }
    w->window[w->count++] = x;
    return ST_OK;
}

/* Windows end to end; what is left over at the end is in none. */
static enum status end_to_end(struct windows *w, size_t least, int scored, int32_t front, struct err *e)
{
    size_t room = 0, context = (size_t)w->context, n = w->ids / context;
    enum status s = ST_OK;
    if (n < least)
        return fail(e, ST_EUSAGE, "the text has %zu tokens; the protocol '%s' needs %zu, %zu windows of %zu", w->ids, protocols[w->protocol].name,
                    least * context, least, context);
    for (size_t i = 0; i < n && !s; i++)
        s = put_window(w, &room, (struct window){i * context, w->context, scored, front}, e);
    return s;
}

/* Every window scores what the one before it has not seen. */
static enum status overlapping(struct windows *w, struct err *e)
{
    size_t room = 0, seen = 1, context = (size_t)w->context;
    enum status s = ST_OK;
    if (w->ids < 2)
        return fail(e, ST_EUSAGE, "the text has %zu tokens; the protocol 'strided' needs 2", w->ids);
    for (size_t at = 0; seen < w->ids && !s; at += (size_t)w->stride) {
        size_t end = at + context < w->ids ? at + context : w->ids;
        s = put_window(w, &room, (struct window){at, (int)(end - at), (int)(seen - at), -1}, e);
        seen = end;
    }
    return s;
}

static enum status encode(struct windows *w, struct tokenizer *t, const char *s, size_t n, unsigned flags, struct err *e)
{
    struct id_list l = {0};
    enum status st = tokenizer_encode(t, s, n, flags, &l, e);
    w->id = l.id;
    w->ids = l.count;
    return st;
}

/* Each document: BOS where the vocabulary has one, then its ids, cut to the context. One without a target is left out. */
static enum status by_document(struct windows *w, struct tokenizer *t, const struct protocol_text *text, bool boundaries, struct err *e)
{
    struct id_list l = {0};
    struct span rest = {text->text, text->bytes}, d;
    int32_t bos = tokenizer_vocab(t)->bos;
    size_t room = 0;
    enum status s = ST_OK;
    while (!s && next_document(&rest, text->separator, false, &d)) {
        size_t at = l.count, most = (size_t)w->context;
        if (text->separator && !d.n)
            continue;
        if (bos >= 0 && !id_list_put(&l, bos))
            s = no_memory(e);
        if (!s)
            s = tokenizer_encode(t, d.s, d.n, 0, &l, e);
        if (boundaries)
            continue;
        l.count = l.count - at > most ? at + most : l.count;
        if (!s && l.count - at > 1)
            s = put_window(w, &room, (struct window){at, (int)(l.count - at), 1, -1}, e);
    }
    w->id = l.id;
    w->ids = l.count;
    if (!s && !boundaries && !w->count)
        s = fail(e, ST_EUSAGE, "no document of the text has two tokens");
    return s;
}

/* ---- the whole */

static void finish(struct windows *w)
{
    uint64_t h = XXH64(&w->unscored, sizeof w->unscored, 0);
    w->targets = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct window *x = &w->window[i];
        const int32_t facts[] = {x->length, x->scored, x->front};
        for (int j = x->scored; j < x->length; j++)
            w->targets += w->id[x->at + (size_t)j] != w->unscored;
        h = XXH64(w->id + x->at, (size_t)x->length * sizeof *w->id, XXH64(facts, sizeof facts, h));
    }
    snprintf(w->hash, sizeof w->hash, "%016llx", (unsigned long long)h);
}

static enum status check_shape(struct windows *w, const struct protocol_text *text, struct err *e)
{
    const struct protocol *p = &protocols[w->protocol];
    bool strided = w->protocol == PROTOCOL_strided;
    w->context = text->context ? text->context : p->context;
    w->stride = !strided ? 0 : text->stride ? text->stride : w->context / 2;
    if (w->context < 2)
        return fail(e, ST_EUSAGE, "the protocol '%s' needs a context of 2 tokens at least, not %d", p->name, w->context);
    if (!strided && text->stride)
        return fail(e, ST_EUSAGE, "the protocol '%s' has no stride; 'strided' has", p->name);
    if (strided && (w->stride < 1 || w->stride >= w->context))
        return fail(e, ST_EUSAGE, "a stride of %d does not fit a context of %d: 1 to %d do", w->stride, w->context, w->context - 1);
    if (text->separator && !*text->separator)
        return fail(e, ST_EUSAGE, "the separator of documents is empty");
    return ST_OK;
}

static enum status encode_joined(struct windows *w, struct tokenizer *t, const struct protocol_text *text, struct err *e)
{
    size_t n = 0;
    char *s = joined(text, protocols[w->protocol].join, &n);
    enum status st = s ? encode(w, t, s, n, TOKENIZER_ENDS, e) : no_memory(e);
    free(s);
    return st;
}

static enum status plan_llama_cpp(struct windows *w, struct tokenizer *t, const struct protocol_text *text, struct err *e)
{
    const struct vocab *v = tokenizer_vocab(t);
    if (v->add_eos)
        return fail(e, ST_EUSAGE, "the protocol 'llama.cpp' is not defined for a tokenizer that puts an end behind every text");
    if (text->separator)
        return fail(e, ST_EUSAGE, "the protocol 'llama.cpp' takes the text as it is, without a separator of documents");
    if (w->context < 4)
        return fail(e, ST_EUSAGE, "the protocol 'llama.cpp' needs a context of 4 tokens at least, not %d", w->context);
    enum status s = encode(w, t, text->text, text->bytes, TOKENIZER_ENDS, e);
    return s ? s : end_to_end(w, 2, w->context / 2 + 1, v->add_bos ? v->bos : -1, e);
}

static enum status plan_one(struct windows *w, struct tokenizer *t, const struct protocol_text *text, struct err *e)
{
    enum status s;
    switch (w->protocol) {
    case PROTOCOL_chunk:
        w->unscored = tokenizer_vocab(t)->bos;
        s = by_document(w, t, text, true, e);
        return s ? s : end_to_end(w, 2, 1, -1, e);
    case PROTOCOL_gptq:
        s = encode_joined(w, t, text, e);
        return s ? s : end_to_end(w, 1, 1, -1, e);
    case PROTOCOL_strided:
        s = encode_joined(w, t, text, e);
        return s ? s : overlapping(w, e);
    case PROTOCOL_llama_cpp:
        return plan_llama_cpp(w, t, text, e);
    default:
        return by_document(w, t, text, false, e);
    }
}

enum status protocol_plan(struct windows *w, enum protocol_id protocol, struct tokenizer *t, const struct protocol_text *text, struct err *e)
{
    *w = (struct windows){.protocol = protocol, .unscored = -1};
    enum status s = check_shape(w, text, e);
    if (!s)
        s = plan_one(w, t, text, e);
    if (s)
        windows_free(w);
    else
        finish(w);
    return s;
}

enum status protocol_plan_tokens(struct windows *w, const struct tokens *t, int32_t boundary, int context, struct err *e)
{
    *w = (struct windows){.protocol = PROTOCOL_chunk, .unscored = boundary};
    enum status s = check_shape(w, &(struct protocol_text){.context = context}, e);
    if (!s && !(w->id = malloc((t->count + 1) * sizeof *w->id)))
        s = no_memory(e);
    if (!s) {
        memcpy(w->id, t->id, t->count * sizeof *w->id);
        w->ids = t->count;
        s = end_to_end(w, 2, 1, -1, e);
    }
    if (s)
        windows_free(w);
    else
        finish(w);
    return s;
}

int windows_fill(const struct windows *w, size_t i, int room, int32_t *id, int32_t *target)
{
    const struct window *x = &w->window[i];
    int scored = 0;
    for (int j = 0; j < room; j++) {
        int at = min_int(j, x->length - 1);
        int32_t next = j + 1 < x->length && j + 1 >= x->scored ? w->id[x->at + (size_t)j + 1] : -1;
        id[j] = at == 0 && x->front >= 0 ? x->front : w->id[x->at + (size_t)at];
        target[j] = next != w->unscored ? next : -1;
        scored += target[j] >= 0;
    }
    return scored;
}
