/* train.h — AdamW training of a preset from text, or tuning from a checkpoint, with exact resume. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TRAIN_H
#define QBENCH_TRAIN_H

#include "backprop.h"
#include "checkpoint.h"
#include "text.h"

/*
 * A step draws batch stretches of seq tokens at random offsets of the corpus' training split, takes one AdamW step and
 * moves along a warm-up and cosine schedule. Generator, schedule and weights depend on nothing but the recipe, so that a run which
 * was interrupted and resumed ends with the same bits as one that was not.
 */
struct train_progress {
    const char *what;        /* "1m", or "1m method=qat_ste format=int4" */
    long step, steps, tokens_done, tokens_total;
    double loss, smooth_loss, grad_norm, lr, tokens_per_second, seconds_left;
    double valid_loss;       /* NaN until measured: on 32k tokens at the end, on a quarter of them at each tenth of the way */
};

struct train_spec {
    const char *preset;      /* from scratch; or … */
    const struct checkpoint *base; /* … from these weights and this tokenizer (borrowed) */
    const struct corpus *corpus;   /* borrowed */
    long tokens;             /* to train on, rounded up to whole steps; 0 = default for the model's size, or for tuning */
    int batch, seq;          /* 0 = default (seq = context) */
    double lr;               /* peak; 0 = default for the model's size, or for tuning */
    double weight_decay, beta1, beta2, clip, warmup, final_lr; /* warmup: share of steps; final_lr: share of lr; < 0 = default */
    uint64_t seed;
    const struct fake_quant *fake_quant; /* NULL: float */
    const char *extra_recipe; /* NULL, or what else determines the result ("method=qat_ste format=int4 group=0") */
    const char *state_path;  /* where state is saved (every save_seconds, when stopped); NULL: nowhere */
    double save_seconds;     /* 0 = only when stopped */
    bool resume;             /* continue from state_path when it is there; ST_EFORMAT when it belongs to another recipe */
    volatile const int *stop; /* non-zero: save and return ST_EINTERRUPTED */
    long stop_after_steps;   /* > 0: save and return ST_EINTERRUPTED there (tests of resume) */
    void (*progress)(void *ctx, const struct train_progress *p);
    void *progress_ctx;
};

/* Every optimizer setting at "default", seed 1, a save a minute; set the rest. */
struct train_spec train_spec_default(void);

/* The canonical one-line recipe: everything that determines the result (thread count included; the instruction set, which
 * moves only last bits, is not: a model trained here serves every kernel). */
void train_recipe(const struct train_spec *s, int threads, char *buf, size_t n);

/* out: weights, tokenizer and provenance, not yet in the cache; empty on failure. state_path is left for the caller to
 * remove once out is safe on disk: a state of finished training resumes with nothing left to do. A loss that
 * is not finite is ST_EWRONG and leaves state_path as it was. */
enum status train_run(struct checkpoint *out, const struct train_spec *s, struct par *p, struct err *e);

#endif
