/* gguf_vocab.h — a vocabulary as GGUF files describe one, for files that other programs load. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_VOCAB_H
#define QBENCH_GGUF_VOCAB_H

#include "bpe.h"
#include "gguf.h"

enum gguf_token_type { GGUF_TOKEN_NORMAL = 1, GGUF_TOKEN_UNKNOWN = 2, GGUF_TOKEN_CONTROL = 3, GGUF_TOKEN_BYTE = 6 };

/* NULL and -1 are left out of the file. */
struct gguf_vocab {
    const char *model; /* "llama" (SentencePiece with scores) or "gpt2" (byte pairs with merges) */
    const char *pre;   /* how text is cut into words: "default", "gpt-2", … */
    int count;
    const struct gguf_string *tokens; /* (count) */
    const float *scores;              /* (count) */
    const int32_t *types;             /* (count) enum gguf_token_type */
    const struct gguf_string *merges; /* (n_merges) "left right", lowest rank first */
    size_t n_merges;
    int bos, eos, unk;
    int add_bos, add_space_prefix; /* 0, 1 */
    void *room; /* owned, where the arrays above live; NULL: borrowed */
};

/* A SentencePiece vocabulary without meaning, for random weights: <unk>, <s>, </s>, 256 bytes, then made-up pieces. count >= 259. */
enum status gguf_vocab_dummy(struct gguf_vocab *v, int count, struct err *e);

/*
 * qbench's own byte pairs in GPT-2's notation. Other programs decode ids of it to the same bytes, but cut text into words by their own
 * rules, so they may encode a text to other ids. ST_EUNSUPPORTED: two ids stand for the same bytes, which the notation cannot tell apart.
 */
enum status gguf_vocab_bpe(struct gguf_vocab *v, const struct bpe *b, struct err *e);

void gguf_vocab_free(struct gguf_vocab *v);

/* Sets tokenizer.ggml.*. */
void gguf_vocab_write(struct gguf_writer *w, const struct gguf_vocab *v);

#endif
