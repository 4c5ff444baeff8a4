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

/* ---- configuration */

static const char arch[] = "llama";

struct number {
    const char *key;
    int *x;
    int64_t least, most;
};

static const char *full_key(char buf[128], const char *key)
{
    snprintf(buf, 128, "%s.%s", arch, key);
    return buf;
}

static enum status read_number(const struct gguf *g, const struct number *n, struct err *e)
{
    char key[128];
    int64_t x = 0;
    enum status s = gguf_int(g, full_key(key, n->key), n->least, n->most, &x, e);
    if (!s)
        *n->x = (int)x;
    return s;
}

/* Absent: what is there stays. */
static enum status read_optional(const struct gguf *g, const struct number *n, struct err *e)
{
    char key[128];
    return gguf_find(g, full_key(key, n->key)) ? read_number(g, n, e) : ST_OK;
}

static enum status check_arch(const struct gguf *g, struct err *e)
{
    struct gguf_string name;
    char shown[64];
    enum status s = gguf_text(g, "general.architecture", &name, e);
    if (!s && !gguf_is(gguf_find(g, "general.architecture"), arch))
        s = fail(e, ST_EUNSUPPORTED, "%s: architecture '%s'; qbench reads %s", gguf_path(g), gguf_show(name, shown, sizeof shown), arch);
    return s;
}

/* What would change the arithmetic and is not computed here. */
static enum status check_features(const struct gguf *g, const struct model_config *c, struct err *e)
{
    char key[128];
    int experts = 0, rotary = c->head_dim, length = c->head_dim, value_length = c->head_dim;
    double factor = 1;
    const struct number numbers[] = {{"expert_count", &experts, 0, 1 << 16}, {"rope.dimension_count", &rotary, 0, 1 << 16},
                                     {"attention.key_length", &length, 0, 1 << 16}, {"attention.value_length", &value_length, 0, 1 << 16}};
    enum status s = ST_OK;
    for (size_t i = 0; i < COUNT(numbers) && !s; i++)
        s = read_optional(g, &numbers[i], e);
    if (s)
        return s;
    if (experts)
        return fail(e, ST_EUNSUPPORTED, "%s: a mixture of %d experts, which qbench does not compute", gguf_path(g), experts);
    if (rotary != c->head_dim || length != c->head_dim || value_length != c->head_dim)
        return fail(e, ST_EUNSUPPORTED, "%s: heads of %d keys and %d values, %d of them rotary; qbench wants %d everywhere (embedding / heads)",
                    gguf_path(g), length, value_length, rotary, c->head_dim);
    const struct gguf_value *v = gguf_find(g, full_key(key, "rope.scaling.type"));
    if (!v || gguf_is(v, "none"))
        return ST_OK;
    v = gguf_find(g, full_key(key, "rope.scaling.factor"));
    if (v && gguf_as_real(v, &factor) && factor == 1)
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "%s: scaled rotary positions (%s.rope.scaling.type), which qbench does not compute", gguf_path(g), arch);
}

static enum status read_reals(struct model_config *c, const struct gguf *g, struct err *e)
{
    char key[128];
    double eps = 0, base = 10000;
    enum status s = gguf_real(g, full_key(key, "attention.layer_norm_rms_epsilon"), &eps, e);
    if (!s && gguf_find(g, full_key(key, "rope.freq_base")))
        s = gguf_real(g, key, &base, e);
    c->norm_eps = (float)eps;
    c->rope_base = (float)base;
    return s;
}

/* The vocabulary is as large as the embedding; what else tells its size must agree. */
static enum status read_vocab(struct model_config *c, const struct gguf *g, struct err *e)
{
    char key[128];
    const struct gguf_tensor *embed = gguf_find_tensor(g, "token_embd.weight");
    struct gguf_items tokens;
    int said = 0;
    if (!embed)
        return fail(e, ST_EFORMAT, "%s: tensor 'token_embd.weight' is missing", gguf_path(g));
    if (embed->shape[1] > 1 << 20)
        return fail(e, ST_EFORMAT, "%s: tensor 'token_embd.weight': an embedding of more than %d tokens", gguf_path(g), 1 << 20);
    c->vocab = said = (int)embed->shape[1];
    enum status s = read_optional(g, &(struct number){"vocab_size", &said, 1, 1 << 20}, e);
    if (!s && said != c->vocab)
        return fail(e, ST_EFORMAT, "%s: %s is %d, but the embedding has %d rows", gguf_path(g), full_key(key, "vocab_size"), said, c->vocab);
    const struct gguf_value *v = gguf_find(g, "tokenizer.ggml.tokens");
    if (!s && v && gguf_items_of(v, &tokens) && tokens.left != (uint64_t)c->vocab)
        return fail(e, ST_EFORMAT, "%s: a vocabulary of %llu tokens, but the embedding has %d rows", gguf_path(g), (unsigned long long)tokens.left,
                    c->vocab);
    return s;
}

