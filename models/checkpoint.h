/* checkpoint.h — a model on disk: safetensors with qbench's metadata, named by its content, in a cache folder. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CHECKPOINT_H
#define QBENCH_CHECKPOINT_H

#include <jansson.h>

#include "safetensors.h" /* for the trainer's state too */
#include "tok_store.h"
#include "weights.h"

/*
 * The file is a plain safetensors file: F32 tensors under Hugging Face's LLaMA names; in __metadata__ (strings only):
 * "qbench.version", "qbench.config" (JSON), "qbench.tokenizer" (tokenizer_save), "qbench.provenance" (JSON) with its own
 * "qbench.provenance_hash", and "qbench.hash". The hash is XXH64 over config, tokenizer and tensor bytes: two files with the
 * same hash are the same model. It is checked on loading, as are all shapes and that every weight is finite.
 */
struct checkpoint {
    struct weights *weights; /* owned */
    struct tokenizer *tokenizer; /* owned; NULL for a random-weight model, and for a file without one */
    json_t *provenance;      /* owned object: kind ("trained", "tuned", "random", "imported"), preset, seed, tokens, text, text_hash, split bytes, recipe, … */
    char hash[17];
    char path[1024];         /* where it was read from or written to; "" for random weights */
};

void checkpoint_close(struct checkpoint *c);

/* Has the model a row for every id of the tokenizer (NULL: none)? ST_EFORMAT. */
enum status checkpoint_fits(const struct tokenizer *t, const struct model_config *config, struct err *e);

/* Sets hash for a model that comes from elsewhere; nothing is written. ST_EWRONG when a weight is not finite. */
enum status checkpoint_name(struct checkpoint *c, struct err *e);

/* Writes through a temporary file, fsync and rename, so that a full disk or a kill leaves the old file or none. Sets hash and path.
 * ST_EWRONG when a weight is not finite. */
enum status checkpoint_save(struct checkpoint *c, const char *path, struct err *e);

/* A failure leaves *c empty. ST_ENOENT: no such file. ST_EFORMAT names file, tensor, reason and what to do. */
enum status checkpoint_load(struct checkpoint *c, const char *path, struct err *e);

/* Random weights of a preset, kind "random", drawn by p's threads (NULL: by this one): for speed work only. hash covers the preset and seed
 * ("random" models have no file). */
enum status checkpoint_random(struct checkpoint *c, const char *preset, uint64_t seed, struct par *p, struct err *e);

/*
 * The cache: dir/<preset>-<hash>.safetensors; a model of no preset goes by its provenance's "name". A recipe is a one-line canonical text of everything that determines a model;
 * finding one reads the headers in dir.
 */
enum status cache_find_recipe(const char *dir, const char *recipe, char *path, size_t n, struct err *e); /* ST_ENOENT: not there */
enum status cache_find_hash(const char *dir, const char *hash, char *path, size_t n, struct err *e);

/* Makes dir when it is not there, and removes what killed writers left in it. */
enum status cache_put(const char *dir, struct checkpoint *c, struct err *e);

#endif
