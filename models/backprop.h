/* backprop.h — the decoder's training loss and its gradient over a batch of sequences. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BACKPROP_H
#define QBENCH_BACKPROP_H

#include "par.h"
#include "weights.h"

/*
 * What quantization-aware training changes. NULL members change nothing.
 * weights: called before each forward: fills shadow's linear layers with the weights that the forward and backward use.
 * grads:   called after each backward: turns d loss / d shadow into d loss / d master in place (straight-through with its mask).
 * act_int8: inputs of the block linears go through int8-per-token fake quantization; the backward passes straight through.
 */
struct fake_quant {
    void *ctx;
    enum status (*weights)(void *ctx, const struct weights *master, struct weights *shadow, struct par *p, struct err *e);
    void (*grads)(void *ctx, const struct weights *master, struct weights *grads, struct par *p);
    bool act_int8;
};

/*
 * Threads share sequences, not matrices: each takes its part of the batch a few sequences at a time, runs them forward and
 * straight back while their activations are in its cache, and adds to a gradient of its own; the gradients are
 * then summed in thread order. So a step has two meetings of the threads however deep the model, and its result depends on the
 * thread count only through the order of float additions. The price is a copy of the gradient for every thread but the first.
 */
struct backprop;

/* For batches of up to batch sequences of seq tokens (seq <= context). p is borrowed. */
enum status backprop_open(struct backprop **b, const struct model_config *c, int batch, int seq, struct par *p, struct err *e);
void backprop_close(struct backprop *b);

/*
 * Mean NLL in nats of targets (batch, seq) given inputs (batch, seq), as opened; targets < 0 are not scored, and when none is the
 * mean is 0. Sequences do not see each other. With grads not NULL: grads += d (mean NLL) / d w.
 */
double backprop_run(struct backprop *b, const struct weights *w, const int32_t *inputs, const int32_t *targets, bool act_int8,
                    struct weights *grads);

#endif
