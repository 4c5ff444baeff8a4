/* tok_draft.h — a vocabulary being put together from JSON: its pieces by id, its merges, where it came from. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_DRAFT_H
#define QBENCH_TOK_DRAFT_H

#include <jansson.h>

#include "pretokenize.h"
#include "tok_files.h"

struct draft {
    const char *path;
    struct vocab v;
    struct piece *piece;      /* owned; text borrowed from the JSON; NULL: no piece of this id yet */
    struct merge_text *merge; /* owned */
    char *pattern[PRETOKENIZE_STAGES + 1]; /* owned */
    bool byte_level, spaces;  /* steps seen: ByteLevel; spaces are written as U+2581 */
    bool byte_fallback;       /* the model has byte pieces */
    bool removed;             /* a Split step drops what its pattern does not match */
};

void draft_free(struct draft *d);
enum status draft_no_memory(const struct draft *d, struct err *e);

/* *root is an object, the caller's; NULL after a failure. */
enum status draft_load(json_t **root, const struct file_text *f, struct err *e);

/* The string under a key; "" when there is none. */
const char *draft_text(const json_t *o, const char *key);

/* Makes room for as many ids as vocabulary and added tokens have together: those added come behind it, or stand in it too. */
enum status draft_pieces(struct draft *d, const json_t *vocab, const json_t *added, struct err *e);
/* Puts a piece at an id that is free, or has the same text. */
enum status draft_put(struct draft *d, const char *text, size_t bytes, const json_t *id, enum piece_type type, struct err *e);
/* Puts the pieces of an object, piece to id. byte_pieces: "<0x41>" is a byte. */
enum status draft_vocab(struct draft *d, json_t *vocab, bool byte_pieces, struct err *e);
/* That every id has its piece. */
enum status draft_whole(const struct draft *d, struct err *e);

int32_t draft_find(const struct draft *d, const char *text); /* -1: no such piece; NULL and "" are none */
/* BOS and EOS by the names that published models use, where no file says it. */
void draft_guess_ends(struct draft *d);

#endif
