/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "bpe_core.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * Each distinct word stands once in an array of symbols, its count beside it. Every symbol but a word's last begins a
 * pair; all symbols that begin the same pair hang in one doubly linked list, in the order of the text. A merge walks one
 * list, so the whole training costs about as much as there are symbols to merge, however long the words are.
 */
enum { NONE = INT32_MAX };

struct symbol {
    int32_t id;
    uint32_t count;         /* of the word that it stands in */
    uint32_t left, right;   /* neighbours in the word, or NONE */
    uint32_t before, after; /* in the list of its pair */
};

struct pair {
    uint64_t key, count;
    uint32_t first, last;
};

struct candidate {
    uint64_t count; /* when it was put in the heap: the pair has that many or fewer now */
    uint32_t pair;
};

struct word {
    const uint8_t *s;
    uint32_t bytes, count;
};

struct trainer {
    struct word *words; /* in the order of first appearance */
    struct symbol *symbols;
    struct pair *pairs;
    struct candidate *heap;
    uint32_t *word_slots, *pair_slots; /* index + 1; 0: free */
    size_t word_count, word_room, word_mask;
    size_t pair_count, pair_room, pair_mask;
    size_t symbol_count, heap_count;
};

static void trainer_free(struct trainer *t)
{
    free(t->words);
    free(t->symbols);
    free(t->pairs);
    free(t->heap);
    free(t->word_slots);
    free(t->pair_slots);
}

/* p with twice the room; NULL without memory, p then stands as it was. */
static void *grow(void *p, size_t *room, size_t size)
{
    size_t more = *room ? 2 * *room : 1024;
    void *q = realloc(p, more * size);
    if (q)
        *room = more;
    return q;
}

static size_t word_slot(const struct trainer *t, const uint8_t *s, size_t n)
{
    size_t i = (size_t)XXH3_64bits(s, n) & t->word_mask;
    for (uint32_t at; (at = t->word_slots[i]); i = (i + 1) & t->word_mask)
        if (t->words[at - 1].bytes == n && !memcmp(t->words[at - 1].s, s, n))
            break;
    return i;
}

static bool grow_words(struct trainer *t)
{
    struct word *words = grow(t->words, &t->word_room, sizeof *words);
    if (!words)
        return false;
    t->words = words;
    free(t->word_slots);
    t->word_slots = calloc(2 * t->word_room, sizeof *t->word_slots);
    t->word_mask = 2 * t->word_room - 1;
    if (!t->word_slots)
        return false;
    for (size_t i = 0; i < t->word_count; i++)
        t->word_slots[word_slot(t, t->words[i].s, t->words[i].bytes)] = (uint32_t)i + 1;
    return true;
}

static bool count_words(struct trainer *t, const uint8_t *text, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bpe_word(text + at, bytes - at);
        if (t->word_count == t->word_room && !grow_words(t))
            return false;
        uint32_t *slot = &t->word_slots[word_slot(t, text + at, n)];
        if (!*slot) {
            t->words[t->word_count++] = (struct word){text + at, (uint32_t)n, 0};
            t->symbol_count += n;
            *slot = (uint32_t)t->word_count;
        }
        t->words[*slot - 1].count++;
    }
    return true;
}

static size_t pair_slot(const struct trainer *t, uint64_t key)
{
    size_t i = bpe_hash(key) & t->pair_mask;
    for (uint32_t at; (at = t->pair_slots[i]); i = (i + 1) & t->pair_mask)
        if (t->pairs[at - 1].key == key)
            break;
    return i;
}

static bool grow_pairs(struct trainer *t)
{
    struct pair *pairs = grow(t->pairs, &t->pair_room, sizeof *pairs);
    if (!pairs)
        return false;
    t->pairs = pairs;
    struct candidate *heap = realloc(t->heap, t->pair_room * sizeof *heap);
    if (!heap)
        return false;
    t->heap = heap;
    free(t->pair_slots);
    t->pair_slots = calloc(2 * t->pair_room, sizeof *t->pair_slots);
    t->pair_mask = 2 * t->pair_room - 1;
    if (!t->pair_slots)
        return false;
    for (size_t i = 0; i < t->pair_count; i++)
        t->pair_slots[pair_slot(t, t->pairs[i].key)] = (uint32_t)i + 1;
    return true;
}

static uint64_t key_at(const struct trainer *t, uint32_t at)
{
    return bpe_pair(t->symbols[at].id, t->symbols[t->symbols[at].right].id);
}

/* Hangs the pair that begins at `at` (which has a right neighbour) at the end of its list. */
static bool link_pair(struct trainer *t, uint32_t at)
{
    if (t->pair_count == t->pair_room && !grow_pairs(t))
        return false;
    uint64_t key = key_at(t, at);
    uint32_t *slot = &t->pair_slots[pair_slot(t, key)];
    if (!*slot) {
        t->pairs[t->pair_count++] = (struct pair){key, 0, NONE, NONE};
        *slot = (uint32_t)t->pair_count;
    }
    struct pair *p = &t->pairs[*slot - 1];
    struct symbol *s = &t->symbols[at];
    s->before = p->last;
    s->after = NONE;
    *(p->last == NONE ? &p->first : &t->symbols[p->last].after) = at;
    p->last = at;
    p->count += s->count;
    return true;
}

static void unlink_pair(struct trainer *t, uint32_t at)
{
    struct pair *p = &t->pairs[t->pair_slots[pair_slot(t, key_at(t, at))] - 1];
    const struct symbol *s = &t->symbols[at];
    *(s->before == NONE ? &p->first : &t->symbols[s->before].after) = s->after;
    *(s->after == NONE ? &p->last : &t->symbols[s->after].before) = s->before;
    p->count -= s->count;
}

