/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "host.h"
#include "model_file.h"
#include "model_verbs.h"
#include "store.h"

enum { OPT_TOKENIZER = 1, OPT_NAME };

struct arguments {
    struct options options;
    const char *model, *tokenizer, *name;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->options; return 0;
    case OPT_TOKENIZER: a->tokenizer = arg; return 0;
    case OPT_NAME:
        a->name = arg;
        if (!*arg || strlen(arg) > 40 || strspn(arg, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(arg))
            argp_failure(state, EXIT_USAGE, 0, "--name: '%s' is not of 1 to 40 letters, digits and '_'", arg);
        return 0;
    case ARGP_KEY_ARG: model_argument(state, &a->model, arg); return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_failure(state, EXIT_USAGE, 0, "name a file or a folder");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static enum status remember(const struct arguments *a, const struct checkpoint *c, const char *name, struct err *e)
{
    struct store *store;
    const char *kind = json_string_value(json_object_get(c->provenance, "kind"));
    enum status s = store_open(&store, a->options.db, STORE_WRITE, e);
    if (s)
        return s;
    s = store_model(store, c->hash, name, kind ? kind : "imported", c->provenance, c->path, e);
    store_close(store);
    return s;
}

static enum status import(const struct arguments *a, struct checkpoint *c, char name[41], struct err *e)
{
    char models[1024];
    host_path(models, sizeof models, "cache/models");
    enum status s = model_load(c, a->model, a->tokenizer, e);
    if (s)
        return s;
    model_file_name(name, a->model);
    if (a->name) {
        snprintf(name, 41, "%s", a->name);
        json_object_set_new(c->provenance, "name", json_string(name));
    }
    s = cache_put(models, c, e);
    return s ? s : remember(a, c, name, e);
}

int model_import(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"tokenizer", OPT_TOKENIZER, "FILE", 0, "Its tokenizer: GGUF, tokenizer.json, llama2.c's tokenizer.bin, vocab.bpe (default: what lies in or beside "
                                               "the model)", 0},
        {"name", OPT_NAME, "NAME", 0, "What to call it (default: by its file or folder)", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "PATH",
        "Takes a model of another program into the cache, with its tokenizer, and prints the name that suites know it by. PATH is a GGUF file, "
        "a llama2.c checkpoint, a Hugging Face folder of LlamaForCausalLM, or a file of qbench's own.\v"
        "Examples:\n"
        "  qbench model import stories260K.bin --tokenizer tok512.bin\n"
        "  qbench model import llama-q4_k.gguf --name llama\n"
        "  qbench run quick --set model=llama@0123456789abcdef\n",
        children, NULL, NULL};
    struct arguments a = {0};
    struct err e = {0};
    struct checkpoint c = {0};
    char name[41];
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    enum status s = import(&a, &c, name, &e);
    if (!s) {
        const char *missing = json_string_value(json_object_get(c.provenance, "no_tokenizer"));
        printf("%s@%s\n", name, c.hash);
        if (missing)
            fprintf(stderr, "qbench model import: without a tokenizer (%s): speed can be measured, quality cannot\n", missing);
    }
    checkpoint_close(&c);
    return s ? complain(&e) : EXIT_OK;
}
