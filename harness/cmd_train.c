/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "interrupt.h"
#include "options.h"
#include "prepare.h"
#include "store.h"
#include "zoo.h"

enum { OPT_TOKENS = 1, OPT_TEXT, OPT_QUIET, OPT_RESUME };

struct arguments {
    struct options options;
    const char *preset, *text;
    long tokens;
    bool quiet;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->options;
        return 0;
    case OPT_TOKENS:
        a->tokens = strtol(arg, &end, 10);
        if (*end || a->tokens < 1)
            argp_failure(state, EXIT_USAGE, 0, "--tokens: '%s' is not a positive whole number", arg);
        return 0;
    case OPT_TEXT:
        a->text = arg;
        return 0;
    case OPT_RESUME: /* an interrupted training of the same recipe always goes on */
        return 0;
    case OPT_QUIET:
        a->quiet = true;
        return 0;
    case ARGP_KEY_ARG:
        if (a->preset)
            argp_failure(state, EXIT_USAGE, 0, "one preset at a time: '%s' is one too many", arg);
        a->preset = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->preset)
            argp_failure(state, EXIT_USAGE, 0, "name a preset; `qbench list presets` shows them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int print_model(const struct arguments *a, const struct checkpoint *c)
{
    static const char *const fields[] = {"kind", "parameters", "tokens", "seconds", "valid_loss", "text", "text_hash", "split", "seed", "recipe"};
    struct table *t = table_new(NULL);
    table_column(t, "what", "", 0);
    table_column(t, "value", "", 6);
    table_row(t);
    table_text(t, 0, "model");
    table_text(t, 1, c->hash);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *v = json_object_get(c->provenance, fields[i]);
        if (!v)
            continue;
        table_row(t);
        table_text(t, 0, fields[i]);
        if (json_is_string(v))
            table_text(t, 1, json_string_value(v));
        else if (json_is_integer(v))
            table_int(t, 1, json_integer_value(v));
        else if (json_is_real(v))
            table_real(t, 1, json_real_value(v));
    }
    table_row(t);
    table_text(t, 0, "file");
    table_text(t, 1, c->path);
    int code = options_print(&a->options, &t, 1);
    table_free(t);
    return code;
}

static enum status remember(const struct arguments *a, const struct checkpoint *c, struct err *e)
{
    struct store *store;
    enum status st = store_open(&store, a->options.db, STORE_WRITE, e);
    if (st != ST_OK)
        return st;
    st = store_model(store, c->hash, a->preset, "trained", c->provenance, c->path, e);
    store_close(store);
    return st;
}

int cmd_train(int argc, char **argv)
{
    static const struct argp_option own[] = {
        {"tokens", OPT_TOKENS, "N", 0, "Train on N tokens (default: by the preset's size)", 0},
        {"text", OPT_TEXT, "TEXT", 0, "A corpus by name (kjv, python, man) or the path of a UTF-8 file (default: kjv)", 0},
        {"resume", OPT_RESUME, 0, 0, "Go on where an interrupted training of the same recipe stopped (this is what happens anyway)", 0},
        {"quiet", OPT_QUIET, 0, 0, "No progress on the standard error", 0},
        {0},
    };
    static const struct argp_child children[] = {{&options_argp, 0, "Common options:", 10}, {0}};
    static const struct argp argp = {
        own, parse, "PRESET",
        "Trains a preset into the cache, unless a model of this very recipe is there. Ctrl-C saves; the same command goes on from there, to the same bits.\v"
        "Examples:\n"
        "  qbench train 1m\n"
        "  qbench train 3m --tokens 2000000 --text novel.txt --seed 7\n",
        children, NULL, NULL};
    struct arguments a = {.text = "kjv"};
    struct err e = {0};
    struct checkpoint c = {0};
    char models[1024], corpora[1024];
    options_default(&a.options);
    options_parse(&argp, argc, argv, &a);
    host_path(models, sizeof models, "cache/models");
    host_path(corpora, sizeof corpora, "cache/corpus");
    struct trainer_line line = {.quiet = a.quiet, .terminal = isatty(2)};
    struct zoo z = {.models = models, .corpora = corpora, .train = true, .stop = interrupt_flag(), .progress = show_training, .progress_ctx = &line};
    struct zoo_request r = {a.preset, a.text, a.tokens, a.options.seed};
    struct model_config config;
    enum status st = config_preset(&config, a.preset, &e);
    if (st == ST_OK)
        st = par_open(&z.par, a.options.threads ? a.options.threads : host_cpus(), &e);
    if (st == ST_OK)
        st = zoo_trained(&z, &r, &c, &e);
    if (st == ST_OK)
        st = remember(&a, &c, &e);
    int code = st == ST_OK ? print_model(&a, &c) : complain(&e);
    checkpoint_close(&c);
    par_close(z.par);
    return code;
}
