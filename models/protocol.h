/* protocol.h — perplexity protocols: which windows of a text a model sees, and which of their tokens are scored. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PROTOCOL_H
#define QBENCH_PROTOCOL_H

#include "text.h"
#include "tokenizer.h"

/*
 * Published perplexities differ by protocol more than by quantization, so a figure is comparable only under the protocol that made it.
 * A plan is independent of any model: ids, and windows of them. In a window of n ids the target of position j is id j + 1; a figure
 * is the mean over all scored targets of all windows.
 */
enum protocol_id {
#define PROTOCOL(identifier, name, title, join, context) PROTOCOL_##identifier,
#include "protocols.def"
#undef PROTOCOL
    PROTOCOL_COUNT
};

struct protocol {
    const char *name, *title;
    const char *join; /* documents are put together with this between them; NULL: not */
    int context;      /* default; 0: the caller gives it */
};
extern const struct protocol protocols[PROTOCOL_COUNT];
const struct protocol *protocol_find(const char *name); /* NULL: unknown */

struct window {
    size_t at;     /* index of its first id */
    int length;    /* ids */
    int scored;    /* the first index in the window that is a scored target: 1 or more */
    int32_t front; /* stands in place of its first id; -1: none does */
};

struct windows {
    enum protocol_id protocol;
    int context, stride;   /* as used; stride 0: does not apply */
    int32_t *id;           /* (ids) owned */
    size_t ids;
    struct window *window; /* (count) owned */
    size_t count;
    int32_t unscored;      /* an id that is never a target; -1: none */
    size_t targets;        /* scored in all */
    char hash[17];         /* of all inputs and targets: plans with the same hash score the same, and can be paired */
};

struct protocol_text {
    const char *text;
    size_t bytes;
    const char *separator; /* stands between documents, which are then trimmed of white space, empty ones left out. NULL: the protocol's own
                              way: lines (gptq, strided: as in the published WikiText figures), or the whole text as one */
    int context;           /* longest window; 0: the protocol's default, which must then have one */
    int stride;            /* strided: how far windows lie apart; 0: half the context */
};

/*
 * The plan of a text. Control pieces spelt out in it are text. ST_EUSAGE when it is too short for the protocol (with both lengths), or
 * when the protocol does not fit the tokenizer. A failure leaves *w empty; freed by windows_free.
 */
enum status protocol_plan(struct windows *w, enum protocol_id protocol, struct tokenizer *t, const struct protocol_text *text, struct err *e);

/* "chunk" over a stream that is cut already; boundary ids are no targets. Copies the ids. */
enum status protocol_plan_tokens(struct windows *w, const struct tokens *t, int32_t boundary, int context, struct err *e);

void windows_free(struct windows *w);

/* Window i for a model: ids (room) and targets (room), room >= its length; behind it the ids repeat its last, and targets are -1, as
 * they are where nothing is scored. Returns how many are scored. */
int windows_fill(const struct windows *w, size_t i, int room, int32_t *id, int32_t *target);

#endif
