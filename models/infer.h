/* infer.h — a quantized model bound to kernels: prefill and cached decoding through one function. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_INFER_H
#define QBENCH_INFER_H

#include "gemm.h"
#include "kvcache.h"
#include "quant.h"

/*
 * A session holds batch sequences of up to max_tokens each, their keys and values in the format kv. infer_forward appends
 * tokens tokens to every sequence: many = prefill, one = a decoding step. Attention reads what the cache holds, so that both
 * see the same rounded keys and values. Nothing is allocated after infer_open. Activations are quantized as the kernel asks, once
 * for the layers that share them, by the thread that made them.
 */
struct infer;

struct infer_shape {
    int batch;
    int max_tokens; /* of a sequence; may exceed the context that the model was trained for */
    int max_chunk;  /* the most tokens x batch that one call gets */
    enum kv kv;
};

enum infer_logits { INFER_LAST, INFER_ALL }; /* of each sequence's last token, or of every token */

/* kernel: for the quantized layers (NULL = the best for the format); float parts run on the best f32 kernel, the head on the best of
 * its format. q is borrowed, and so are its float weights. */
enum status infer_open(struct infer **s, const struct qmodel *q, const struct kernel *kernel, const struct infer_shape *shape,
                       struct par *p, struct err *e);
void infer_close(struct infer *s);
void infer_reset(struct infer *s); /* forgets every token */
void infer_rewind(struct infer *s, int position); /* forgets all after position <= infer_position */
int infer_position(const struct infer *s);

/*
 * Forgets every token and puts `positions` in their place, as if so many had been read: normally distributed keys and values,
 * seeded, KV_BLOCK positions of them over and over. For measuring behind a long past: speed does not depend on what it holds,
 * and computing it would take far longer than what is measured. ST_EUSAGE beyond max_tokens.
 */
enum status infer_fill(struct infer *s, int positions, uint64_t seed, struct err *e);

/* ids (batch, tokens). logits: (batch, vocab) or (batch, tokens, vocab). ST_EUSAGE past max_tokens or for an id outside the vocabulary. */
enum status infer_forward(struct infer *s, const int32_t *ids, int tokens, enum infer_logits which, float *logits, struct err *e);

/* Called with each block linear's float input before it is used: x (m, k). The hook may set the layer's act_gain. */
typedef void infer_hook(void *ctx, int layer, enum lin lin, const float *x, int m, int k);
void infer_observe(struct infer *s, infer_hook *hook, void *ctx);
void infer_set_act_gain(struct infer *s, int layer, enum lin lin, float gain);

/* Where the time goes: from now on every call adds its seconds to seconds[INFER_PHASES]; NULL (as at first) = no clock is read. */
enum infer_phase {
    INFER_LINEAR,    /* the layers' products */
    INFER_HEAD,      /* the head's product */
    INFER_ATTENTION, /* rotating, caching, scores, mixing values */
    INFER_OTHER,     /* embedding, norms, SwiGLU, residuals, quantizing activations */
    INFER_PHASES
};
void infer_clock(struct infer *s, double *seconds);

int infer_argmax(const float *x, int n); /* the first of the largest; NaN is none */

/* Memory that a session takes beside the packed weights, near enough to refuse what cannot be. */
double infer_session_bytes(const struct model_config *c, const struct infer_shape *shape);
size_t infer_weight_bytes(const struct infer *s);       /* read by one call: packed layers, head, norms */
size_t infer_kv_bytes_per_token(const struct infer *s); /* of one sequence: what a later token reads of each earlier one */
double infer_ops(const struct infer *s); /* multiply-adds x 2 of the linear layers and head, for one token of one sequence */
double infer_attention_ops(const struct infer *s, int tokens, int position); /* of a call's attention, all sequences */

#endif
