/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf_llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names */

static const struct stem {
    const char *here, *file;
    bool turned;
} whole[] = {{"model.embed_tokens", "token_embd", false}, {"model.norm", "output_norm", false}, {"lm_head", "output", false}},
  layered[] = {
    {"input_layernorm", "attn_norm", false},      {"self_attn.q_proj", "attn_q", true},      {"self_attn.k_proj", "attn_k", true},
    {"self_attn.v_proj", "attn_v", false},        {"self_attn.o_proj", "attn_output", false}, {"post_attention_layernorm", "ffn_norm", false},
    {"mlp.gate_proj", "ffn_gate", false},         {"mlp.up_proj", "ffn_up", false},          {"mlp.down_proj", "ffn_down", false},
};
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* name: "stem.weight" */
static const struct stem *find_stem(const struct stem *table, size_t n, const char *name, const char **suffix)
{
    *suffix = strrchr(name, '.');
    for (size_t i = 0; i < n && *suffix; i++)
        if (strlen(table[i].here) == (size_t)(*suffix - name) && !strncmp(table[i].here, name, (size_t)(*suffix - name)))
            return &table[i];
    return NULL;
}

const char *gguf_llama_name(const char *name, char buf[GGUF_MAX_NAME], bool *turned)
{
    int layer, used = 0;
    const char *suffix;
    bool in_layer = sscanf(name, "model.layers.%d.%n", &layer, &used) == 1 && used > 0;
    const struct stem *stem = in_layer ? find_stem(layered, COUNT(layered), name + used, &suffix) : find_stem(whole, COUNT(whole), name, &suffix);
    if (!stem)
        return NULL;
    *turned = stem->turned;
    if (in_layer)
        snprintf(buf, GGUF_MAX_NAME, "blk.%d.%s%s", layer, stem->file, suffix);
    else
        snprintf(buf, GGUF_MAX_NAME, "%s%s", stem->file, suffix);
    return buf;
}

int gguf_llama_row(const struct model_config *c, int stored)
{
    int in_head = stored % c->head_dim;
    return stored - in_head + in_head / 2 + in_head % 2 * (c->head_dim / 2);
}
