/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hf_llama.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "safetensors.h"

static enum status read_json(json_t **o, const char *path, struct err *e)
{
    json_error_t why;
    *o = json_load_file(path, 0, &why);
    if (!*o)
        return fail(e, access(path, R_OK) ? ST_ENOENT : ST_EFORMAT, "%s:%d: %s", path, why.line, why.text);
    if (json_is_object(*o))
        return ST_OK;
    json_decref(*o);
    *o = NULL;
    return fail(e, ST_EFORMAT, "%s: not an object", path);
}

/* ---- configuration */

/* What is there and not null. */
static const json_t *field(const json_t *o, const char *key)
{
    const json_t *x = json_object_get(o, key);
    return json_is_null(x) ? NULL : x;
}

static enum status check_architecture(const json_t *o, const char *path, struct err *e)
{
    const char *type = json_string_value(field(o, "model_type"));
    const char *name = json_string_value(json_array_get(field(o, "architectures"), 0));
    if (name ? !strcmp(name, "LlamaForCausalLM") : type && !strcmp(type, "llama"))
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "%s: architecture '%.60s'; LlamaForCausalLM is the one that qbench reads", path,
                name ? name : type ? type : "(none)");
}

/* Each of these would change what the model computes. */
static enum status check_features(const json_t *o, const char *path, struct err *e)
{
    static const char *const switches[] = {"attention_bias", "mlp_bias"};
    const char *act = json_string_value(field(o, "hidden_act"));
    for (size_t i = 0; i < sizeof switches / sizeof *switches; i++)
        if (json_is_true(field(o, switches[i])))
            return fail(e, ST_EUNSUPPORTED, "%s: %s is true; qbench computes layers without bias", path, switches[i]);
    if (field(o, "rope_scaling"))
        return fail(e, ST_EUNSUPPORTED, "%s: rope_scaling is not null; qbench computes plain rotary positions", path);
    if (field(o, "quantization_config"))
        return fail(e, ST_EUNSUPPORTED, "%s: quantization_config: the weights are quantized already; take the float model", path);
    if (act && strcmp(act, "silu"))
        return fail(e, ST_EUNSUPPORTED, "%s: hidden_act '%.40s'; qbench computes silu", path, act);
    return ST_OK;
}

static enum status take_int(int *to, const json_t *o, const char *key, int otherwise, const char *path, struct err *e)
{
    const json_t *x = field(o, key);
    json_int_t value = x ? json_integer_value(x) : otherwise;
    if ((x && !json_is_integer(x)) || value < 1 || value > INT_MAX)
        return fail(e, ST_EFORMAT, "%s: %s is %s", path, key, x ? "not a positive whole number" : "missing");
    *to = (int)value;
    return ST_OK;
}

static enum status take_real(float *to, const json_t *o, const char *key, double otherwise, const char *path, struct err *e)
{
    const json_t *x = field(o, key);
    if (x && !json_is_number(x))
        return fail(e, ST_EFORMAT, "%s: %s is not a number", path, key);
    *to = (float)(x ? json_number_value(x) : otherwise);
    return ST_OK;
}

/* The newer files keep the rotary base in "rope_parameters". */
static enum status take_rope(struct model_config *c, const json_t *o, const char *path, struct err *e)
{
    const json_t *p = field(o, "rope_parameters");
    const char *type = json_string_value(field(p, "rope_type"));
    if (type && strcmp(type, "default"))
        return fail(e, ST_EUNSUPPORTED, "%s: rope_type '%.40s'; qbench computes plain rotary positions", path, type);
    return take_real(&c->rope_base, field(p, "rope_theta") ? p : o, "rope_theta", 10000, path, e);
}

