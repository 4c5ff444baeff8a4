/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "infer.h"
#include "interrupt.h"
#include "model_verbs.h"
#include "sample.h"

enum { OPT_PROMPT = 1, OPT_TOKENS, OPT_TEMPERATURE, OPT_TOP_K, OPT_TOP_P, OPT_WEIGHTS, OPT_GROUP, OPT_METHOD, OPT_TOKENIZER, OPT_IDS };

struct arguments {
    struct options options;
    const char *model, *prompt, *tokenizer, *weights, *method;
    long tokens, group, top_k;
    double temperature, top_p;
    bool ids;
};

static long whole(struct argp_state *state, const char *option, const char *arg, long least)
{
    char *end;
    errno = 0;
    long n = strtol(arg, &end, 10);
    if (errno || end == arg || *end || n < least || n > 1 << 20)
        argp_failure(state, EXIT_USAGE, 0, "%s: '%s' is not a whole number from %ld to %d", option, arg, least, 1 << 20);
    return n;
}

static double number(struct argp_state *state, const char *option, const char *arg)
{
    char *end;
    double x = strtod(arg, &end);
    if (end == arg || *end)
        argp_failure(state, EXIT_USAGE, 0, "%s: '%s' is not a number", option, arg);
    return x;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT: state->child_inputs[0] = &a->options; return 0;
    case OPT_PROMPT: a->prompt = arg; return 0;
    case OPT_TOKENS: a->tokens = whole(state, "--tokens", arg, 1); return 0;
    case OPT_TEMPERATURE: a->temperature = number(state, "--temperature", arg); return 0;
    case OPT_TOP_K: a->top_k = whole(state, "--top-k", arg, 0); return 0;
    case OPT_TOP_P: a->top_p = number(state, "--top-p", arg); return 0;
    case OPT_WEIGHTS: a->weights = arg; return 0;
    case OPT_GROUP: a->group = whole(state, "--group", arg, 0); return 0;
    case OPT_METHOD: a->method = arg; return 0;
    case OPT_TOKENIZER: a->tokenizer = arg; return 0;
    case OPT_IDS: a->ids = true; return 0;
    case ARGP_KEY_ARG: model_argument(state, &a->model, arg); return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_failure(state, EXIT_USAGE, 0, "name a model: a preset that is trained, or a model file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* What runs; closed by close_writer also after a failure. */
struct writer {
    const struct arguments *a;
    struct par *par;
    struct checkpoint model;
    struct qmodel q;
    struct infer *infer;
    struct sampler *sampler;
    struct id_list ids; /* the prompt's, then those that are drawn */
    float *logits;
    FILE *out;
};

static void close_writer(struct writer *w)
{
    infer_close(w->infer);
    sampler_close(w->sampler);
    if (w->q.linear)
        qmodel_free(&w->q);
    checkpoint_close(&w->model);
    id_list_free(&w->ids);
    mem_free(w->logits);
    par_close(w->par);
}

static enum status encode_prompt(struct writer *w, struct err *e)
{
    struct tokenizer *t = w->model.tokenizer;
    if (!t)
        return fail(e, ST_EUSAGE, "model %s has no tokenizer; give one by --tokenizer FILE", w->model.hash);
    const struct vocab *v = tokenizer_vocab(t);
    const char *prompt = w->a->prompt ? w->a->prompt : "";
    if ((v->add_bos || !*prompt) && v->bos >= 0 && !id_list_put(&w->ids, v->bos))
        return fail(e, ST_ENOMEM, "no memory for the prompt");
    enum status s = *prompt ? tokenizer_encode(t, prompt, strlen(prompt), 0, &w->ids, e) : ST_OK;
    int context = w->model.weights->config.context;
    if (!s && !w->ids.count)
        return fail(e, ST_EUSAGE, "the tokenizer has no beginning of sequence to start from; give a --prompt");
    if (!s && w->ids.count >= (size_t)context)
        return fail(e, ST_EUSAGE, "the prompt has %zu tokens, the model's context %d", w->ids.count, context);
    return s;
}

static enum status open_writer(struct writer *w, struct err *e)
{
    const struct arguments *a = w->a;
    const struct sampling how = {a->temperature, (int)a->top_k, a->top_p, a->options.seed};
    enum status s = par_open(&w->par, a->options.threads ? a->options.threads : host_cpus(), e);
    if (!s)
        s = model_by_name_with(&w->model, a->model, a->tokenizer, &a->options, e);
    if (!s)
        s = encode_prompt(w, e);
    if (!s)
        s = sampler_open(&w->sampler, &how, w->model.weights->config.vocab, e);
    if (!s)
        s = quantize_by_words(&w->q, w->model.weights, &(struct quantize_words){a->weights, a->method, (int)a->group}, w->par, e);
    if (s)
        return s;
    const struct model_config *c = &w->model.weights->config;
    int prompt = (int)w->ids.count, room = (int)(a->tokens < c->context - prompt ? prompt + a->tokens : c->context);
    w->logits = mem_alloc((size_t)c->vocab, sizeof *w->logits);
    if (!w->logits)
        return fail(e, ST_ENOMEM, "no memory for the logits");
    return infer_open(&w->infer, &w->q, NULL, &(struct infer_shape){.batch = 1, .max_tokens = room, .max_chunk = prompt}, w->par, e);
}

/* The text of one id; the first of a text without a prompt loses the space that encoding would put there. */
static void print_id(const struct writer *w, int32_t id, bool first)
{
    uint8_t room[4096];
    const struct tokenizer *t = w->model.tokenizer;
    unsigned flags = first ? 0 : TOKENIZER_CONTINUE;
    size_t n;
    if (w->a->ids)
        fprintf(w->out, "%d\n", id);
    else if ((n = tokenizer_decode(t, &id, 1, flags, NULL)) <= sizeof room)
        fwrite(room, 1, tokenizer_decode(t, &id, 1, flags, room), w->out);
    fflush(w->out);
}

static enum status next_id(struct writer *w, size_t from, int32_t *id, struct err *e)
{
    int vocab = w->model.weights->config.vocab;
    enum status s = infer_forward(w->infer, w->ids.id + from, (int)(w->ids.count - from), INFER_LAST, w->logits, e);
    for (int i = 0; !s && i < vocab; i++)
        if (!isfinite(w->logits[i]))
            s = fail(e, ST_EWRONG, "the logit of token %d is %g", i, (double)w->logits[i]);
    if (!s)
        *id = sampler_next(w->sampler, w->logits);
    return s;
}

static enum status write_on(struct writer *w, struct err *e)
{
    const struct vocab *v = tokenizer_vocab(w->model.tokenizer);
    const volatile int *stop = interrupt_flag();
    size_t from = 0, prompt = w->ids.count, context = (size_t)w->model.weights->config.context;
    bool written = w->a->prompt && *w->a->prompt;
    int32_t id;
    if (written && !w->a->ids)
        fputs(w->a->prompt, w->out);
    while (!*stop && w->ids.count < prompt + (size_t)w->a->tokens && w->ids.count < context) {
        enum status s = next_id(w, from, &id, e);
        if (s)
            return s;
        if (id == v->eos || id == v->bos)
            break;
        from = w->ids.count;
        if (!id_list_put(&w->ids, id))
            return fail(e, ST_ENOMEM, "no memory for the text");
        print_id(w, id, !written);
        written = true;
    }
    if (!w->a->ids)
        fputc('\n', w->out);
    return *stop ? fail(e, ST_EINTERRUPTED, "interrupted") : ST_OK;
}

static enum status generate(const struct arguments *a, struct err *e)
{
    struct writer w = {.a = a, .out = stdout};
    enum status s = open_writer(&w, e);
    if (!s && a->options.output && !(w.out = fopen(a->options.output, "w")))
        s = fail(e, ST_EIO, "%s: %s", a->options.output, strerror(errno));
    if (!s)
        s = write_on(&w, e);
    if (w.out && w.out != stdout && (ferror(w.out) | fclose(w.out)) && !s)
        s = fail(e, ST_EIO, "%s: %s", a->options.output, strerror(errno));
    close_writer(&w);
    return s;
}

int cmd_generate(int argc, char **argv);
int cmd_generate(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"prompt", OPT_PROMPT, "TEXT", 0, "What the text begins with (default: the beginning of a sequence)", 0},
        {"tokens", OPT_TOKENS, "N", 0, "At most N tokens, fewer where the text ends or the context is full (default: 128)", 0},
        {"temperature", OPT_TEMPERATURE, "T", 0, "0 takes the most likely token; above, tokens are drawn (default: 0)", 0},
        {"top-k", OPT_TOP_K, "K", 0, "Draw from the K most likely tokens (default: 0, all)", 0},
        {"top-p", OPT_TOP_P, "P", 0, "Draw from the fewest tokens whose probabilities reach P (default: 1)", 0},
        {"weights", OPT_WEIGHTS, "FORMAT", 0, "f32, bf16, int8, int4 … (default: f32)", 0},
        {"group", OPT_GROUP, "N", 0, "Columns per scale; 0 = one per output channel (default: 32)", 0},
        {"method", OPT_METHOD, "NAME", 0, "A method of `qbench list methods` that does not train (default: rtn)", 0},
        {"tokenizer", OPT_TOKENIZER, "FILE", 0, "A tokenizer instead of the model's own", 0},
        {"ids", OPT_IDS, 0, 0, "Print the ids of the tokens, a line each, instead of text", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "MODEL",
        "Goes on with a text. MODEL is a trained preset, a hash of the cache, or any file that `qbench model import` reads. "
        "The same seed draws the same text.\v"
        "Examples:\n"
        "  qbench generate 1m --prompt 'In the beginning'\n"
        "  qbench generate stories.gguf --weights int4 --group 32 --temperature 0.8 --top-p 0.9 --seed 3\n"
        "  qbench generate stories260K.bin --tokenizer tok512.bin --tokens 40 --ids\n",
        children, NULL, NULL};
    struct arguments a = {.tokens = 128, .group = 32, .top_p = 1, .weights = "f32", .method = "rtn"};
    struct err e = {0};
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    return generate(&a, &e) == ST_OK ? EXIT_OK : complain(&e);
}
