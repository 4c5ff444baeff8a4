/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tiny.h"

#include <assert.h>

struct model_config tiny_config(bool tied)
{
    return (struct model_config){.layers = 2, .dim = 48, .ffn = 52, .heads = 4, .kv_heads = 2, .head_dim = 12, .vocab = 300,
                                 .context = 32, .tied = tied, .rope_base = 10000, .norm_eps = 1e-5f};
}

struct weights *tiny_weights(bool tied, uint64_t seed)
{
    struct model_config c = tiny_config(tied);
    struct weights *w = weights_alloc(&c, NULL);
    assert(w);
    weights_random(w, seed, NULL);
    for (size_t i = 0; i < (size_t)c.layers * LIN_COUNT; i++) { /* GPT-2's 0.02 would leave every layer near zero */
        int rows, cols;
        lin_shape(&c, (enum lin)(i % LIN_COUNT), &rows, &cols);
        float *x = w->layer[i / LIN_COUNT].linear[i % LIN_COUNT];
        for (int j = 0; j < rows * cols; j++)
            x[j] *= 8;
    }
    for (int j = 0; j < c.vocab * c.dim; j++)
        w->embed[j] *= 20;
    return w;
}

struct tokenizer *tiny_tokenizer(const uint8_t *text, size_t bytes, int vocab)
{
    struct bpe *b = NULL;
    struct tokenizer *t = NULL;
    enum status s = bpe_train(&b, text, bytes, vocab, NULL);
    if (s == ST_OK)
        s = tokenizer_from_bpe(&t, b, NULL);
    assert(s == ST_OK);
    bpe_free(b);
    return t;
}

void tiny_normal(float *x, size_t n, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(&r);
}
