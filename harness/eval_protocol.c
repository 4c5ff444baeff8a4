/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "eval_protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "host.h"
#include "infile.h"
#include "stats.h"

enum { RESAMPLES = 2000 };

struct run {
    const struct eval_protocol *p;
    const struct options *o;
    enum protocol_id protocol;
    struct par *par;
    struct checkpoint model;
    struct qmodel q, reference; /* reference: floats, where q is something else */
    struct windows windows;
    struct quality quality;
};

static void close_run(struct run *r)
{
    quality_free(&r->quality);
    windows_free(&r->windows);
    if (r->reference.linear)
        qmodel_free(&r->reference);
    if (r->q.linear)
        qmodel_free(&r->q);
    checkpoint_close(&r->model);
    par_close(r->par);
}

static enum status find_protocol(struct run *r, struct err *e)
{
    char list[128] = "";
    const struct protocol *found = protocol_find(r->p->protocol);
    for (int i = 0; i < PROTOCOL_COUNT; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "", protocols[i].name);
    if (!found)
        return fail(e, ST_EUSAGE, "protocol '%s' is unknown; take one of %s", r->p->protocol, list);
    r->protocol = (enum protocol_id)(found - protocols);
    return ST_OK;
}

static enum status plan(struct run *r, struct err *e)
{
    struct infile f;
    char *text = NULL;
    const struct protocol *protocol = &protocols[r->protocol];
    const struct model_config *c = &r->model.weights->config;
    int context = r->p->context ? r->p->context : protocol->context ? protocol->context : eval_window(c);
    if (!r->model.tokenizer)
        return fail(e, ST_EUSAGE, "model %s has no tokenizer; give one by --tokenizer FILE", r->model.hash);
    if (context > c->context)
        return fail(e, ST_EUSAGE, "protocol %s: windows of %d ids are longer than the model's context of %d; take a shorter --context",
                    protocol->name, context, c->context);
    enum status s = infile_open(&f, r->p->text, e);
    if (s)
        return s;
    if (!(text = malloc((size_t)f.bytes + 1)))
        s = fail(e, ST_ENOMEM, "%s: no memory", r->p->text);
    if (!s)
        s = infile_read(&f, text, (size_t)f.bytes, 0, e);
    struct protocol_text t = {.text = text, .bytes = (size_t)f.bytes, .separator = r->p->separator, .context = context, .stride = r->p->stride};
    struct err why = {0};
    if (!s && (s = protocol_plan(&r->windows, r->protocol, r->model.tokenizer, &t, &why)))
        fail(e, s, "%s: %s", r->p->text, why.text);
    free(text);
    infile_close(&f);
    return s;
}

static enum status score(struct run *r, struct err *e)
{
    const struct model_config *c = &r->model.weights->config;
    int window = r->windows.context, batch = eval_batch(c, window);
    struct infer *model = NULL, *reference = NULL;
    const struct infer_shape shape = {.batch = batch, .max_tokens = window, .max_chunk = batch * window};
    enum status s = infer_open(&model, &r->q, NULL, &shape, r->par, e);
    if (!s && r->reference.linear)
        s = infer_open(&reference, &r->reference, NULL, &shape, r->par, e);
    if (!s)
        s = eval_windows(&r->quality, model, reference, &r->windows, r->model.tokenizer, batch, c->vocab, r->par, e);
    infer_close(model);
    infer_close(reference);
    for (size_t i = 0; !s && i < r->quality.n; i++)
        if (!isfinite(r->quality.nll[i]))
            s = fail(e, ST_EWRONG, "the NLL of scored token %zu is %g", i, (double)r->quality.nll[i]);
    return s;
}