static enum status take_config(struct model_config *c, const json_t *o, const char *path, struct err *e)
{
    enum status s;
    *c = (struct model_config){.tied = json_is_true(field(o, "tie_word_embeddings"))};
    if ((s = check_architecture(o, path, e)) || (s = check_features(o, path, e)) ||
        (s = take_int(&c->layers, o, "num_hidden_layers", 0, path, e)) || (s = take_int(&c->dim, o, "hidden_size", 0, path, e)) ||
        (s = take_int(&c->ffn, o, "intermediate_size", 0, path, e)) || (s = take_int(&c->heads, o, "num_attention_heads", 0, path, e)) ||
        (s = take_int(&c->kv_heads, o, "num_key_value_heads", c->heads, path, e)) ||
        (s = take_int(&c->head_dim, o, "head_dim", c->dim / c->heads, path, e)) || (s = take_int(&c->vocab, o, "vocab_size", 0, path, e)) ||
        (s = take_int(&c->context, o, "max_position_embeddings", 2048, path, e)) ||
        (s = take_real(&c->norm_eps, o, "rms_norm_eps", 1e-6, path, e)) || (s = take_rope(c, o, path, e)))
        return s;
    struct err why = {0};
    return config_check(c, &why) ? fail(e, ST_EUNSUPPORTED, "%s: %s", path, why.text) : ST_OK;
}

/* ---- tensors */

struct shards {
    struct st_file *file; /* (count) owned */
    int count;
};

static void close_shards(struct shards *s)
{
    for (int i = 0; i < s->count; i++)
        st_close(&s->file[i]);
    free(s->file);
}

static enum status add_shard(struct shards *s, const char *folder, const char *name, struct err *e)
{
    char path[PATH_MAX];
    if (strchr(name, '/') || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return fail(e, ST_EFORMAT, "%s: a part is called '%.60s'; parts lie in the same folder", folder, name);
    struct st_file *grown = realloc(s->file, ((size_t)s->count + 1) * sizeof *grown);
    if (!grown)
        return fail(e, ST_ENOMEM, "%s: no memory", folder);
    s->file = grown;
    enum status st = st_read(&s->file[s->count], path, e);
    s->count += st == ST_OK;
    return st;
}

/* The files that the index names, each once. */
static enum status add_indexed(struct shards *s, const char *folder, const char *index, struct err *e)
{
    json_t *o, *names = json_object(), *value;
    const char *key;
    enum status st = read_json(&o, index, e);
    json_object_foreach(json_object_get(o, "weight_map"), key, value)
        if (json_is_string(value))
            json_object_set_new(names, json_string_value(value), json_true());
    if (!st && !json_object_size(names))
        st = fail(e, ST_EFORMAT, "%s: its weight_map names no file", index);
    json_object_foreach(names, key, value)
        if (!st)
            st = add_shard(s, folder, key, e);
    json_decref(names);
    json_decref(o);
    return st;
}

static enum status open_shards(struct shards *s, const char *folder, struct err *e)
{
    char index[PATH_MAX], single[PATH_MAX];
    snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    snprintf(single, sizeof single, "%s/model.safetensors", folder);
    *s = (struct shards){0};
    if (!access(index, F_OK))
        return add_indexed(s, folder, index, e);
    if (!access(single, F_OK))
        return add_shard(s, folder, "model.safetensors", e);
    return fail(e, ST_ENOENT, "%s: neither model.safetensors nor model.safetensors.index.json in this folder", folder);
}

static const struct st_tensor *find(const struct shards *s, const char *name)
{
    const struct st_tensor *t = NULL;
    for (int i = 0; i < s->count && !t; i++)
        t = st_find(&s->file[i], name);
    return t;
}

/* Elements may stand at any byte. */
static bool to_floats(float *to, const struct st_tensor *from, size_t n)
{
    uint16_t half;
    const char *data = from->data;
    if (!strcmp(from->dtype, "F32")) {
        memcpy(to, data, n * sizeof *to);
        return true;
    }
    bool is_f16 = !strcmp(from->dtype, "F16");
    if (!is_f16 && strcmp(from->dtype, "BF16"))
        return false;
    for (size_t i = 0; i < n; i++) {
        memcpy(&half, data + 2 * i, sizeof half);
        to[i] = is_f16 ? fp16_to_float(half) : bf16_to_float(half);
    }
    return true;
}

static enum status copy_tensor(const struct tensor *to, const struct shards *s, const char *folder, struct err *e)
{
    const struct st_tensor *from = find(s, to->name);
    size_t n = (size_t)to->rows * (size_t)to->cols;
    if (!from)
        return fail(e, ST_EFORMAT, "%s: tensor '%s' is missing", folder, to->name);
    if (from->rank != to->rank || from->shape[0] != to->rows || (to->rank == 2 && from->shape[1] != to->cols))
        return fail(e, ST_EFORMAT, "%s: tensor '%s' has not the shape that config.json gives it (%d, %d)", folder, to->name, to->rows, to->cols);
    if (!to_floats(to->data, from, n))
        return fail(e, ST_EUNSUPPORTED, "%s: tensor '%s' is %s; F32, F16 and BF16 are read", folder, to->name, from->dtype);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(to->data[i]))
            return fail(e, ST_EFORMAT, "%s: tensor '%s': a weight is infinite or not a number", folder, to->name);
    return ST_OK;
}