static enum status read_config(struct model_config *c, const struct gguf *g, struct err *e)
{
    struct err why = {0};
    *c = (struct model_config){.tied = !gguf_find_tensor(g, "output.weight")};
    const struct number numbers[] = {
        {"block_count", &c->layers, 1, 1 << 10},      {"context_length", &c->context, 1, INT32_MAX}, {"embedding_length", &c->dim, 1, 1 << 16},
        {"feed_forward_length", &c->ffn, 1, 1 << 16}, {"attention.head_count", &c->heads, 1, 1 << 10},
    };
    enum status s = check_arch(g, e);
    for (size_t i = 0; i < COUNT(numbers) && !s; i++)
        s = read_number(g, &numbers[i], e);
    c->kv_heads = c->heads;
    if (!s)
        s = read_optional(g, &(struct number){"attention.head_count_kv", &c->kv_heads, 1, 1 << 10}, e);
    if (!s)
        s = read_reals(c, g, e);
    if (!s)
        s = read_vocab(c, g, e);
    if (s)
        return s;
    c->head_dim = c->dim / c->heads;
    c->context = min_int(c->context, 1 << 20); /* the most that a configuration may say; caches are as long as the work needs */
    s = config_check(c, &why);
    return s ? fail(e, s, "%s: %s", gguf_path(g), why.text) : check_features(g, c, e);
}

enum status gguf_llama_config(struct model_config *c, const struct gguf *g, struct err *e)
{
    struct err why = {0};
    enum status s = read_config(c, g, &why);
    return s ? fail(e, s == ST_ENOENT ? ST_EFORMAT : s, "%s", why.text) : ST_OK; /* a key may be missing, but the file is there */
}

/* ---- tensors */

static const struct gguf_tensor *find_tensor(const struct gguf *g, const struct tensor *t, bool *turned, struct err *e)
{
    char name[GGUF_MAX_NAME];
    const char *known = gguf_llama_name(t->name, name, turned);
    const struct gguf_tensor *from = known ? gguf_find_tensor(g, known) : NULL;
    if (!from) {
        fail(e, ST_EFORMAT, "%s: tensor '%s' is missing", gguf_path(g), known ? known : t->name);
        return NULL;
    }
    uint64_t cols = (uint64_t)(t->rank == 1 ? t->rows : t->cols), rows = t->rank == 1 ? 1 : (uint64_t)t->rows;
    if (from->shape[0] == cols && gguf_tensor_rows(from) == rows && from->shape[1] == rows)
        return from;
    fail(e, ST_EFORMAT, "%s: tensor '%s' is %llu x %llu; the configuration makes it %llu x %llu", gguf_path(g), known,
         (unsigned long long)from->shape[0], (unsigned long long)gguf_tensor_rows(from), (unsigned long long)cols, (unsigned long long)rows);
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)*(const struct gguf_tensor *const *)a, y = (uintptr_t)*(const struct gguf_tensor *const *)b;
    return (x > y) - (x < y);
}

/* A tensor that the configuration does not know would change what is computed. known (n): those that it knows. */
static enum status check_strangers(const struct gguf *g, const struct gguf_tensor **known, size_t n, struct err *e)
{
    qsort(known, n, sizeof *known, by_address);
    for (size_t i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        if (!bsearch(&t, known, n, sizeof *known, by_address))
            return fail(e, ST_EUNSUPPORTED, "%s: tensor '%s' has no place in what qbench computes", gguf_path(g), t->name);
    }
    return ST_OK;
}

/* Before anything is allocated by it, a configuration is held against the tensors: what they do not back is refused. */
static enum status check_tensors(const struct gguf *g, const struct model_config *c, struct err *e)
{
    struct weights shell = {.config = *c, .layer = mem_alloc((size_t)c->layers, sizeof *shell.layer)};
    size_t n = (size_t)weights_tensors(c);
    const struct gguf_tensor **known = calloc(n, sizeof *known);
    enum status s = shell.layer && known ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory for a list of %zu tensors", gguf_path(g), n);
    for (size_t i = 0; i < n && !s; i++) {
        struct tensor t = weights_tensor(&shell, (int)i);
        bool turned;
        known[i] = find_tensor(g, &t, &turned, e);
        s = known[i] ? ST_OK : ST_EFORMAT;
    }
    if (!s)
        s = check_strangers(g, known, n, e);
    free(known);
    mem_free(shell.layer);
    return s;
}

static enum status read_turned(const struct gguf *g, const struct gguf_tensor *from, const struct tensor *to, const struct model_config *c,
                               struct err *e)
{
    size_t head = (size_t)c->head_dim, cols = (size_t)to->cols;
    float *stored = mem_alloc(head * cols, sizeof *stored);
    enum status s = stored ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory to read tensor '%s'", gguf_path(g), from->name);
    for (size_t first = 0; first < (size_t)to->rows && !s; first += head) {
        s = gguf_read_floats(g, from, first, head, stored, e);
        for (size_t i = 0; i < head && !s; i++)
            memcpy(to->data + (size_t)gguf_llama_row(c, (int)(first + i)) * cols, stored + i * cols, cols * sizeof *stored);
    }
    mem_free(stored);
    return s;
}

