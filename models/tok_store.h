/* tok_store.h — a tokenizer of any kind as one text, which a model's native file keeps. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_STORE_H
#define QBENCH_TOK_STORE_H

#include "tokenizer.h"

/*
 * qbench's own byte pairs are a merge a line, as bpe_save writes them. Every other tokenizer is a JSON object of struct vocab's arrays:
 * "text" (a string, or a list of bytes where a piece is not UTF-8), "type" (a digit a piece), "score", "merge" (left, right and id, one after
 * the other), "rules" (those that are on), "pre" or "pattern". The same tokenizer gives the same text.
 */
char *tokenizer_save(const struct tokenizer *t); /* NULL without memory; caller frees with free() */

/* A failure leaves *t NULL: ST_EFORMAT, or ST_EUNSUPPORTED for what a newer qbench wrote. */
enum status tokenizer_load(struct tokenizer **t, const char *text, struct err *e);

enum status tokenizer_copy(struct tokenizer **t, const struct tokenizer *from, struct err *e);

#endif