static bool spell_words(struct trainer *t)
{
    t->symbols = malloc((t->symbol_count + 1) * sizeof *t->symbols);
    if (!t->symbols)
        return false;
    uint32_t at = 0;
    for (size_t i = 0; i < t->word_count; i++) {
        const struct word *w = &t->words[i];
        for (uint32_t k = 0; k < w->bytes; k++, at++)
            t->symbols[at] = (struct symbol){.id = w->s[k], .count = w->count, .left = k ? at - 1 : NONE,
                                             .right = k + 1 < w->bytes ? at + 1 : NONE};
    }
    for (at = 0; at < t->symbol_count; at++)
        if (t->symbols[at].right != NONE && !link_pair(t, at))
            return false;
    return true;
}

/* The symbol at `at` and its right neighbour become id. */
static bool merge_at(struct trainer *t, uint32_t at, int32_t id)
{
    struct symbol *a = &t->symbols[at], *b = &t->symbols[a->right];
    uint32_t left = a->left, gone = a->right, right = b->right;
    unlink_pair(t, at);
    if (left != NONE)
        unlink_pair(t, left);
    if (right != NONE)
        unlink_pair(t, gone);
    a->id = id;
    a->right = right;
    if (right != NONE)
        t->symbols[right].left = at;
    return (left == NONE || link_pair(t, left)) && (right == NONE || link_pair(t, at));
}

/* More often first; the smaller pair among equals. */
static bool goes_before(const struct trainer *t, struct candidate a, struct candidate b)
{
    return a.count != b.count ? a.count > b.count : t->pairs[a.pair].key < t->pairs[b.pair].key;
}

static void heap_push(struct trainer *t, struct candidate c)
{
    size_t i = t->heap_count++;
    for (size_t up; i && goes_before(t, c, t->heap[up = (i - 1) / 2]); i = up)
        t->heap[i] = t->heap[up];
    t->heap[i] = c;
}

/* Puts c in the place of the top. */
static void heap_replace(struct trainer *t, struct candidate c)
{
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < t->heap_count; i = down) {
        if (down + 1 < t->heap_count && goes_before(t, t->heap[down + 1], t->heap[down]))
            down++;
        if (!goes_before(t, t->heap[down], c))
            break;
        t->heap[i] = t->heap[down];
    }
    t->heap[i] = c;
}

/*
 * The most frequent pair, or NULL when none is left. A pair's count grows only during the merge that creates it, before it
 * enters the heap; later it can only fall, so an outdated top is put back with its true count.
 */
static struct pair *best_pair(struct trainer *t)
{
    while (t->heap_count) {
        struct candidate top = t->heap[0];
        struct pair *p = &t->pairs[top.pair];
        if (p->count && p->count == top.count)
            return p;
        top.count = p->count;
        if (!p->count)
            top = t->heap[--t->heap_count];
        heap_replace(t, top);
    }
    return NULL;
}

/* Learns one merge. ST_ENOENT: no pair is left. */
static enum status learn(struct trainer *t, struct bpe *b)
{
    const struct pair *best = best_pair(t);
    if (!best)
        return ST_ENOENT;
    uint32_t index = (uint32_t)(best - t->pairs);
    size_t known = t->pair_count;
    int32_t id = bpe_merge(b, best->key);
    if (!id)
        return ST_ENOMEM;
    for (uint32_t at; (at = t->pairs[index].first) != NONE;)
        if (!merge_at(t, at, id))
            return ST_ENOMEM;
    for (size_t i = known; i < t->pair_count; i++)
        heap_push(t, (struct candidate){t->pairs[i].count, (uint32_t)i});
    return ST_OK;
}

static enum status learn_all(struct trainer *t, struct bpe *b, int vocab, struct err *e)
{
    for (size_t i = 0; i < t->pair_count; i++)
        heap_push(t, (struct candidate){t->pairs[i].count, (uint32_t)i});
    while (b->vocab < vocab) {
        enum status s = learn(t, b);
        if (s == ST_ENOENT)
            return fail(e, ST_EUSAGE, "the text has pairs for a vocabulary of %d only, %d are wanted; use a longer text or a "
                        "smaller preset", b->vocab, vocab);
        if (s)
            return fail(e, s, "no memory to train a tokenizer");
    }
    return ST_OK;
}

enum status bpe_train(struct bpe **b, const uint8_t *text, size_t bytes, int vocab, struct err *e)
{
    *b = NULL;
    if (vocab < BPE_FIRST_MERGE || vocab > BPE_MAX_VOCAB)
        return fail(e, ST_EUSAGE, "a vocabulary of %d is impossible; it must be %d to %d", vocab, BPE_FIRST_MERGE, BPE_MAX_VOCAB);
    if (bytes >= NONE)
        return fail(e, ST_EUSAGE, "a text of %zu bytes is too long to train a tokenizer on; use at most 2 GB", bytes);
    struct trainer t = {0};
    struct bpe *new = bpe_new(vocab);
    enum status s;
    if (!new || !count_words(&t, text, bytes) || !spell_words(&t))
        s = fail(e, ST_ENOMEM, "no memory to train a tokenizer");
    else
        s = learn_all(&t, new, vocab, e);
    trainer_free(&t);
    if (s)
        bpe_free(new);
    else
        *b = new;
    return s;
}
