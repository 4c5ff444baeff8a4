/* tok_core.h — what the files of the tokenizer share: its parts, and the steps that differ between its kinds. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_CORE_H
#define QBENCH_TOK_CORE_H

#include "pretokenize.h"
#include "tok_merge.h"
#include "tokenizer.h"

/* Words recur: most are looked up, not merged. Direct-mapped, a line of memory each. */
enum { CACHE_WORDS = 1 << 14, CACHE_KEY = 30, CACHE_IDS = 8 };
struct cached_word {
    uint8_t bytes, count; /* bytes 0: free */
    uint8_t key[CACHE_KEY];
    int32_t id[CACHE_IDS];
};
_Static_assert(sizeof(struct cached_word) == 64, "a cached word is a line of memory");

/* A piece that is searched for in text as it stands: control and user pieces. */
struct special {
    const uint8_t *text;
    uint32_t bytes;
    int32_t id;
};

/* Normal pieces by their text: the first of equal ones. */
struct piece_map {
    uint32_t *slot; /* id + 1; 0: free */
    size_t mask;
};

struct tokenizer {
    struct vocab v; /* its arrays are the four below */
    struct piece *pieces;
    struct merge *merges;
    char *text;
    char **patterns;
    char hash[17];

    uint32_t *begin; /* (count + 1) where each id's bytes begin in raw */
    uint8_t *raw;
    struct piece_map map;
    int32_t byte_id[256];
    struct special *special; /* by first byte, the longest first */
    uint32_t special_begin[257];
    bool any_user;

    struct merge_table table;
    struct pretokenizer *pre;  /* TOKENIZER_BYTES */
    struct characters *chars;  /* TOKENIZER_PIECES */

    struct cached_word *cache; /* made when first needed */
    uint8_t *buffer;           /* the text at hand, made ready */
    size_t buffer_room;
    struct merge_room room;
    struct id_list word;       /* of the word at hand */
};

/* The id of a normal piece with this text; -1: none. */
int32_t tok_find(const struct tokenizer *t, const void *text, size_t bytes);

/* What a kind of tokenizer adds. */
struct tok_kind {
    size_t (*raw)(const struct piece *p, uint8_t *out);                         /* the bytes that it stands for: at most p->bytes */
    enum status (*build)(struct tokenizer *t, const char *where, struct err *e); /* table and own parts, from checked pieces and merges */
    enum status (*encode)(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out, struct err *e);
    bool (*first_ids)(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out); /* of a word, before any merge */
    bool (*last_id)(const struct tokenizer *t, int32_t id, struct id_list *out);             /* appends what an id of a merged word becomes */
};
extern const struct tok_kind tok_pieces, tok_bytes;
const struct tok_kind *tok_kind(const struct tokenizer *t);

/* Appends the ids of one word: from the cache, or merged. For tok_kind's encode. */
enum status tok_word(struct tokenizer *t, const uint8_t *s, size_t n, struct id_list *out, struct err *e);

/* Messages quote pieces and patterns of files: what would break the line, or the terminal, becomes '?'. NULL is fine; returns s. */
enum status tok_one_line(enum status s, struct err *e);

/* Byte-level spelling: the character that stands for a byte, and back (-1: none). */
uint32_t tok_byte_char(uint8_t byte);
int tok_char_byte(uint32_t code);

void tok_characters_free(struct characters *c);

#endif