/* Rotary frequencies, which older files hold, follow from the base; a tied head may be written out. */
static bool may_be_there(const struct weights *w, const char *name)
{
    if (strstr(name, "rotary_emb.inv_freq") || (w->config.tied && !strcmp(name, "lm_head.weight")))
        return true;
    for (int i = 0; i < weights_tensors(&w->config); i++)
        if (!strcmp(weights_tensor(w, i).name, name))
            return true;
    return false;
}

static enum status check_strangers(const struct weights *w, const struct shards *s, const char *folder, struct err *e)
{
    for (int i = 0; i < s->count; i++)
        for (int k = 0; k < s->file[i].count; k++)
            if (!may_be_there(w, s->file[i].tensors[k].name))
                return fail(e, ST_EUNSUPPORTED, "%s: tensor '%s' belongs to no layer that config.json describes", folder, s->file[i].tensors[k].name);
    return ST_OK;
}

/* Before anything is allocated: a configuration of terabytes beside a file of kilobytes is refused. */
static enum status check_size(const struct model_config *c, const struct shards *s, const char *folder, struct err *e)
{
    size_t bytes = 0;
    for (int i = 0; i < s->count; i++)
        bytes += s->file[i].buffer_bytes;
    if (config_parameters(c) <= bytes / sizeof(uint16_t))
        return ST_OK;
    return fail(e, ST_EFORMAT, "%s: config.json describes %zu parameters, more than the %zu bytes of its files hold", folder,
                config_parameters(c), bytes);
}

enum status hf_llama_read(struct weights **out, const char *folder, struct err *e)
{
    char path[PATH_MAX];
    json_t *o;
    struct model_config c;
    struct shards s = {0};
    struct weights *w = NULL;
    *out = NULL;
    if (snprintf(path, sizeof path, "%s/config.json", folder) >= (int)sizeof path)
        return fail(e, ST_EUSAGE, "%.200s…: the path is too long", folder);
    enum status st = read_json(&o, path, e);
    if (!st)
        st = take_config(&c, o, path, e);
    if (!st)
        st = open_shards(&s, folder, e);
    if (!st)
        st = check_size(&c, &s, folder, e);
    if (!st && !(w = weights_alloc(&c, e)))
        st = ST_ENOMEM;
    if (!st)
        st = check_strangers(w, &s, folder, e);
    for (int i = 0; !st && i < weights_tensors(&c); i++) {
        struct tensor t = weights_tensor(w, i);
        st = copy_tensor(&t, &s, folder, e);
    }
    close_shards(&s);
    json_decref(o);
    if (st)
        weights_free(w);
    else
        *out = w;
    return st;
}
