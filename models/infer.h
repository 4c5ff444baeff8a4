/* infer.h — a quantized model bound to kernels: prefill and cached decoding through one function. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_INFER_H
#define QBENCH_INFER_H

#include "gemm.h"
#include "quant.h"

/*
 * A session holds batch sequences of up to max_tokens each, with an f32 key/value cache. infer_forward appends tokens
 * tokens to every sequence: many = prefill, one = a decoding step. Nothing is allocated after infer_open. Activations
 * are quantized as the kernel asks, once for the layers that share them.
 */
struct infer;

enum infer_logits { INFER_LAST, INFER_ALL }; /* of each sequence's last token, or of every token */

/* kernel: for the quantized layers (NULL = the best for the format); float parts run on the best f32 kernel.
 * q is borrowed, and so are its float weights. max_chunk: the most tokens x batch that one call gets. */
enum status infer_open(struct infer **s, const struct qmodel *q, const struct kernel *kernel, int batch, int max_tokens,
                       int max_chunk, struct par *p, struct err *e);
void infer_close(struct infer *s);
void infer_reset(struct infer *s); /* forgets every token */
void infer_rewind(struct infer *s, int position); /* forgets all after position <= infer_position */
int infer_position(const struct infer *s);

/* ids (batch, tokens). logits: (batch, vocab) or (batch, tokens, vocab). ST_EUSAGE past max_tokens or for an id outside the vocabulary. */
enum status infer_forward(struct infer *s, const int32_t *ids, int tokens, enum infer_logits which, float *logits, struct err *e);

/* Called with each block linear's float input before it is used: x (m, k). The hook may set the layer's act_gain. */
typedef void infer_hook(void *ctx, int layer, enum lin lin, const float *x, int m, int k);
void infer_observe(struct infer *s, infer_hook *hook, void *ctx);
void infer_set_act_gain(struct infer *s, int layer, enum lin lin, float gain);

/* The first of the largest. */
static inline int infer_argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

size_t infer_weight_bytes(const struct infer *s); /* read by one decoding step: packed layers, head, norms */
double infer_ops(const struct infer *s);          /* multiply-adds x 2 of the linear layers and head, for one token */

#endif
