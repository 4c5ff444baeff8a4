/* eval.h — quality: per-token NLL on held-out text, KL and top-1 agreement with a reference model. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_EVAL_H
#define QBENCH_EVAL_H

#include "infer.h"
#include "protocol.h"

/*
 * Protocol "chunk": the stream of documents (each preceded by the boundary token) is cut into windows of `window`
 * tokens without overlap; within a window every token but the first is scored given those before it; boundary tokens are not
 * scored. Tokens of one window are one block of the bootstrap. Any two runs over the same text, tokenizer and window
 * score the same targets, so they can be paired.
 */
struct quality {
    size_t n;          /* scored tokens */
    float *nll;        /* (n) nats, owned */
    float *ref_nll;    /* (n) of the reference; owned, NULL without one */
    int32_t *block;    /* (n) window index, owned */
    double bytes;      /* of text that the scored tokens stand for */
    double kl, kl_max; /* mean and largest KL(reference || model) in nats; NaN without reference */
    double top1;       /* share of positions with the same most likely token; NaN without reference */
    double accuracy;   /* share of positions whose most likely token is the target */
};

/* model and ref: sessions with batch and max_tokens >= window from eval_shape; ref may be NULL (or == model). */
enum status eval_quality(struct quality *q, struct infer *model, struct infer *ref, const struct tokens *t,
                         const struct tokenizer *tokenizer, int window, int batch, int vocab, struct par *p, struct err *e);
/* The same for any plan: its windows are the blocks, and its context is what the sessions were opened for. */
enum status eval_windows(struct quality *q, struct infer *model, struct infer *ref, const struct windows *w, const struct tokenizer *tokenizer,
                         int batch, int vocab, struct par *p, struct err *e);
void quality_free(struct quality *q);

/* The window of protocol "chunk": the model's context, 2048 at most. */
int eval_window(const struct model_config *c);

/* A batch of windows whose logits stay under about 64 MB. */
int eval_batch(const struct model_config *c, int window);

#endif
