/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval_protocol.h"
#include "session.h"

enum { OPT_TEXT = 1, OPT_TOKENS, OPT_METHOD, OPT_WEIGHTS, OPT_GROUP, OPT_GAMMA, OPT_GAMMA_ON, OPT_TUNE, OPT_QUIET, OPT_PROTOCOL, OPT_SEPARATOR, OPT_CONTEXT, OPT_STRIDE, OPT_TOKENIZER };

/* Options that are axes of the quality work, passed on as a key. */
static const struct argp_option own[] = {
    {"text", OPT_TEXT, "TEXT", 0, "A corpus by name (kjv, python, man) or the path of a UTF-8 file; its test split is scored (default: kjv)", 0},
    {"tokens", OPT_TOKENS, "N", 0, "Score N tokens (default: 16384)", 0},
    {"weights", OPT_WEIGHTS, "FORMAT", 0, "f32, int8, int4 (default: f32)", 0},
    {"group", OPT_GROUP, "N", 0, "Columns per scale; 0 = one per output channel", 0},
    {"method", OPT_METHOD, "NAME", 0, "A row of `qbench list methods` (default: rtn)", 0},
    {"gamma", OPT_GAMMA, "KIND", 0, "off, tensor, channel", 0},
    {"gamma-on", OPT_GAMMA_ON, "WHAT", 0, "weight, act", 0},
    {"tune", OPT_TUNE, "KIND", 0, "none, float (the control of QAT)", 0},
    {"protocol", OPT_PROTOCOL, "NAME", 0, "Score all of the text file as published figures do: chunk, gptq, llama.cpp, strided, doc; nothing is stored then", 0},
    {"doc-separator", OPT_SEPARATOR, "TEXT", 0, "What stands between the documents of the file (with --protocol)", 0},
    {"context", OPT_CONTEXT, "N", 0, "Longest window (with --protocol; default: the protocol's, else the model's context)", 0},
    {"stride", OPT_STRIDE, "N", 0, "How far windows lie apart (with --protocol strided; default: half the context)", 0},
    {"tokenizer", OPT_TOKENIZER, "FILE", 0, "A tokenizer instead of the model's own (with --protocol; `qbench model import` otherwise)", 0},
    {"quiet", OPT_QUIET, 0, 0, "No progress on the standard error", 0},
    {0},
};
static const char *const axis_of[] = {
    [OPT_TEXT] = "text", [OPT_TOKENS] = "tokens", [OPT_METHOD] = "method", [OPT_WEIGHTS] = "format",
    [OPT_GROUP] = "group", [OPT_GAMMA] = "gamma", [OPT_GAMMA_ON] = "gamma_on", [OPT_TUNE] = "tune",
};

struct arguments {
    struct options options;
    const char *model, *value[OPT_QUIET];
    bool quiet;
    struct eval_protocol p;
};

static int positive(struct argp_state *state, const char *option, const char *arg)
{
    char *end;
    errno = 0;
    long n = strtol(arg, &end, 10);
    if (errno || end == arg || *end || n < 1 || n > 1 << 20)
        argp_failure(state, EXIT_USAGE, 0, "%s: '%s' is not a whole number from 1 to %d", option, arg, 1 << 20);
    return (int)n;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    if (key >= OPT_TEXT && key < OPT_QUIET) {
        a->value[key] = arg;
        return 0;
    }
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->options;
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case OPT_PROTOCOL: a->p.protocol = arg; return 0;
    case OPT_SEPARATOR: a->p.separator = arg; return 0;
    case OPT_CONTEXT: a->p.context = positive(state, "--context", arg); return 0;
    case OPT_STRIDE: a->p.stride = positive(state, "--stride", arg); return 0;
    case OPT_TOKENIZER: a->p.tokenizer = arg; return 0;
    case ARGP_KEY_ARG:
        if (a->model)
            argp_failure(state, EXIT_USAGE, 0, "one model at a time: '%s' is one too many", arg);
        a->model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_failure(state, EXIT_USAGE, 0, "name a model: a preset that is trained, or a model file");
        if (!a->p.protocol && (a->p.separator || a->p.context || a->p.stride || a->p.tokenizer))
            argp_failure(state, EXIT_USAGE, 0, "--doc-separator, --context, --stride and --tokenizer go with --protocol");
        if (a->p.protocol && !a->value[OPT_TEXT])
            argp_failure(state, EXIT_USAGE, 0, "--protocol scores a file: name it by --text");
        for (int i = OPT_TEXT; a->p.protocol && i < OPT_QUIET; i++)
            if (a->value[i] && i != OPT_TEXT && i != OPT_WEIGHTS && i != OPT_GROUP && i != OPT_METHOD)
                argp_failure(state, EXIT_USAGE, 0, "--%s does not go with --protocol", own[i - 1].name);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum status make_case(struct bench_case *c, const struct arguments *a, struct err *e)
{
    enum status st = case_parse(c, "work=quality", e);
    if (st == ST_OK)
        st = case_set(c, "model", a->model, e);
    for (int i = OPT_TEXT; st == ST_OK && i < OPT_QUIET; i++)
        if (a->value[i])
            st = case_set(c, axis_of[i], a->value[i], e);
    if (st == ST_OK)
        st = session_override_case(&a->options, c, e);
    return st == ST_OK ? case_resolve(c, e) : st;
}

int cmd_eval(int argc, char **argv)
{
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "MODEL",
        "Quality of a model on held-out text: NLL with its interval, perplexity, bits per byte, KL and top-1 agreement with the float model.\v"
        "Examples:\n"
        "  qbench eval 1m\n"
        "  qbench eval 1m --weights int4 --group 32 --method mse --gamma channel\n"
        "  qbench eval 1m --text notes.txt --tokens 4096 --format json\n"
        "  qbench eval llama.gguf --text wiki.test.raw --protocol llama.cpp\n",
        children, NULL, NULL};
    struct arguments a = {0};
    struct bench_case c;
    struct err e = {0};
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    if (a.p.protocol) {
        a.p.text = a.value[OPT_TEXT];
        a.p.words = (struct quantize_words){a.value[OPT_WEIGHTS] ? a.value[OPT_WEIGHTS] : "f32", a.value[OPT_METHOD] ? a.value[OPT_METHOD] : "rtn",
                                            a.value[OPT_GROUP] ? atoi(a.value[OPT_GROUP]) : 0};
        return eval_protocol(a.model, &a.p, &a.options);
    }
    if (make_case(&c, &a, &e) != ST_OK)
        return complain(&e);
    struct suite one = {.name = "eval", .text = c.key, .cases = &c, .count = 1};
    struct session s = {.options = &a.options, .suite = &one, .quiet = a.quiet, .argc = argc, .argv = argv};
    snprintf(one.hash, sizeof one.hash, "eval");
    return session_run(&s);
}
