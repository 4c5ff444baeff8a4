/* weights.h — the parameters of a LLaMA-style decoder in one arena, and the presets by name. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WEIGHTS_H
#define QBENCH_WEIGHTS_H

#include "base.h"
#include "par.h"

struct model_config {
    char preset[16]; /* "1m", or "" for a model that is none of them */
    int layers, dim, ffn, heads, kv_heads, head_dim, vocab, context;
    bool tied; /* the head is the embedding */
    float rope_base, norm_eps;
};

/* Fills c from presets.def. ST_ENOENT lists the presets. */
enum status config_preset(struct model_config *c, const char *name, struct err *e);
const char *config_preset_name(int i); /* NULL past the last */

/* ST_EFORMAT with the reason when dimensions do not fit together or are absurd (limits: vocab <= 2^20, dim and ffn <= 2^16, …). */
enum status config_check(const struct model_config *c, struct err *e);

/* The linear layers of a block. Rows are outputs, columns inputs, row major: y = x W^T. */
enum lin { LIN_Q, LIN_K, LIN_V, LIN_O, LIN_GATE, LIN_UP, LIN_DOWN, LIN_COUNT };
extern const char *const lin_names[LIN_COUNT]; /* "q", "k", "v", "o", "gate", "up", "down" */
void lin_shape(const struct model_config *c, enum lin lin, int *rows, int *cols);

struct layer_weights {
    float *attn_norm;        /* (dim) */
    float *ffn_norm;         /* (dim) */
    float *linear[LIN_COUNT];
};

/* Weights, gradients and optimizer moments share this shape, so that they are walked in step over data[0..count). */
struct weights {
    struct model_config config;
    size_t count;  /* floats in the arena = parameters */
    float *data;   /* owned */
    float *embed;  /* (vocab, dim) */
    struct layer_weights *layer; /* (layers) owned */
    float *norm;   /* (dim) */
    float *head;   /* (vocab, dim); == embed when tied */
};

size_t config_parameters(const struct model_config *c);

/* Zeroed parameters. NULL with ST_ENOMEM or config_check's reason. */
struct weights *weights_alloc(const struct model_config *c, struct err *e);
void weights_free(struct weights *w);

/* GPT-2's initialization: normal 0.02, o and down scaled by 1/sqrt(2 layers), norms 1. Same seed, same weights, on any number of
 * threads; p may be NULL: this thread alone. */
void weights_random(struct weights *w, uint64_t seed, struct par *p);

/* The directory: every tensor once, in file order, under its Hugging Face LLaMA name ("model.layers.0.self_attn.q_proj.weight"). */
struct tensor {
    char name[64];
    int rows, cols;  /* cols = 1 and rank 1 for norms */
    int rank;
    float *data;
    bool decays;     /* weight decay applies: matrices, not norms */
};
int weights_tensors(const struct model_config *c); /* how many */
struct tensor weights_tensor(const struct weights *w, int i);

#endif
