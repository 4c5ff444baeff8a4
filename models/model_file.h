/* model_file.h — any model file that qbench reads, by what it begins with: weights, tokenizer and content hash. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_MODEL_FILE_H
#define QBENCH_MODEL_FILE_H

#include "checkpoint.h"

/*
 * qbench's own file; a GGUF file (any split of it); a llama2.c checkpoint; a Hugging Face folder, or the model.safetensors in one. A row of
 * model_file.c each.
 *
 * A model of another program gets the provenance {kind: "imported", format, name, source, parameters}. Its tokenizer is the one that lies in the
 * file, or beside it (tokenizer.json in the folder; tokenizer.bin beside a llama2.c checkpoint, if it has as many ids as the model); one that
 * cannot be used leaves the model without, and its reason in the provenance ("no_tokenizer"). The hash is the one that its native file will
 * have.
 */
const char *model_file_kind(const char *path); /* "native", "gguf", "llama2c", "hugging-face"; NULL: none of them, or not there */

/* Is it a path? It holds a '/' or a '.', or there is a Hugging Face folder of that name. */
bool model_is_path(const char *word);

/* tokenizer: a file for tokenizer_open, instead of what the model brings; NULL: none. A failure leaves *c empty. */
enum status model_load(struct checkpoint *c, const char *path, const char *tokenizer, struct err *e);

/* The name that a model goes by in keys and in the cache: that of its file or folder, letters, digits and '_' alone. */
void model_file_name(char name[41], const char *path);

#endif
