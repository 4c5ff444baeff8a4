/* model_verbs.h — what the verbs of `qbench model` share: one function each, and the model that a word names. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_MODEL_VERBS_H
#define QBENCH_MODEL_VERBS_H

#include "checkpoint.h"
#include "options.h"
#include "quant.h"

/* argv[0] is "qbench model VERB"; the exit code. */
int model_info(int argc, char **argv);
int model_import(int argc, char **argv);
int model_export(int argc, char **argv);
int model_list(int argc, char **argv);
int model_prune(int argc, char **argv);

/*
 * name: random:PRESET (seed of o), a path to any file that model_file.h knows, NAME@HASH or HASH of the cache, or a preset that was trained with the
 * defaults of `qbench train` and o's seed and threads. Nothing is trained here. A failure leaves *c empty.
 */
enum status model_by_name(struct checkpoint *c, const char *name, const struct options *o, struct err *e);
/* The same with a tokenizer in place of the model's own; NULL: its own. */
enum status model_by_name_with(struct checkpoint *c, const char *name, const char *tokenizer, const struct options *o, struct err *e);

/* Quantizes as the options say; formats of floats need no method. ST_EUSAGE: an unknown word, or a method that trains. */
struct quantize_words {
    const char *format, *method;
    int group;
};
enum status quantize_by_words(struct qmodel *q, const struct weights *w, const struct quantize_words *words, struct par *par, struct err *e);

/* For the parser of a verb whose one argument is a model: keeps the first, refuses a second. */
void model_argument(struct argp_state *state, const char **model, char *arg);

#endif
