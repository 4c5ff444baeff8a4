/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tok_merge.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table */

bool merge_table_init(struct merge_table *t, size_t count)
{
    size_t slots = 64;
    while (slots / 2 < count)
        slots *= 2;
    *t = (struct merge_table){.slots = malloc(slots * sizeof *t->slots), .mask = slots - 1};
    for (size_t i = 0; t->slots && i < slots; i++)
        t->slots[i].id = -1;
    return t->slots != NULL;
}

void merge_table_free(struct merge_table *t)
{
    free(t->slots);
    *t = (struct merge_table){0};
}

static struct merge_slot *find(const struct merge_table *t, int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h ^ h >> 32) & t->mask;
    while (t->slots[i].id >= 0 && (t->slots[i].left != left || t->slots[i].right != right))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

bool merge_table_add(struct merge_table *t, int32_t left, int32_t right, uint32_t rank, int32_t id)
{
    struct merge_slot *slot = find(t, left, right);
    bool is_new = slot->id < 0;
    if (is_new)
        *slot = (struct merge_slot){left, right, rank, id};
    return is_new;
}

/* ---- short words: looking at every pair for each merge beats a heap, and needs no memory */

enum { SHORT = 32 };

static uint32_t rank_of(const struct merge_slot *s) { return s->id < 0 ? UINT32_MAX : s->rank; }

static size_t merge_short(const struct merge_table *t, int32_t *id, size_t n)
{
    const struct merge_slot *to[SHORT]; /* to[i]: what id[i], id[i + 1] become */
    for (size_t i = 0; i + 1 < n; i++)
        to[i] = find(t, id[i], id[i + 1]);
    while (n > 1) {
        size_t at = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank_of(to[i]) < rank_of(to[at]))
                at = i;
        if (to[at]->id < 0)
            break;
        id[at] = to[at]->id;
        n--;
        memmove(id + at + 1, id + at + 2, (n - at - 1) * sizeof *id);
        memmove(to + at, to + at + 1, (n - at - 1) * sizeof *to);
        if (at > 0)
            to[at - 1] = find(t, id[at - 1], id[at]);
        if (at + 1 < n)
            to[at] = find(t, id[at], id[at + 1]);
    }
    return n;
}

/* ---- long words: a list of ids and a heap of pairs */

struct merge_link {
    uint32_t before, after; /* neighbours that are still there; NONE at the ends */
};

/* A pair as it was when it was found: stale once an id of it has been merged away. */
struct merge_candidate {
    uint32_t rank, at;
    int32_t left, right, id;
};

enum { GONE = -1 };
static const uint32_t NONE = UINT32_MAX;

void merge_room_free(struct merge_room *r)
{
    free(r->links);
    free(r->heap);
    *r = (struct merge_room){0};
}

/* A merge takes one pair off the heap and puts at most two on it, so it never holds more than twice the ids. */
static bool grow(struct merge_room *r, size_t n)
{
    if (n <= r->room)
        return true;
    if (n >= NONE / 2)
        return false;
    merge_room_free(r);
    r->links = malloc(n * sizeof *r->links);
    r->heap = malloc(2 * n * sizeof *r->heap);
    if (!r->links || !r->heap) {
        merge_room_free(r);
        return false;
    }
    r->room = n;
    return true;
}

static bool before(const struct merge_candidate *a, const struct merge_candidate *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void sift_down(struct merge_candidate *heap, size_t n, size_t i)
{
    struct merge_candidate moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &moving))
            break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

static void sift_up(struct merge_candidate *heap, size_t i)
{
    struct merge_candidate moving = heap[i];
    for (; i && before(&moving, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = moving;
}

/* Appends the pair that begins at `at`, if it merges. */
static bool put(const struct merge_table *t, struct merge_room *r, size_t *count, const int32_t *id, uint32_t at)
{
    uint32_t after = at == NONE ? NONE : r->links[at].after;
    const struct merge_slot *s = after == NONE ? NULL : find(t, id[at], id[after]);
    if (!s || s->id < 0)
        return false;
    r->heap[(*count)++] = (struct merge_candidate){s->rank, at, s->left, s->right, s->id};
    return true;
}

static void merge_at(struct merge_room *r, int32_t *id, const struct merge_candidate *c)
{
    struct merge_link *left = &r->links[c->at];
    uint32_t gone = left->after;
    id[c->at] = c->id;
    id[gone] = GONE;
    left->after = r->links[gone].after;
    if (left->after != NONE)
        r->links[left->after].before = c->at;
}

static bool stale(const struct merge_room *r, const int32_t *id, const struct merge_candidate *c)
{
    uint32_t after = r->links[c->at].after;
    return id[c->at] != c->left || after == NONE || id[after] != c->right;
}

static size_t merge_long(const struct merge_table *t, struct merge_room *r, int32_t *id, size_t n)
{
    size_t count = 0, left = 0;
    for (size_t i = 0; i < n; i++)
        r->links[i] = (struct merge_link){i ? (uint32_t)i - 1 : NONE, i + 1 < n ? (uint32_t)i + 1 : NONE};
    for (size_t i = 0; i < n; i++)
        put(t, r, &count, id, (uint32_t)i);
    for (size_t i = count / 2; i-- > 0;)
        sift_down(r->heap, count, i);
    while (count) {
        struct merge_candidate best = r->heap[0];
        r->heap[0] = r->heap[--count];
        if (count)
            sift_down(r->heap, count, 0);
        if (stale(r, id, &best))
            continue;
        merge_at(r, id, &best);
        if (put(t, r, &count, id, r->links[best.at].before))
            sift_up(r->heap, count - 1);
        if (put(t, r, &count, id, best.at))
            sift_up(r->heap, count - 1);
    }
    for (size_t i = 0; i < n; i++)
        if (id[i] != GONE)
            id[left++] = id[i];
    return left;
}

size_t merge_word(const struct merge_table *t, struct merge_room *r, int32_t *id, size_t n)
{
    if (n <= SHORT)
        return merge_short(t, id, n);
    return grow(r, n) ? merge_long(t, r, id, n) : SIZE_MAX;
}
