/* tok_files.h — tokenizers out of the bytes of files; tokenizer_open reads the files and chooses by what they begin with. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TOK_FILES_H
#define QBENCH_TOK_FILES_H

#include "tokenizer.h"

struct file_text {
    const char *path; /* for messages */
    char *text;       /* owned; NUL-terminated */
    size_t bytes;
};

/* llama2.c: int32 longest piece; for each piece float score, int32 bytes, and these. Ids 0, 1, 2 are <unk>, <s>, </s>. */
enum status tok_from_llama2c(struct tokenizer **t, const struct file_text *f, struct err *e);

/* tokenizer.json; config: tokenizer_config.json, which tells what the special pieces are for, or NULL. */
enum status tok_from_json(struct tokenizer **t, const struct file_text *f, const struct file_text *config, struct err *e);

/* GPT-2's pair: encoder.json (piece to id) and vocab.bpe (a merge a line). */
enum status tok_from_pair(struct tokenizer **t, const struct file_text *encoder, const struct file_text *merges, struct err *e);

#endif
