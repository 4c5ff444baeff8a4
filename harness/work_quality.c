/* Quality: NLL per token on held-out text, paired with the float model, with KL, top-1 agreement and real size. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "host.h"
#include "stats.h"
#include "work_model.h"

enum { RESAMPLES = 2000 };

struct job {
    struct model_job model;
    struct qmodel reference; /* the base in f32 */
    struct tokens tokens;
    struct quality quality;
    bool against_base;       /* false: this is the base in f32 itself */
    uint64_t seed;
};

static enum status resolve(struct bench_case *c, struct err *e)
{
    enum status st = model_resolve(c, e);
    if (st == ST_OK && model_is_random(c))
        return fail(e, ST_EUNSUPPORTED, "quality of random weights means nothing; it is never reported");
    if (st == ST_OK && case_int(c, "tokens") < 1)
        return fail(e, ST_EUSAGE, "tokens %ld: give a positive number of tokens to score", case_int(c, "tokens"));
    return st;
}

static void close_job(struct job *j)
{
    if (!j)
        return;
    quality_free(&j->quality);
    tokens_free(&j->tokens);
    if (j->reference.linear)
        qmodel_free(&j->reference);
    model_close(&j->model);
    free(j);
}

/* The text by its path, or by its name among the corpora; its content must be the one that the key names. */
static enum status open_text(struct job *j, const struct bench_case *c, struct err *e)
{
    char folder[1024], name[CASE_VALUE_MAX];
    struct corpus corpus;
    const char *text = case_text(c, "text"), *mark = strchr(text, '@'), *path = c->settings.text_path;
    host_path(folder, sizeof folder, "cache/corpus");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "@"), text);
    enum status st = corpus_open(&corpus, *path ? path : name, folder, e);
    if (st != ST_OK)
        return st;
    if (!j->model.base.tokenizer)
        st = fail(e, ST_EUNSUPPORTED, "model %s has no tokenizer; `qbench model import PATH --tokenizer FILE` gives it one", j->model.base.hash);
    else if (mark && strcmp(mark + 1, corpus.hash))
        st = fail(e, ST_EFORMAT, "text %s has the content %s now, and not %s as this case names it", name, corpus.hash, mark + 1);
    if (st == ST_OK)
        st = tokens_cut(&j->tokens, &corpus, SPLIT_TEST, j->model.base.tokenizer, (size_t)case_int(c, "tokens"), e);
    corpus_close(&corpus);
    return st;
}

static enum status open_job(struct job **out, const struct bench_case *c, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    *out = NULL;
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a case");
    j->seed = (uint64_t)case_int(c, "seed");
    enum status st = model_open(&j->model, c, e);
    j->against_base = !case_is(c, "format", "f32") || !case_is(c, "head", "f32") || !case_is(c, "kv", "f32") || j->model.used != &j->model.base;
    struct qspec f32 = {.format = FORMAT_F32};
    if (st == ST_OK)
        st = quantize(&j->reference, j->model.base.weights, &f32, NULL, j->model.par, e);
    if (st == ST_OK)
        st = open_text(j, c, e);
    if (st != ST_OK) {
        close_job(j);
        return st;
    }
    *out = j;
    return ST_OK;
}

static enum status evaluate(struct job *j, struct err *e)
{
    const struct model_config *c = &j->model.base.weights->config;
    int window = eval_window(c), batch = eval_batch(c, window);
    struct infer *model = NULL, *reference = NULL;
    struct infer_shape shape = {.batch = batch, .max_tokens = window, .max_chunk = batch * window, .kv = j->model.kv}, f32 = shape;
    f32.kv = KV_F32;
    enum status st = infer_open(&model, &j->model.q, j->model.kernel, &shape, j->model.par, e);
    if (st == ST_OK && j->against_base)
        st = infer_open(&reference, &j->reference, NULL, &f32, j->model.par, e);
    if (st == ST_OK)
        st = eval_quality(&j->quality, model, reference, &j->tokens, j->model.base.tokenizer, window, batch, c->vocab, j->model.par, e);
    infer_close(model);
    infer_close(reference);
    return st;
}

static enum status check_finite(const struct quality *q, struct err *e)
{
    for (size_t i = 0; i < q->n; i++)
        if (!isfinite(q->nll[i]))
            return fail(e, ST_EWRONG, "the NLL of scored token %zu is %g", i, q->nll[i]);
    return ST_OK;
}

static enum status emit_nll(const struct job *j, struct emitter *m, struct err *e)
{
    const struct quality *q = &j->quality;
    double *x = malloc((q->n + 1) * sizeof *x);
    int *block = malloc((q->n + 1) * sizeof *block);
    if (!x || !block) {
        free(x);
        free(block);
        return fail(e, ST_ENOMEM, "no memory for the interval of %zu tokens", q->n);
    }
    for (size_t i = 0; i < q->n; i++) {
        x[i] = q->nll[i];
        block[i] = q->block[i];
    }
    struct interval nll = stats_block_bootstrap(x, block, q->n, RESAMPLES, j->seed);
    emit_interval(m, "nll", "nat", nll.value, nll.lo, nll.hi);
    emit_interval(m, "perplexity", "", exp(nll.value), exp(nll.lo), exp(nll.hi));
    emit_value(m, "bits_per_byte", "bit", nll.value * (double)q->n / q->bytes / log(2));
    for (size_t i = 0; j->against_base && i < q->n; i++)
        x[i] = (double)q->nll[i] - (double)q->ref_nll[i];
    if (j->against_base) {
        struct interval delta = stats_block_bootstrap(x, block, q->n, RESAMPLES, j->seed);
        emit_interval(m, "delta_nll", "nat", delta.value, delta.lo, delta.hi);
    }
    free(x);
    free(block);
    return ST_OK;
}

static void emit_comparison(const struct job *j, struct emitter *m)
{
    static const char reference[] = "this is the float model that the others are compared with";
    if (j->against_base) {
        emit_value(m, "kl", "nat", j->quality.kl);
        emit_value(m, "kl_max", "nat", j->quality.kl_max);
        emit_value(m, "top1", "", j->quality.top1);
    } else {
        emit_missing(m, "delta_nll", "nat", reference);
        emit_missing(m, "kl", "nat", reference);
        emit_missing(m, "top1", "", reference);
    }
}

static enum status results(struct job *j, struct emitter *m, struct err *e)
{
    double start = now_seconds();
    enum status st = evaluate(j, e);
    if (st == ST_OK)
        st = check_finite(&j->quality, e);
    if (st == ST_OK)
        st = emit_nll(j, m, e);
    if (st != ST_OK)
        return st;
    const struct quality *q = &j->quality;
    emit_comparison(j, m);
    emit_value(m, "accuracy", "", q->accuracy);
    emit_value(m, "scored_tokens", "token", (double)q->n);
    emit_value(m, "eval_seconds", "s", now_seconds() - start);
    emit_blob(m, "nll", "f32", q->nll, q->n * sizeof *q->nll);
    emit_blob(m, "block", "i32", q->block, q->n * sizeof *q->block);
    model_emit(&j->model, m);
    return ST_OK;
}

const struct work work_quality = {
    .name = "quality",
    .unit = "token",
    .title = "NLL, perplexity, KL and top-1 agreement on the held-out split of a text, paired with the float model",
    .axes = MODEL_AXES " text tokens",
    .resolve = resolve,
    .open = open_job,
    .results = results,
    .close = close_job,
};
