/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "host.h"
#include "model_file.h"
#include "model_verbs.h"
#include "words.h"
#include "zoo.h"

static const struct verb {
    const char *name, *title;
    int (*run)(int argc, char **argv);
} verbs[] = {
    {"info", "What a model or a GGUF file is made of", model_info},
    {"import", "Take a model of another program into the cache", model_import},
    {"export", "Write a model as a GGUF file", model_export},
    {"list", "The models of the cache folder", model_list},
    {"prune", "Remove models from the cache folder", model_prune},
};
enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

static void print_verbs(FILE *f)
{
    fputs("Usage: qbench model VERB [OPTION...]\nLook at, write and keep models.\n\n", f);
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(f, "  %-8s %s\n", verbs[i].name, verbs[i].title);
    fputs("\n`qbench model VERB --help` tells a verb's options.\n", f);
}

static int unknown(const char *word)
{
    struct nearest near = nearest_to(word);
    char hint[128];
    for (int i = 0; i < VERB_COUNT; i++)
        nearest_offer(&near, verbs[i].name);
    fprintf(stderr, "qbench model: unknown verb '%s'%s; `qbench model --help` lists them\n", word, nearest_hint(&near, hint, sizeof hint));
    return EXIT_USAGE;
}

int cmd_model(int argc, char **argv);
int cmd_model(int argc, char **argv)
{
    static char name[64];
    const char *word = argc > 1 ? argv[1] : "";
    bool help = !strcmp(word, "--help") || !strcmp(word, "-?") || !strcmp(word, "help");
    if (!*word || help) {
        print_verbs(help ? stdout : stderr);
        return help ? EXIT_OK : EXIT_USAGE;
    }
    for (int i = 0; i < VERB_COUNT; i++)
        if (!strcmp(word, verbs[i].name)) {
            snprintf(name, sizeof name, "%s %s", argv[0], word);
            argv[1] = name;
            return verbs[i].run(argc - 1, argv + 1);
        }
    return unknown(word);
}

/* ---- the model that a word names */

static bool is_preset(const char *name)
{
    for (int i = 0; config_preset_name(i); i++)
        if (!strcmp(config_preset_name(i), name))
            return true;
    return false;
}

static bool is_hash(const char *word) { return strlen(word) == 16 && strspn(word, "0123456789abcdef") == 16; }

static enum status find_trained(char *path, size_t n, const char *preset, const struct options *o, struct err *e)
{
    char models[1024], corpora[1024];
    host_path(models, sizeof models, "cache/models");
    host_path(corpora, sizeof corpora, "cache/corpus");
    struct zoo z = {.models = models, .corpora = corpora};
    struct zoo_request r = {.preset = preset, .text = "kjv", .seed = o->seed};
    struct err missing = {0};
    enum status s = par_open(&z.par, o->threads ? o->threads : host_cpus(), e);
    if (!s)
        s = zoo_find_trained(&z, &r, path, n, &missing);
    par_close(z.par);
    if (s == ST_ENOENT && !strncmp(missing.text, models, strlen(models)))
        return fail(e, s, "preset %s is not trained with this seed and number of threads; `qbench train %s` does it, `random:%s` "
                          "needs no training", preset, preset, preset);
    return s ? fail(e, s, "%s", missing.text) : ST_OK;
}

static enum status random_model(struct checkpoint *c, const char *preset, const struct options *o, struct err *e)
{
    struct par *par;
    enum status s = par_open(&par, o->threads ? o->threads : host_cpus(), e);
    if (s == ST_OK)
        s = checkpoint_random(c, preset, o->seed, par, e);
    par_close(par);
    return s;
}

enum status model_by_name_with(struct checkpoint *c, const char *name, const char *tokenizer, const struct options *o, struct err *e)
{
    char models[1024], path[1024];
    const char *at = strrchr(name, '@'), *hash = at ? at + 1 : name;
    *c = (struct checkpoint){0};
    if (!strncmp(name, "random:", 7))
        return random_model(c, name + 7, o, e);
    if (model_is_path(name))
        return model_load(c, name, tokenizer, e);
    host_path(models, sizeof models, "cache/models");
    enum status s;
    if (is_preset(name))
        s = find_trained(path, sizeof path, name, o, e);
    else if (is_hash(hash))
        s = cache_find_hash(models, hash, path, sizeof path, e);
    else
        s = fail(e, ST_EUSAGE, "model '%s' is neither a preset, nor random:PRESET, nor a file; `qbench list presets` and `qbench model list` "
                               "show what there is", name);
    return s ? s : model_load(c, path, tokenizer, e);
}

enum status model_by_name(struct checkpoint *c, const char *name, const struct options *o, struct err *e)
{
    return model_by_name_with(c, name, NULL, o, e);
}

void model_argument(struct argp_state *state, const char **model, char *arg)
{
    if (*model)
        argp_failure(state, EXIT_USAGE, 0, "one model at a time: '%s' is one too many", arg);
    *model = arg;
}

enum status quantize_by_words(struct qmodel *q, const struct weights *w, const struct quantize_words *words, struct par *par, struct err *e)
{
    const struct format_info *f = format_find(words->format);
    if (!f)
        return fail(e, ST_EUSAGE, "format '%s' is unknown; `qbench list formats` shows them", words->format);
    struct qspec spec = {.format = (enum format)(f - formats)};
    enum status s = ST_OK;
    if (f->qmax) {
        spec.method = quantizer_find(words->method);
        spec.group = words->group;
        if (!spec.method)
            return fail(e, ST_EUSAGE, "method '%s' is unknown; `qbench list methods` shows them", words->method);
        if (spec.method->family == FAMILY_QAT)
            return fail(e, ST_EUSAGE, "method %s trains; take one that does not, or a suite", words->method);
        s = qspec_check(&spec, e);
    }
    return s ? s : quantize(q, w, &spec, NULL, par, e);
}
