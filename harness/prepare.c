/* prepare.c — before measuring: every model that the cases name is found, or trained into the cache. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "prepare.h"
#include "progress.h"
#include "run.h"
#include "text.h"
#include "words.h"
#include "work_model.h"

void show_training(void *ctx, const struct train_progress *p)
{
    struct trainer_line *l = ctx;
    char left[32];
    double now = now_seconds();
    bool last = p->step == p->steps;
    if (l->quiet || (!last && now - l->printed < (l->terminal ? 0.5 : 10)))
        return;
    l->printed = now;
    progress_duration(p->seconds_left, left, sizeof left);
    fprintf(stderr, "%straining %s: step %ld/%ld  loss %.4f  %.0f tokens/s  %s left", l->terminal ? "\r\033[K" : "", p->what, p->step, p->steps,
            p->smooth_loss, p->tokens_per_second, left);
    if (isfinite(p->valid_loss))
        fprintf(stderr, "  valid %.4f", p->valid_loss);
    fputs(l->terminal && !last ? "" : "\n", stderr);
    fflush(stderr);
}

/* What decides which checkpoints a case needs. */
static void need_of(const struct bench_case *c, char *buf, size_t n)
{
    const struct settings *s = &c->settings;
    int used = snprintf(buf, n, "%s|%s|%ld|%ld", case_text(c, "model"), s->train_text, s->train_tokens, s->train_seed);
    if (model_qat(c))
        snprintf(buf + used, n - (size_t)used, "|%s|%s|%ld|%s|%s|%ld|%ld", case_text(c, "method"), case_text(c, "format"), case_int(c, "group"),
                 case_text(c, "zero_point"), case_text(c, "act"), case_int(c, "tune_tokens"), case_int(c, "seed"));
    else if (case_is(c, "tune", "float"))
        snprintf(buf + used, n - (size_t)used, "|float|%ld|%ld", case_int(c, "tune_tokens"), case_int(c, "seed"));
}

struct known_text {
    char asked[CASE_VALUE_MAX], name[64], hash[17];
};

struct need {
    char text[512];
    char model[CASE_VALUE_MAX]; /* identity of the base, once known */
    char path[1024], tuned[1024];
    char skip[sizeof ((struct bench_case *)0)->skip];
};

static const struct need *find_need(const struct need *needs, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(needs[i].text, text))
            return &needs[i];
    return NULL;
}

static enum status record(struct store *store, const struct checkpoint *c, const char *name, struct err *e)
{
    const char *kind = json_string_value(json_object_get(c->provenance, "kind"));
    if (!store || !c->weights)
        return ST_OK;
    return store_model(store, c->hash, name, kind ? kind : "trained", c->provenance, c->path, e);
}

static enum status meet(struct need *need, struct bench_case *c, struct zoo *z, struct store *store, struct err *e)
{
    struct checkpoint base = {0}, tuned = {0};
    char name[CASE_VALUE_MAX];
    enum status st = model_prepare(c, z, &base, &tuned, e);
    snprintf(need->model, sizeof need->model, "%s", case_text(c, "model"));
    snprintf(need->path, sizeof need->path, "%s", c->settings.model_path);
    snprintf(need->tuned, sizeof need->tuned, "%s", c->settings.tuned_path);
    snprintf(need->skip, sizeof need->skip, "%s", c->skip);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(need->model, "@"), need->model);
    if (st == ST_OK)
        st = record(store, &base, name, e);
    if (st == ST_OK)
        st = record(store, &tuned, name, e);
    checkpoint_close(&tuned);
    checkpoint_close(&base);
    return st;
}