static enum status open_run(struct run *r, const char *model, struct err *e)
{
    const struct quantize_words f32 = {"f32", "rtn", 0};
    enum status s = find_protocol(r, e);
    if (!s)
        s = par_open(&r->par, r->o->threads ? r->o->threads : host_cpus(), e);
    if (!s)
        s = model_by_name_with(&r->model, model, r->p->tokenizer, r->o, e);
    if (!s && !strncmp(model, "random:", 7))
        s = fail(e, ST_EUNSUPPORTED, "quality of random weights means nothing; it is never reported");
    if (!s)
        s = plan(r, e);
    if (!s)
        s = quantize_by_words(&r->q, r->model.weights, &r->p->words, r->par, e);
    return !s && strcmp(r->p->words.format, "f32") ? quantize_by_words(&r->reference, r->model.weights, &f32, r->par, e) : s;
}

static void say(struct table *t, const char *what, const char *unit, double value)
{
    table_row(t);
    table_text(t, 0, what);
    table_real(t, 1, value);
    table_text(t, 2, unit);
}

static void say_interval(struct table *t, const char *what, const char *unit, double value, double lo, double hi)
{
    table_row(t);
    table_text(t, 0, what);
    table_interval(t, 1, value, lo, hi);
    table_text(t, 2, unit);
}

static void say_text(struct table *t, const char *what, const char *value)
{
    table_row(t);
    table_text(t, 0, what);
    table_text(t, 1, value);
}

static void say_count(struct table *t, const char *what, size_t value, const char *unit)
{
    table_row(t);
    table_text(t, 0, what);
    table_int(t, 1, (long long)value);
    table_text(t, 2, unit);
}

static enum status bootstrap(const struct quality *q, uint64_t seed, struct interval *nll, struct err *e)
{
    double *x = malloc((q->n + 1) * sizeof *x);
    int *block = malloc((q->n + 1) * sizeof *block);
    for (size_t i = 0; x && block && i < q->n; i++) {
        x[i] = q->nll[i];
        block[i] = q->block[i];
    }
    bool ok = x && block;
    if (ok)
        *nll = stats_block_bootstrap(x, block, q->n, RESAMPLES, seed);
    free(x);
    free(block);
    return ok ? ST_OK : fail(e, ST_ENOMEM, "no memory for the interval of %zu tokens", q->n);
}

static struct table *tell(const struct run *r, const struct interval *nll)
{
    const struct quality *q = &r->quality;
    struct table *t = table_new(NULL);
    table_column(t, "what", "", 0);
    table_column(t, "value", "", 7);
    table_column(t, "unit", "", 0);
    say_text(t, "protocol", protocols[r->protocol].name);
    say_text(t, "model", r->model.hash);
    say_text(t, "tokenizer", tokenizer_hash(r->model.tokenizer));
    say_text(t, "plan", r->windows.hash);
    say_count(t, "context", (size_t)r->windows.context, "token");
    say_count(t, "windows", r->windows.count, "");
    say_count(t, "targets", q->n, "token");
    say_interval(t, "nll", "nat", nll->value, nll->lo, nll->hi);
    say_interval(t, "perplexity", "", exp(nll->value), exp(nll->lo), exp(nll->hi));
    say(t, "bits_per_byte", "bit", nll->value * (double)q->n / q->bytes / log(2));
    say(t, "accuracy", "", q->accuracy);
    if (q->ref_nll) {
        say(t, "kl", "nat", q->kl);
        say(t, "top1", "", q->top1);
    }
    table_note(t, "Mean NLL over all scored targets, with its 95 %% interval (bootstrap over windows). Figures compare under the same protocol, "
                  "context and tokenizer: the same plan.");
    return t;
}

int eval_protocol(const char *model, const struct eval_protocol *p, const struct options *o)
{
    struct run r = {.p = p, .o = o};
    struct err e = {0};
    struct interval nll;
    enum status s = open_run(&r, model, &e);
    if (!s)
        s = score(&r, &e);
    if (!s)
        s = bootstrap(&r.quality, o->seed, &nll, &e);
    if (s) {
        close_run(&r);
        return complain(&e);
    }
    struct table *t = tell(&r, &nll);
    int code = options_print(o, &t, 1);
    table_free(t);
    close_run(&r);
    return code;
}