static enum status read_tensors(struct weights *w, const struct gguf *g, struct err *e)
{
    enum status s = ST_OK;
    for (int i = 0; i < weights_tensors(&w->config) && !s; i++) {
        struct tensor to = weights_tensor(w, i);
        bool turned = false;
        const struct gguf_tensor *from = find_tensor(g, &to, &turned, e);
        if (!from)
            return ST_EFORMAT;
        s = turned ? read_turned(g, from, &to, &w->config, e) : gguf_read_floats(g, from, 0, gguf_tensor_rows(from), to.data, e);
    }
    return s;
}

enum status gguf_llama_check(struct model_config *c, const struct gguf *g, struct err *e)
{
    enum status s = gguf_llama_config(c, g, e);
    return s ? s : check_tensors(g, c, e);
}

enum status gguf_llama_read(struct weights **out, const struct gguf *g, struct err *e)
{
    struct model_config c;
    *out = NULL;
    enum status s = gguf_llama_check(&c, g, e);
    if (s)
        return s;
    struct err why = {0};
    struct weights *w = weights_alloc(&c, &why);
    if (!w)
        return fail(e, why.status, "%s: %s", gguf_path(g), why.text);
    s = read_tensors(w, g, e);
    if (s)
        weights_free(w);
    else
        *out = w;
    return s;
}

/* ---- codes */

static enum status unpack(struct qlinear *q, enum gtype type, const uint8_t *src, size_t row, size_t groups, struct err *e)
{
    int8_t *codes = q->plane.codes + row * groups * GGUF_BLOCK;
    float *scale = q->plane.scale + row * groups;
    if (type == GTYPE_Q8_0)
        return gtype_unpack_q8_0(codes, scale, src, groups, e);
    if (type == GTYPE_Q4_0)
        return gtype_unpack_q4_0(codes, scale, src, groups, e);
    float *shift = q->plane.shift + row * groups;
    enum status s = gtype_unpack_q4_1(codes, scale, shift, src, groups, e);
    for (size_t i = 0; i < groups && !s; i++)
        if (fp16_round(shift[i]) != shift[i])
            s = fail(e, ST_EUNSUPPORTED, "block %zu: minimum + 8 x scale is %.9g, which is no fp16 number", i, (double)shift[i]);
    return s;
}

static enum status read_codes(const struct gguf *g, const struct gguf_tensor *from, const struct model_config *c, bool turned, struct qlinear *q,
                              struct err *e)
{
    size_t groups = (size_t)q->cols / GGUF_BLOCK, row_bytes = gtype_row_bytes(gtype_info(from->type), (size_t)q->cols);
    uint8_t *src = malloc(row_bytes);
    enum status s = src ? ST_OK : fail(e, ST_ENOMEM, "%s: no memory to read tensor '%s'", gguf_path(g), from->name);
    for (int i = 0; i < q->rows && !s; i++) {
        struct err why = {0};
        size_t row = (size_t)(turned ? gguf_llama_row(c, i) : i);
        s = gguf_read(g, from, (uint64_t)i * row_bytes, src, row_bytes, e);
        if (!s && (s = unpack(q, from->type, src, row, groups, &why)))
            fail(e, s, "%s: tensor '%s', row %d: %s", gguf_path(g), from->name, i, why.text);
    }
    free(src);
    return s;
}

/* As weights_tensor() names it. */
static struct tensor layer_tensor(const struct model_config *c, int layer, enum lin lin)
{
    static const uint8_t stems[LIN_COUNT] = {1, 2, 3, 4, 6, 7, 8}; /* in layered[]: all but the norms */
    struct tensor t = {.rank = 2};
    lin_shape(c, lin, &t.rows, &t.cols);
    snprintf(t.name, sizeof t.name, "model.layers.%d.%s.weight", layer, layered[stems[lin]].here);
    return t;
}

enum status gguf_llama_codes(const struct gguf *g, const struct model_config *c, int layer, enum lin lin, struct qlinear *q, struct err *e)
{
    bool turned = false;
    struct tensor t = layer_tensor(c, layer, lin);
    const struct gguf_tensor *from = find_tensor(g, &t, &turned, e);
    *q = (struct qlinear){0};
    if (!from)
        return ST_EFORMAT;
    if (from->type != GTYPE_Q8_0 && from->type != GTYPE_Q4_0 && from->type != GTYPE_Q4_1)
        return fail(e, ST_EUNSUPPORTED, "%s: tensor '%s' is %s; codes are read from Q8_0, Q4_0 and Q4_1", gguf_path(g), from->name,
                    gtype_info(from->type)->name);
    enum status s = qlinear_alloc(q, from->type == GTYPE_Q8_0 ? FORMAT_INT8 : FORMAT_INT4, t.rows, t.cols, GGUF_BLOCK, e);
    if (!s && from->type == GTYPE_Q4_1)
        s = qlinear_alloc_shift(q, e);
    if (!s)
        s = read_codes(g, from, c, turned, q, e);
    if (s)
        qlinear_free(q);
    return s;
}
