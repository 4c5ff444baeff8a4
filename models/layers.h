/* layers.h — the parts of a LLaMA-style decoder for training, each forward beside its backward. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_LAYERS_H
#define QBENCH_LAYERS_H

#include "base.h"
#include "blas.h"
#include "vec.h"

/*
 * Single-threaded loops over vec.h and blas.h; threads work on different sequences, so nothing here waits. n counts tokens;
 * matrices are row major, ld is the number of floats between rows where it can differ from the width. In a _grad
 * function d<name> is d loss / d <name>; "+=" and "=" say which ones accumulate. Nothing allocates.
 */
struct layers {
    const struct vec *vec;
    const struct blas *blas;
};

/* x (n,dim) = rows ids[] of embed (vocab,dim) */
void layers_embed(const float *embed, const int32_t *ids, int n, int dim, float *x);
/* dembed (vocab,dim) += dx (n,dim) */
void layers_embed_grad(const struct layers *l, const int32_t *ids, int n, int dim, const float *dx, float *dembed);

/* y (n,dim) = rmsnorm(x (n,dim)) * w (dim); r (n) is kept for the backward */
void layers_norm(const struct layers *l, const float *x, const float *w, int n, int dim, float eps, float *y, float *r);
/* dx (n,dim) +=, dw (dim) += */
void layers_norm_grad(const struct layers *l, const float *x, const float *w, const float *r, int n, int dim, const float *dy,
                      float *dx, float *dw);

/* y (n,ldy) = x (n,cols) w (rows,cols)^T + beta y */
void layers_linear(const struct layers *l, const float *x, const float *w, int n, int rows, int cols, float beta, float *y,
                   int ldy);
/* dx (n,cols) = dy (n,ldy) w + beta dx; dw (rows,cols) += dy^T x */
void layers_linear_grad(const struct layers *l, const float *x, const float *w, int n, int rows, int cols, const float *dy,
                        int ldy, float beta, float *dx, float *dw);

/*
 * Rotary positions (Su et al. 2021) as Hugging Face's LLaMA lays them out: dimension i of a head turns with i + head_dim/2.
 * cos, sin (seq, head_dim/2). Sequences of seq tokens follow one another in x (n,ld), of which the first `heads` heads
 * turn. The backward is the forward with the sines negated.
 */
void layers_rope_table(float base, int seq, int head_dim, float *cosine, float *sine);
void layers_rope(const struct layers *l, const float *cosine, const float *sine, int n, int seq, int heads, int head_dim,
                 float *x, int ld);

/*
 * Causal attention with grouped heads over one sequence. qkv (seq,ld): heads query heads, then kv_heads key heads, then
 * kv_heads value heads, after rope. scratch: layers_attention_room floats. The backward computes the probabilities again
 * (a block of rows at a time), because keeping them would cost seq * seq * heads floats a layer.
 */
struct attention {
    int seq, heads, kv_heads, head_dim, ld;
};
size_t layers_attention_room(const struct attention *a);
/* out (seq, heads*head_dim) */
void layers_attention(const struct layers *l, const struct attention *a, const float *qkv, float *scratch, float *out);
/* dqkv (seq,ld) = */
void layers_attention_grad(const struct layers *l, const struct attention *a, const float *qkv, const float *dout, float *scratch,
                           float *dqkv);

/* gu (n, 2 ffn): gate, then up; y (n,ffn) = silu(gate) * up */
void layers_swiglu(const struct layers *l, const float *gu, int n, int ffn, float *y);
/* dgu (n, 2 ffn) = */
void layers_swiglu_grad(const struct layers *l, const float *gu, int n, int ffn, const float *dy, float *dgu);

/*
 * The head and its softmax cross-entropy. x (n,dim), head (vocab,dim), targets (n), those < 0 are not scored; returns the sum
 * of the NLL in nats. logits: room for LAYERS_LOSS_BLOCK * vocab floats. With dx not NULL the backward runs
 * in the same pass, while a block's logits are at hand: dx (n,dim) = and dhead (vocab,dim) += of weight * (that sum).
 */
enum { LAYERS_LOSS_BLOCK = 128 };
double layers_loss(const struct layers *l, const float *x, const float *head, const int32_t *targets, int n, int dim, int vocab,
                   float weight, float *logits, float *dx, float *dhead);

/* x (n,cols) goes through int8-per-token quantization and back (act.h's rule); codes: room for cols. The backward is the identity. */
void layers_fake_int8(float *x, int n, int cols, int8_t *codes);

#endif
