/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "zoo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { RECIPE_MAX = 1024 };

static void state_path(const struct zoo *z, const char *recipe, char *buf, size_t n)
{
    snprintf(buf, n, "%s/%016llx.state", z->models, (unsigned long long)XXH3_64bits(recipe, strlen(recipe)));
}

/* Fills what the zoo decides; leaves the recipe in recipe. */
static void complete(const struct zoo *z, struct train_spec *s, char *recipe, char *state, size_t state_size)
{
    train_recipe(s, par_threads(z->par), recipe, RECIPE_MAX);
    state_path(z, recipe, state, state_size);
    s->state_path = state;
    s->save_seconds = 30;
    s->resume = true;
    s->stop = z->stop;
    s->progress = z->progress;
    s->progress_ctx = z->progress_ctx;
}

static enum status train_into_cache(struct zoo *z, struct train_spec *s, const char *recipe, struct checkpoint *out, struct err *e)
{
    if (!z->train)
        return fail(e, ST_ENOENT, "no model with the recipe '%s' in %s; `qbench train` makes one", recipe, z->models);
    enum status st = make_folder(z->models, e); /* the state of an interrupted training goes there too */
    if (st == ST_OK && access(z->models, W_OK | X_OK) != 0)
        st = fail(e, ST_EIO, "%s cannot be written: %s; training would be lost", z->models, strerror(errno));
    if (st == ST_OK)
        st = train_run(out, s, z->par, e);
    if (st == ST_OK)
        st = cache_put(z->models, out, e);
    if (st == ST_OK)
        unlink(s->state_path); /* not before the model is safe */
    else
        checkpoint_close(out);
    return st;
}

static enum status get(struct zoo *z, struct train_spec *s, struct checkpoint *out, struct err *e)
{
    char recipe[RECIPE_MAX], state[1024], path[1024];
    struct err missing = {0};
    complete(z, s, recipe, state, sizeof state);
    enum status st = cache_find_recipe(z->models, recipe, path, sizeof path, &missing);
    if (st == ST_OK)
        return checkpoint_load(out, path, e);
    return st == ST_ENOENT ? train_into_cache(z, s, recipe, out, e) : fail(e, st, "%s", missing.text);
}

static struct train_spec spec_of(const struct zoo_request *r, const struct corpus *c)
{
    return (struct train_spec){.preset = r->preset, .corpus = c, .tokens = r->tokens, .seed = r->seed, .weight_decay = -1, .beta1 = -1,
                               .beta2 = -1, .clip = -1, .warmup = -1, .final_lr = -1, .extra_recipe = ""};
}

enum status zoo_trained(struct zoo *z, const struct zoo_request *r, struct checkpoint *out, struct err *e)
{
    struct corpus corpus;
    enum status st = corpus_open(&corpus, r->text, z->corpora, e);
    if (st != ST_OK)
        return st;
    struct train_spec s = spec_of(r, &corpus);
    st = get(z, &s, out, e);
    corpus_close(&corpus);
    return st;
}

enum status zoo_find_trained(struct zoo *z, const struct zoo_request *r, char *path, size_t n, struct err *e)
{
    struct corpus corpus;
    char recipe[RECIPE_MAX], state[1024];
    enum status st = corpus_open(&corpus, r->text, z->corpora, e);
    if (st != ST_OK)
        return st;
    struct train_spec s = spec_of(r, &corpus);
    complete(z, &s, recipe, state, sizeof state);
    st = cache_find_recipe(z->models, recipe, path, n, e);
    corpus_close(&corpus);
    return st;
}

enum status zoo_corpus(const struct checkpoint *c, const char *text, const char *corpora, struct corpus *out, struct err *e)
{
    const char *name = json_string_value(json_object_get(c->provenance, "text")), *path = json_string_value(json_object_get(c->provenance, "text_path"));
    const char *hash = json_string_value(json_object_get(c->provenance, "text_hash"));
    if (!name || !hash)
        return corpus_open(out, text, corpora, e);
    enum status st = corpus_open(out, path ? path : name, corpora, e);
    if (st == ST_OK && strcmp(out->hash, hash)) {
        st = fail(e, ST_EFORMAT, "%s has changed since model %s was trained on it (content %s then, %s now); train again", path ? path : name,
                  c->hash, hash, out->hash);
        corpus_close(out);
    }
    return st;
}

enum status zoo_tuned(struct zoo *z, const struct checkpoint *base, const char *text, const struct qspec *spec, long tokens, uint64_t seed,
                      struct checkpoint *out, struct err *e)
{
    struct corpus corpus;
    struct fake_quant fake = {0};
    char extra[160] = "tune=float";
    if (spec)
        snprintf(extra, sizeof extra, "tune=%s format=%s group=%d%s%s", spec->method->name, formats[spec->format].name, spec->group,
                 spec->zero_point ? " zero_point=on" : "", spec->weight_only ? " act=bf16" : "");
    enum status st = zoo_corpus(base, text, z->corpora, &corpus, e);
    if (st != ST_OK)
        return st;
    if (spec)
        st = spec->method->fake_quant(&fake, spec, &base->weights->config, e);
    /* Batches that the base has not begun with: its own seed would draw them again. The same for every tuning of this base. */
    struct zoo_request none = {.tokens = tokens, .seed = (seed ^ XXH3_64bits(base->hash, strlen(base->hash))) & 0x7fffffff};
    struct train_spec s = spec_of(&none, &corpus);
    s.base = base;
    s.fake_quant = spec ? &fake : NULL;
    s.extra_recipe = extra;
    if (st == ST_OK)
        st = get(z, &s, out, e);
    if (spec && fake.ctx)
        spec->method->release(&fake);
    corpus_close(&corpus);
    return st;
}
