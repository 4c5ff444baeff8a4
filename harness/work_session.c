/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats.h"

enum { LATENCIES_MAX = 1 << 16, FIRST_TOKENS = 9 };

enum status session_resolve(struct bench_case *c, struct err *e)
{
    struct model_config config;
    const char *model = case_text(c, "model");
    long generate = !strcmp(c->work->name, "decode") ? case_int(c, "generate") : 0;
    if (case_int(c, "prompt") < 1 || generate < 0 || (generate == 0 && !strcmp(c->work->name, "decode")))
        return fail(e, ST_EUSAGE, "prompt and generate must be at least 1");
    enum status st = model_resolve(c, e);
    if (st == ST_OK && model_is_random(c) && config_preset(&config, model + 7, NULL) == ST_OK && case_int(c, "prompt") + generate > config.context)
        return fail(e, ST_EUSAGE, "%ld tokens exceed the context of %s, %d", case_int(c, "prompt") + generate, model, config.context);
    return st;
}

void session_prefill(struct job *j)
{
    infer_reset(j->session);
    infer_forward(j->session, j->ids, j->prompt, INFER_LAST, j->logits, NULL);
}

void session_rewind(struct job *j)
{
    infer_rewind(j->session, j->prompt);
    j->next = j->first;
}

void session_step(struct job *j)
{
    infer_forward(j->session, &j->next, 1, INFER_LAST, j->logits, NULL);
    j->next = infer_argmax(j->logits, j->model.base.weights->config.vocab);
}

void session_note_latency(struct job *j, double seconds) { j->latencies[j->n_latencies++ % LATENCIES_MAX] = (float)seconds; }

static enum status open_session(struct job *j, const struct bench_case *c, struct err *e)
{
    double start = now_seconds(), held = memory_begin();
    enum status st = model_open(&j->model, c, e);
    if (st != ST_OK)
        return st;
    const struct model_config *config = &j->model.base.weights->config;
    if (j->prompt + j->generate > config->context)
        return fail(e, ST_EUSAGE, "%d tokens exceed the model's context of %d", j->prompt + j->generate, config->context);
    st = infer_open(&j->session, &j->model.q, j->model.kernel, 1, j->prompt + j->generate, j->prompt, j->model.par, e);
    j->open_seconds = now_seconds() - start;
    if (st != ST_OK)
        return st;
    struct rng rng;
    rng_seed(&rng, (uint64_t)case_int(c, "seed"));
    j->ids = mem_alloc((size_t)j->prompt, sizeof *j->ids);
    j->logits = mem_alloc((size_t)config->vocab, sizeof *j->logits);
    j->kept = mem_alloc((size_t)config->vocab, sizeof *j->kept);
    j->latencies = mem_alloc(LATENCIES_MAX, sizeof *j->latencies);
    if (!j->ids || !j->logits || !j->kept || !j->latencies)
        return fail(e, ST_ENOMEM, "no memory for a session");
    for (int i = 0; i < j->prompt; i++)
        j->ids[i] = (int32_t)rng_below(&rng, (uint32_t)config->vocab);
    session_prefill(j);
    j->first = infer_argmax(j->logits, config->vocab);
    j->peak_bytes = memory_held(held);
    return ST_OK;
}

static enum status open_job(struct job **out, const struct bench_case *c, int generate, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    *out = NULL;
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a case");
    j->prompt = (int)case_int(c, "prompt");
    j->generate = generate;
    enum status st = open_session(j, c, e);
    if (st != ST_OK) {
        session_close(j);
        return st;
    }
    *out = j;
    return ST_OK;
}

enum status session_open_prefill(struct job **out, const struct bench_case *c, struct err *e) { return open_job(out, c, 0, e); }

enum status session_open_decode(struct job **out, const struct bench_case *c, struct err *e)
{
    return open_job(out, c, (int)case_int(c, "generate"), e);
}

void session_close(struct job *j)
{
    if (!j)
        return;
    infer_close(j->session);
    mem_free(j->ids);
    mem_free(j->logits);
    mem_free(j->kept);
    mem_free(j->latencies);
    model_close(&j->model);
    free(j);
}

