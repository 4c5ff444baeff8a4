/* tokenizer.h — text to token ids and back: one interface over SentencePiece-style, byte-level and qbench's own byte-pair encodings. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOKENIZER_H
#define QBENCH_TOKENIZER_H

#include "bpe.h"

/*
 * A tokenizer is made from a vocabulary: plain arrays as GGUF files hold them, whatever file they came from, so that what is read can be
 * written again. Two kinds cover the published models:
 *
 * - TOKENIZER_PIECES, SentencePiece's byte-pair encoding (GGUF model "llama"): pieces are text with U+2581 for a space; neighbours
 *   that form a piece merge, highest score first (or by a list of merges); a character that no piece holds falls back to
 *   its bytes, the pieces "<0x00>" to "<0xFF>".
 * - TOKENIZER_BYTES, GPT-2's (GGUF model "gpt2"): text is cut into words (pretokenize.h), pieces are bytes written as printable
 *   characters, and merges are listed, lowest rank first.
 *
 * Both give any bytes back, also those of ill-formed UTF-8; but text that nfc composes stays composed, and a U+2581 in text that
 * SentencePiece-style pieces spell comes back as a space.
 */
enum tokenizer_kind { TOKENIZER_PIECES, TOKENIZER_BYTES };

/* GGUF's numbers. Normal pieces come from text. */
enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN = 2,
    PIECE_CONTROL = 3, /* no text: "<s>"; found in text only on request */
    PIECE_USER = 4,    /* always found in text, before anything else */
    PIECE_UNUSED = 5,
    PIECE_BYTE = 6,
};

struct piece {
    const char *text; /* of a normal piece: as written in files, see above; of others: as it stands in text */
    uint32_t bytes;
    enum piece_type type;
    float score;         /* where vocab.scored */
    bool lstrip, rstrip; /* a control or user piece also takes the white space in front, behind */
};

struct merge {
    int32_t left, right, id;
};

/* A merge as files have it, its parts spelt out. */
struct merge_text {
    const char *left, *right;
    uint32_t left_bytes, right_bytes;
};

struct vocab {
    enum tokenizer_kind kind;
    int count;
    const struct piece *piece;            /* (count) */
    bool scored;                          /* TOKENIZER_PIECES: by the score of what is formed; otherwise by the list of merges */
    size_t merges;
    const struct merge *merge;            /* (merges), or */
    const struct merge_text *merge_text;  /* (merges): looked up when merge is NULL */
    int32_t bos, eos, unk;                /* -1: none */
    bool add_bos, add_eos;                /* the tokenizer's own rule for a text: TOKENIZER_ENDS */
    bool space_prefix;                    /* a space is put before text: before every stretch of it between special pieces, */
    bool prefix_once, prefix_unless;      /* or once at the beginning; or only where there is none yet */
    bool nfc;                             /* text is composed first (Unicode normalization form C) */
    bool whole_words;                     /* a word that is a piece is that piece, whatever the merges make of it */
    const char *pre;                      /* TOKENIZER_BYTES: name in pretokenizers.def; NULL: none of them, but */
    const char *const *pattern;           /* (patterns) these */
    size_t patterns;
};

/* Splits a merge "left right" at its only space; false when that cannot be. */
bool merge_split(const char *text, size_t bytes, struct merge_text *m);

struct tokenizer;

/*
 * From a file: GGUF, llama2.c's tokenizer.bin, Hugging Face's tokenizer.json (with tokenizer_config.json beside it where there is one),
 * GPT-2's encoder.json or vocab.bpe (vocab.json, merges.txt) with the other beside it; or a folder with one of the last four. A failure
 * leaves *t NULL; ST_ENOENT, ST_EIO; ST_EFORMAT, ST_EUNSUPPORTED "path: what is wrong".
 */
enum status tokenizer_open(struct tokenizer **t, const char *path, struct err *e);

/* Copies what it needs of v, and checks it: every merge makes the piece that its parts spell, every byte has a piece, no piece is there
 * twice (unless merges are given by id, which then tell them apart). `where` begins the messages. */
enum status tokenizer_new(struct tokenizer **t, const struct vocab *v, const char *where, struct err *e);

/* qbench's own (bpe.h): the same ids, BPE_EOT as BOS and EOS. b is not needed afterwards. */
enum status tokenizer_from_bpe(struct tokenizer **t, const struct bpe *b, struct err *e);

void tokenizer_free(struct tokenizer *t);

/* What it was made from; arrays live as long as t, merges are by id, pre is set where the patterns have a name. */
const struct vocab *tokenizer_vocab(const struct tokenizer *t);
/* XXH64 over all of it, hex: two tokenizers with the same hash encode alike. */
const char *tokenizer_hash(const struct tokenizer *t);

/* The id of a piece as it is written in the vocabulary; -1: none. */
int32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t bytes);

/* The bytes of text that an id stands for: none for control pieces and what is no id. Lives as long as t. */
const uint8_t *tokenizer_piece(const struct tokenizer *t, int32_t id, int *bytes);

/* Ids, growing. Zeroed is empty; freed by id_list_free. */
struct id_list {
    int32_t *id; /* owned */
    size_t count, room;
};
void id_list_free(struct id_list *l);
bool id_list_put(struct id_list *l, int32_t id); /* false: no memory */

enum {
    TOKENIZER_ENDS = 1,     /* encoding: add BOS and EOS by the tokenizer's own rule */
    TOKENIZER_SPECIAL = 2,  /* encoding: find control pieces in the text; decoding: write them */
    TOKENIZER_CONTINUE = 4, /* the text, or the ids, continue others: no space is put in front, none is taken off */
};

/* Appends the ids of text. t keeps a cache of words: one thread at a time. A failure (no memory, a pattern that gives up) leaves some. */
enum status tokenizer_encode(struct tokenizer *t, const void *text, size_t bytes, unsigned flags, struct id_list *out, struct err *e);

/* The text of n ids: how many bytes; they are written where out is not NULL. A space that encoding puts in front is taken off. */
size_t tokenizer_decode(const struct tokenizer *t, const int32_t *id, size_t n, unsigned flags, uint8_t *out);

#endif
