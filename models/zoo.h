/* zoo.h — models by what they are rather than where they lie: found in the cache, or trained into it. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_ZOO_H
#define QBENCH_ZOO_H

#include "checkpoint.h"
#include "quant.h"
#include "train.h"

/*
 * A trained preset is determined by its recipe (preset, text, tokens, seed, threads); a tuned model by its base's content
 * hash and what it was tuned for. The same request finds the same file; a missing one is trained when `train` allows it, resuming
 * what an interrupted run left behind.
 */
struct zoo {
    const char *models;  /* folder of checkpoints */
    const char *corpora; /* folder of texts */
    struct par *par;     /* trains; its number of threads is part of a recipe */
    bool train;
    volatile const int *stop;
    void (*progress)(void *ctx, const struct train_progress *p);
    void *progress_ctx;
};

struct zoo_request {
    const char *preset;
    const char *text;  /* corpus by name or path */
    long tokens;       /* 0 = the preset's default */
    uint64_t seed;
};

/* ST_ENOENT when it is not there and must not be trained. */
enum status zoo_trained(struct zoo *z, const struct zoo_request *r, struct checkpoint *out, struct err *e);
/* The same, but only where the file is: cheap. */
enum status zoo_find_trained(struct zoo *z, const struct zoo_request *r, char *path, size_t n, struct err *e);

/* Further training of base on its own text (or on `text`, see zoo_corpus): with spec's fake quantization for a QAT method, in float (the control) when spec is NULL. Same
 * tokens, batches, seed and schedule either way. */
enum status zoo_tuned(struct zoo *z, const struct checkpoint *base, const char *text, const struct qspec *spec, long tokens, uint64_t seed,
                      struct checkpoint *out, struct err *e);

/* The very text that c was trained on, or, where c does not say which (it was imported), the corpus `text`: ST_EFORMAT when it has changed since, ST_ENOENT when it is gone. */
enum status zoo_corpus(const struct checkpoint *c, const char *text, const char *corpora, struct corpus *out, struct err *e);

#endif