/* Largest difference relative to the spread of the logits. */
static double distance(const float *a, const float *b, int n)
{
    double most = 0, sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        sum += b[i];
        squares += (double)b[i] * b[i];
    }
    double spread = sqrt(fmax(0, squares / n - sum / n * (sum / n)));
    return spread > 0 ? most / spread : most > 0 ? INFINITY : 0;
}

/*
 * The cache must agree with the whole: the prompt in one piece against all but its last token and then that one. In integer
 * layers a difference of one ulp before rounding moves a code, so the bound is one of quantized activations, 1/127, not of floats.
 */
enum status session_check(struct job *j, struct err *e)
{
    int vocab = j->model.base.weights->config.vocab;
    session_prefill(j);
    memcpy(j->kept, j->logits, (size_t)vocab * sizeof *j->kept);
    for (int i = 0; i < vocab; i++)
        if (!isfinite(j->kept[i]))
            return fail(e, ST_EWRONG, "logit %d is %g", i, (double)j->kept[i]);
    if (j->prompt == 1)
        return ST_OK;
    infer_reset(j->session);
    infer_forward(j->session, j->ids, j->prompt - 1, INFER_LAST, j->logits, NULL);
    infer_forward(j->session, j->ids + j->prompt - 1, 1, INFER_LAST, j->logits, NULL);
    double bound = j->model.kernel->act == ACT_F32 ? 1e-3 : 0.25, d = distance(j->logits, j->kept, vocab);
    if (!(d <= bound))
        return fail(e, ST_EWRONG, "cached decoding and prefill disagree: logits differ by %.3g of their spread (bound %g)", d, bound);
    session_prefill(j); /* decode rewinds to here */
    return ST_OK;
}

/* After timing: the same prompt must still give the same logits to the bit. */
static enum status verify_again(struct job *j, struct err *e)
{
    int vocab = j->model.base.weights->config.vocab;
    session_prefill(j);
    if (memcmp(j->logits, j->kept, (size_t)vocab * sizeof *j->kept))
        return fail(e, ST_EWRONG, "the same prompt gave other logits after timing (by %.3g of their spread)", distance(j->logits, j->kept, vocab));
    return ST_OK;
}

void session_begin(struct job *j) { j->n_latencies = 0; }

/* From an empty cache to the first token chosen, a few times over, since one would be an anecdote. */
static void emit_first_token(struct job *j, struct emitter *m)
{
    double seconds[FIRST_TOKENS];
    for (int i = 0; i < FIRST_TOKENS; i++) {
        double start = now_seconds();
        session_prefill(j);
        j->next = infer_argmax(j->logits, j->model.base.weights->config.vocab);
        seconds[i] = now_seconds() - start;
    }
    struct interval t = stats_median_interval(seconds, FIRST_TOKENS);
    emit_interval(m, "first_token_seconds", "s", t.value, t.lo, t.hi);
}

enum status session_results(struct job *j, struct emitter *m, struct err *e)
{
    enum status st = verify_again(j, e);
    size_t n = j->n_latencies < LATENCIES_MAX ? j->n_latencies : LATENCIES_MAX;
    double *x = malloc((n + 1) * sizeof *x);
    if (st != ST_OK || !x) {
        free(x);
        return st != ST_OK ? st : fail(e, ST_ENOMEM, "no memory for %zu latencies", n);
    }
    for (size_t i = 0; i < n; i++)
        x[i] = j->latencies[i];
    if (n) {
        emit_first_token(j, m);
        emit_value(m, "token_p50_seconds", "s", stats_quantile(x, n, 0.5));
        emit_value(m, "token_p99_seconds", "s", stats_quantile(x, n, 0.99));
    }
    free(x);
    emit_value(m, "open_seconds", "s", j->open_seconds);
    emit_value(m, "weight_bytes", "B", (double)infer_weight_bytes(j->session));
    if (isfinite(j->peak_bytes))
        emit_value(m, "peak_bytes", "B", j->peak_bytes);
    else
        emit_missing(m, "peak_bytes", "B", "the kernel does not let this process reset its peak (/proc/self/clear_refs)");
    model_emit(&j->model, m);
    return ST_OK;
}
