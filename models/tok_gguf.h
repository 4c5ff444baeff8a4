/* tok_gguf.h — the tokenizer of a GGUF file, and a tokenizer as GGUF files describe one. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_GGUF_H
#define QBENCH_TOK_GGUF_H

#include "gguf_vocab.h"
#include "tokenizer.h"

/*
 * tokenizer.ggml.*, of the models "llama" and "gpt2"; what a file leaves out is as llama.cpp takes it. A failure leaves *t NULL: ST_ENOENT
 * where there is no vocabulary, ST_EUNSUPPORTED for another model or an unknown pre-tokenizer, ST_EFORMAT. g is not needed afterwards.
 */
enum status tokenizer_from_gguf(struct tokenizer **t, const struct gguf *g, struct err *e);

/*
 * The other way; v is the caller's to free, its strings are t's. ST_EUNSUPPORTED names what GGUF cannot say: pieces that are told apart by id
 * alone, patterns without a name, SentencePiece-style pieces without scores. It has no word for nfc, prefix_once and prefix_unless
 * either; these are left out, as in published GGUF files.
 */
enum status tokenizer_to_gguf(struct gguf_vocab *v, const struct tokenizer *t, struct err *e);

#endif
