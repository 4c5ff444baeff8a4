/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gguf_llama.h"
#include "model_verbs.h"

/* ---- what there is of each kind and type */

enum { KINDS = 6, CENSUS_TYPES = GTYPE_COUNT };
static const char *const kind_names[KINDS] = {"embedding", "attention", "MLP", "norm", "head", "other"};

struct tally {
    const char *name;
    long long tensors, parameters, bytes;
};
struct census {
    struct tally kinds[KINDS], types[CENSUS_TYPES];
    int n_types;
};

static struct census census_begin(void)
{
    struct census c = {0};
    for (int i = 0; i < KINDS; i++)
        c.kinds[i].name = kind_names[i];
    return c;
}

/* By the tensor's name, Hugging Face's or GGUF's; the first that fits. */
static int kind_of(const char *name)
{
    static const struct {
        const char *part;
        int kind;
    } parts[] = {{"norm", 3}, {"embed_tokens", 0}, {"token_embd", 0}, {"lm_head", 4}, {"attn", 1}, {"mlp", 2}, {"ffn", 2}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i].part))
            return parts[i].kind;
    return strncmp(name, "output.", 7) ? 5 : 4;
}

static struct tally *type_tally(struct census *c, const char *type)
{
    int i = 0;
    while (i < c->n_types && strcmp(c->types[i].name, type))
        i++;
    if (i == c->n_types)
        c->types[c->n_types++].name = type;
    return &c->types[i];
}

static void count(struct census *c, const char *name, const char *type, uint64_t parameters, uint64_t bytes)
{
    struct tally *tallies[] = {&c->kinds[kind_of(name)], type_tally(c, type)};
    for (int i = 0; i < 2; i++) {
        tallies[i]->tensors++;
        tallies[i]->parameters += (long long)parameters;
        tallies[i]->bytes += (long long)bytes;
    }
}

static long long census_parameters(const struct census *c)
{
    long long n = 0;
    for (int i = 0; i < KINDS; i++)
        n += c->kinds[i].parameters;
    return n;
}

static struct table *census_table(const char *title, const char *column, const struct tally *t, int n, long long parameters)
{
    struct table *out = table_new(title);
    table_column(out, column, "", 0);
    table_column(out, "tensors", "", 0);
    table_column(out, "parameters", "", 0);
    table_column(out, "share", "%", 3);
    table_column(out, "bytes", "B", 0);
    for (int i = 0; i < n; i++) {
        if (!t[i].tensors)
            continue;
        table_row(out);
        table_text(out, 0, t[i].name);
        table_int(out, 1, t[i].tensors);
        table_int(out, 2, t[i].parameters);
        table_real(out, 3, 100.0 * (double)t[i].parameters / (double)parameters);
        table_int(out, 4, t[i].bytes);
    }
    return out;
}

/* ---- what the model says of itself */

static void say(struct table *t, const char *what, const char *value)
{
    table_row(t);
    table_text(t, 0, what);
    table_text(t, 1, value);
}

static void say_int(struct table *t, const char *what, long long value)
{
    table_row(t);
    table_text(t, 0, what);
    table_int(t, 1, value);
}

static void say_real(struct table *t, const char *what, double value)
{
    table_row(t);
    table_text(t, 0, what);
    table_real(t, 1, value);
}

static struct table *new_facts(void)
{
    struct table *t = table_new(NULL);
    table_column(t, "what", "", 0);
    table_column(t, "value", "", 6);
    return t;
}

