/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "gguf_llama.h"
#include "host.h"
#include "interrupt.h"
#include "model_verbs.h"
#include "tok_gguf.h"

/* --format and --output are this verb's own: they say what the model becomes, and where. argp prefers a parent's option. */
enum { OPT_FORMAT = 1, OPT_OUTPUT, OPT_TYPE, OPT_EMBED };

struct arguments {
    struct options options;
    const char *model, *output;
    enum gtype type, embed;
    bool has_embed;
};

static enum gtype parse_type(struct argp_state *state, const char *option, const char *word)
{
    static const enum gtype writable[] = {GTYPE_F32, GTYPE_F16, GTYPE_BF16, GTYPE_Q8_0, GTYPE_Q4_0};
    enum gtype type;
    if (gtype_find(word, &type))
        for (size_t i = 0; i < sizeof writable / sizeof writable[0]; i++)
            if (writable[i] == type)
                return type;
    argp_failure(state, EXIT_USAGE, 0, "%s: '%s' is none of f32, f16, bf16, q8_0, q4_0", option, word);
    return GTYPE_F32;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->options; return 0;
    case OPT_FORMAT:
        if (strcmp(arg, "gguf"))
            argp_failure(state, EXIT_USAGE, 0, "--format: '%s' cannot be written; it must be gguf", arg);
        return 0;
    case OPT_OUTPUT: a->output = arg; return 0;
    case OPT_TYPE: a->type = parse_type(state, "--type", arg); return 0;
    case OPT_EMBED:
        a->embed = parse_type(state, "--embed", arg);
        a->has_embed = true;
        return 0;
    case ARGP_KEY_ARG: model_argument(state, &a->model, arg); return 0;
    case ARGP_KEY_END:
        if (!a->model || !a->output)
            argp_failure(state, EXIT_USAGE, 0, a->model ? "say where to: --output FILE" : "name a model");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* qbench's own byte pairs go out under a pre-tokenizer that other programs know; every other tokenizer as it is. */
static enum status tokenizer_vocabulary(struct gguf_vocab *v, const struct tokenizer *t, struct err *e)
{
    struct bpe *own = NULL;
    char *text = tokenizer_save(t);
    enum status s = text ? ST_OK : fail(e, ST_ENOMEM, "no memory for a vocabulary");
    if (!s && *text == '{')
        s = tokenizer_to_gguf(v, t, e);
    else if (!s && !(s = bpe_load(&own, text, e)))
        s = gguf_vocab_bpe(v, own, e);
    bpe_free(own);
    free(text);
    return s;
}

static enum status make_vocab(struct gguf_vocab *v, const struct checkpoint *c, struct err *e)
{
    return c->tokenizer ? tokenizer_vocabulary(v, c->tokenizer, e) : gguf_vocab_dummy(v, c->weights->config.vocab, e);
}

static enum status export(const struct arguments *a, struct err *e)
{
    struct checkpoint c;
    struct gguf_vocab vocab = {0};
    struct par *par = NULL;
    enum status s = par_open(&par, a->options.threads ? a->options.threads : host_cpus(), e);
    if (!s)
        s = model_by_name(&c, a->model, &a->options, e);
    if (!s) {
        struct gguf_llama_file f = {.name = a->model, .matrices = a->type, .embed = a->embed, .vocab = &vocab, .par = par, .stop = interrupt_flag()};
        s = make_vocab(&vocab, &c, e);
        if (!s)
            s = gguf_llama_write(a->output, c.weights, &f, e);
        gguf_vocab_free(&vocab);
        checkpoint_close(&c);
    }
    par_close(par);
    return s;
}

int model_export(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"format", OPT_FORMAT, "FORM", 0, "gguf (the only one, and the default)", 0},
        {"output", OPT_OUTPUT, "FILE", 0, "The file to write", 0},
        {"type", OPT_TYPE, "TYPE", 0, "f32, f16, bf16, q8_0 or q4_0 for the layers' matrices, rounded to nearest (default: f32)", 0},
        {"embed", OPT_EMBED, "TYPE", 0, "The same for embedding and head (default: f32 for f32, f16 and bf16 for themselves, else q8_0)", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "MODEL --output FILE",
        "Writes a model as a GGUF file (architecture llama). MODEL is a trained preset, a file, a hash of the cache, or random:PRESET.\v"
        "Examples:\n"
        "  qbench model export 1m --output 1m.gguf\n"
        "  qbench model export random:1b --type q4_0 --output 1b-q4_0.gguf\n",
        children, NULL, NULL};
    struct arguments a = {.type = GTYPE_F32};
    struct err e = {0};
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    if (!a.has_embed)
        a.embed = a.type == GTYPE_Q4_0 ? GTYPE_Q8_0 : a.type;
    return export(&a, &e) == ST_OK ? EXIT_OK : complain(&e);
}