/* A text enters a key by its content, as a model does: python@<hash>. Where it lies goes along in the settings. */
static enum status identify_text(struct bench_case *c, const char *corpora, struct known_text *known, size_t *n_known, struct err *e)
{
    char asked[CASE_VALUE_MAX], identity[CASE_VALUE_MAX];
    struct corpus corpus;
    size_t i = 0;
    snprintf(asked, sizeof asked, "%s", case_text(c, "text"));
    if (strchr(asked, '@') && !strchr(asked, '/'))
        return ST_OK;
    while (i < *n_known && strcmp(known[i].asked, asked))
        i++;
    if (i == *n_known) {
        enum status st = corpus_open(&corpus, asked, corpora, e);
        if (st != ST_OK)
            return st;
        snprintf(known[i].asked, sizeof known[i].asked, "%s", asked);
        snprintf(known[i].name, sizeof known[i].name, "%s", corpus.name);
        snprintf(known[i].hash, sizeof known[i].hash, "%s", corpus.hash);
        corpus_close(&corpus);
        ++*n_known;
    }
    snprintf(identity, sizeof identity, "%.*s@%s", (int)strcspn(known[i].name, "@"), known[i].name, known[i].hash);
    for (char *blank = identity; (blank = strpbrk(blank, " \t"));)
        *blank = '_';
    if (strcmp(known[i].name, asked)) /* a path, not a corpus of ours */
        snprintf(c->settings.text_path, sizeof c->settings.text_path, "%s", asked);
    return case_set(c, "text", identity, e);
}

/* Where nothing is to be run (must_exist false), a text that is not there yet keeps its name alone. */
static enum status identify_texts(struct bench_case *cases, size_t n, const char *corpora, bool must_exist, struct err *e)
{
    struct known_text *known = calloc(n + 1, sizeof *known);
    size_t n_known = 0;
    enum status st = known ? ST_OK : fail(e, ST_ENOMEM, "no memory for %zu cases", n);
    for (size_t i = 0; st == ST_OK && i < n; i++)
        if (!cases[i].skip[0] && words_has(cases[i].work->axes, "text")) {
            struct err missing = {0};
            st = identify_text(&cases[i], corpora, known, &n_known, &missing);
            if (st == ST_ENOENT && !must_exist)
                st = ST_OK;
            else if (st != ST_OK)
                fail(e, st, "%s", missing.text);
            case_make_key(&cases[i]);
        }
    free(known);
    return st;
}

enum status prepare_models(struct bench_case *cases, size_t n, bool train, struct store *store, volatile const int *stop, bool quiet, struct err *e)
{
    char models[1024], corpora[1024], text[512];
    struct trainer_line line = {.quiet = quiet, .terminal = isatty(2)};
    struct need *needs = calloc(n + 1, sizeof *needs);
    size_t n_needs = 0;
    host_path(models, sizeof models, "cache/models");
    host_path(corpora, sizeof corpora, "cache/corpus");
    struct zoo z = {.models = models, .corpora = corpora, .train = train, .stop = stop, .progress = show_training, .progress_ctx = &line};
    enum status st = needs ? identify_texts(cases, n, corpora, train, e) : fail(e, ST_ENOMEM, "no memory for %zu cases", n); /* cheap: before training */
    if (st == ST_OK)
        st = par_open(&z.par, host_cpus(), e);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        struct bench_case *c = &cases[i];
        if (c->skip[0] || !words_has(c->work->axes, "model"))
            continue;
        need_of(c, text, sizeof text);
        const struct need *met = find_need(needs, n_needs, text);
        if (met) {
            snprintf(c->settings.model_path, sizeof c->settings.model_path, "%s", met->path);
            snprintf(c->settings.tuned_path, sizeof c->settings.tuned_path, "%s", met->tuned);
            snprintf(c->skip, sizeof c->skip, "%s", met->skip);
            st = case_set(c, "model", met->model, e);
            case_make_key(c);
            continue;
        }
        snprintf(needs[n_needs].text, sizeof needs->text, "%s", text);
        st = meet(&needs[n_needs++], c, &z, store, e);
    }
    par_close(z.par);
    free(needs);
    return st;
}