static void say_config(struct table *t, const struct model_config *c)
{
    const struct {
        const char *what;
        int value;
    } numbers[] = {{"layers", c->layers}, {"width", c->dim}, {"ffn width", c->ffn}, {"heads", c->heads}, {"kv heads", c->kv_heads},
                   {"head width", c->head_dim}, {"vocabulary", c->vocab}, {"context", c->context}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        say_int(t, numbers[i].what, numbers[i].value);
    say(t, "head", c->tied ? "the embedding" : "its own");
    say_real(t, "rotary base", (double)c->rope_base);
    say_real(t, "norm epsilon", (double)c->norm_eps);
}

static int print(const struct options *o, struct table *facts, const struct census *c)
{
    long long parameters = census_parameters(c);
    struct table *tables[] = {facts, census_table("Parameters by kind", "kind", c->kinds, KINDS, parameters),
                              census_table("Bytes by tensor type", "type", c->types, c->n_types, parameters)};
    int code = options_print(o, tables, 3);
    table_free(tables[1]);
    table_free(tables[2]);
    return code;
}

/* ---- a model of qbench's own */

static const char *tokenizer_words(const struct tokenizer *t)
{
    const struct vocab *v = t ? tokenizer_vocab(t) : NULL;
    return !v ? "none" : v->kind == TOKENIZER_PIECES ? "SentencePiece-style" : v->pre && !strcmp(v->pre, "qbench") ? "byte pairs" : "byte-level pairs";
}

static int info_checkpoint(const struct options *o, const struct checkpoint *c)
{
    struct census census = census_begin();
    struct stat st;
    struct table *t = new_facts();
    const struct weights *w = c->weights;
    const char *kind = json_string_value(json_object_get(c->provenance, "kind"));
    for (int i = 0; i < weights_tensors(&w->config); i++) {
        struct tensor x = weights_tensor(w, i);
        uint64_t n = (uint64_t)x.rows * (uint64_t)x.cols;
        count(&census, x.name, "F32", n, n * sizeof(float));
    }
    say(t, "hash", c->hash);
    say(t, "architecture", "llama");
    if (w->config.preset[0])
        say(t, "preset", w->config.preset);
    if (kind)
        say(t, "kind", kind);
    say_int(t, "parameters", (long long)w->count);
    say_config(t, &w->config);
    say(t, "tokenizer", tokenizer_words(c->tokenizer));
    if (c->path[0]) {
        say(t, "file", c->path);
        if (stat(c->path, &st) == 0)
            say_int(t, "file bytes", (long long)st.st_size);
    }
    int code = print(o, t, &census);
    table_free(t);
    return code;
}

/* ---- a GGUF file */

static void say_text(struct table *t, const char *what, const struct gguf *g, const char *key)
{
    struct gguf_string x;
    char text[256];
    if (gguf_text(g, key, &x, NULL) == ST_OK)
        say(t, what, gguf_show(x, text, sizeof text));
}

static void say_gguf(struct table *t, const struct gguf *g, const struct census *c)
{
    struct model_config config;
    struct err why = {0};
    struct gguf_items tokens;
    char reads[1200] = "yes";
    say_text(t, "architecture", g, "general.architecture");
    say_text(t, "name", g, "general.name");
    say_int(t, "parameters", census_parameters(c));
    if (gguf_llama_check(&config, g, &why) == ST_OK)
        say_config(t, &config);
    else
        snprintf(reads, sizeof reads, "no: %s", why.text);
    say(t, "qbench reads it", reads);
    say_text(t, "tokenizer", g, "tokenizer.ggml.model");
    if (gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, NULL) == ST_OK)
        say_int(t, "tokens", (long long)tokens.left);
    say(t, "file", gguf_path(g));
    say_int(t, "GGUF version", gguf_version(g));
    say_int(t, "files", gguf_parts(g));
    say_int(t, "file bytes", (long long)gguf_bytes(g));
}

static int info_gguf(const struct options *o, const struct gguf *g)
{
    struct census census = census_begin();
    struct err e = {0};
    char hash[17];
    if (gguf_hash(g, hash, &e) != ST_OK)
        return complain(&e);
    for (size_t i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *x = gguf_tensor(g, i);
        count(&census, x->name, gtype_info(x->type)->name, x->shape[0] * gguf_tensor_rows(x), x->bytes);
    }
    struct table *t = new_facts();
    say(t, "hash", hash);
    say_gguf(t, g, &census);
    int code = print(o, t, &census);
    table_free(t);
    return code;
}

/* ---- the verb */

struct arguments {
    struct options options;
    const char *model;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->options; return 0;
    case ARGP_KEY_ARG: model_argument(state, &a->model, arg); return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_failure(state, EXIT_USAGE, 0, "name a model or a file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* By its first bytes; a file that is not there, by its name, so that the message is about the file. */
static bool is_gguf(const char *path)
{
    char magic[4];
    size_t n = strlen(path);
    FILE *f = fopen(path, "rb");
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);
    if (f)
        fclose(f);
    return is || (n > 5 && !strcmp(path + n - 5, ".gguf"));
}

int model_info(int argc, char **argv)
{
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        NULL, parse, "MODEL",
        "What a model is made of: architecture, shapes, parameters by kind, bytes by tensor type, content hash. MODEL is a GGUF file "
        "(any split of it), or what `qbench model export` takes.\v"
        "Examples:\n"
        "  qbench model info 1m\n"
        "  qbench model info llama-q4_k.gguf --format json\n",
        children, NULL, NULL};
    struct arguments a = {0};
    struct err e = {0};
    struct checkpoint c;
    struct gguf *g;
    int code;
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    if (is_gguf(a.model)) {
        code = gguf_open(&g, a.model, &e) == ST_OK ? info_gguf(&a.options, g) : complain(&e);
        gguf_close(g);
    } else {
        code = model_by_name(&c, a.model, &a.options, &e) == ST_OK ? info_checkpoint(&a.options, &c) : complain(&e);
        checkpoint_close(&c);
    }
    return code;
}
