/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "stats.h"

enum { LATENCIES_MAX = 1 << 16, FIRST_TOKENS = 9, FIRST_TOKENS_LEAST = 6, TOKENS_MAX = 1 << 20, BATCH_MAX = 1 << 10, CLOCKED = 3 };
static const double first_token_patience = 3; /* seconds, after which the least number will do */

static bool decodes(const struct bench_case *c) { return !strcmp(c->work->name, "decode"); }

/* A model with random weights has no context to respect: its sequences may be as long as memory allows. */
static enum status check_length(const struct bench_case *c, enum status st, struct err *e)
{
    long prompt = case_int(c, "prompt"), generate = decodes(c) ? case_int(c, "generate") : 0, depth = case_int(c, "depth"), batch = case_int(c, "batch");
    if (st != ST_OK)
        return st;
    if (batch > BATCH_MAX)
        return fail(e, ST_EUSAGE, "batch %ld: at most %d sequences", batch, BATCH_MAX);
    if (prompt > TOKENS_MAX / batch || generate > TOKENS_MAX || depth > TOKENS_MAX)
        return fail(e, ST_EUSAGE, "prompt x batch, generate and depth must be at most %d tokens each", TOKENS_MAX);
    return ST_OK;
}

enum status session_resolve(struct bench_case *c, struct err *e)
{
    if (case_int(c, "prompt") < 1 || (decodes(c) && case_int(c, "generate") < 1))
        return fail(e, ST_EUSAGE, "prompt and generate must be at least 1");
    return check_length(c, model_resolve(c, e), e);
}

static int vocab_of(const struct job *j) { return j->model.base.weights->config.vocab; }
static size_t logits_bytes(const struct job *j) { return (size_t)j->batch * (size_t)vocab_of(j) * sizeof *j->logits; }

void session_prefill(struct job *j)
{
    infer_rewind(j->session, j->depth);
    infer_forward(j->session, j->ids, j->prompt, INFER_LAST, j->logits, NULL);
}

void session_rewind(struct job *j)
{
    infer_rewind(j->session, j->depth + j->prompt);
    memcpy(j->next, j->first, (size_t)j->batch * sizeof *j->next);
}

static void choose(const struct job *j, int32_t *tokens)
{
    for (int b = 0; b < j->batch; b++)
        tokens[b] = infer_argmax(j->logits + (size_t)b * (size_t)vocab_of(j), vocab_of(j));
}

void session_step(struct job *j)
{
    infer_forward(j->session, j->next, 1, INFER_LAST, j->logits, NULL);
    choose(j, j->next);
}

void session_note_latency(struct job *j, double seconds) { j->latencies[j->n_latencies++ % LATENCIES_MAX] = (float)seconds; }

static struct infer_shape shape_of(const struct job *j)
{
    return (struct infer_shape){.batch = j->batch, .max_tokens = j->depth + j->prompt + j->generate, .max_chunk = j->batch * j->prompt, .kv = j->model.kv};
}

static enum status check_memory(const struct job *j, struct err *e)
{
    struct infer_shape shape = shape_of(j);
    double have = (double)host_memory_available(""), need = infer_session_bytes(&j->model.base.weights->config, &shape);
    if (have == 0 || need <= have)
        return ST_OK;
    return fail(e, ST_ENOMEM, "%d x %d tokens need %.0f MiB beside the weights, but only %.0f MiB of memory are available; take a smaller batch or depth, or a narrower kv",
                shape.batch, shape.max_tokens, need / 0x1p20, have / 0x1p20);
}

static enum status check_context(const struct job *j, const struct bench_case *c, struct err *e)
{
    int tokens = shape_of(j).max_tokens, context = j->model.base.weights->config.context;
    if (model_is_random(c) || tokens <= context)
        return ST_OK;
    return fail(e, ST_EUSAGE, "%d tokens exceed the model's context of %d", tokens, context);
}

static enum status alloc_arrays(struct job *j, struct err *e)
{
    size_t batch = (size_t)j->batch;
    j->ids = mem_alloc(batch * (size_t)j->prompt, sizeof *j->ids);
    j->next = mem_alloc(batch, sizeof *j->next);
    j->first = mem_alloc(batch, sizeof *j->first);
    j->logits = mem_alloc(logits_bytes(j), 1);
    j->kept = mem_alloc(logits_bytes(j), 1);
    j->latencies = mem_alloc(LATENCIES_MAX, sizeof *j->latencies);
    if (!j->ids || !j->next || !j->first || !j->logits || !j->kept || !j->latencies)
        return fail(e, ST_ENOMEM, "no memory for a session");
    return ST_OK;
}

static enum status open_model(struct job *j, const struct bench_case *c, struct err *e)
{
    double start = now_seconds();
    enum status st = model_open(&j->model, c, e);
    if (st == ST_OK)
        st = check_context(j, c, e);
    if (st == ST_OK)
        st = check_memory(j, e);
    struct infer_shape shape = shape_of(j);
    if (st == ST_OK)
        st = infer_open(&j->session, &j->model.q, j->model.kernel, &shape, j->model.par, e);
    j->open_seconds = now_seconds() - start;
    return st;
}

static enum status open_session(struct job *j, const struct bench_case *c, struct err *e)
{
    double held = memory_begin();
    enum status st = open_model(j, c, e);
    if (st == ST_OK)
        st = alloc_arrays(j, e);
    if (st == ST_OK)
        st = infer_fill(j->session, j->depth, (uint64_t)case_int(c, "seed"), e);
    if (st != ST_OK)
        return st;
    struct rng rng;
    rng_seed(&rng, (uint64_t)case_int(c, "seed"));
    for (int i = 0; i < j->batch * j->prompt; i++)
        j->ids[i] = (int32_t)rng_below(&rng, (uint32_t)vocab_of(j));
    session_prefill(j);
    choose(j, j->first);
    j->peak_bytes = memory_held(held);
    return ST_OK;
}

static enum status open_job(struct job **out, const struct bench_case *c, int generate, struct err *e)
{
    struct job *j = calloc(1, sizeof *j);
    *out = NULL;
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a case");
    j->batch = (int)case_int(c, "batch");
    j->depth = (int)case_int(c, "depth");
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
    mem_free(j->next);
    mem_free(j->first);
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

/* Every prompt but its last token, then that: two calls for what session_prefill does in one. */
static void prefill_in_two(struct job *j, int32_t *part)
{
    int most = j->prompt - 1;
    for (int b = 0; b < j->batch; b++)
        memcpy(part + (size_t)b * (size_t)most, j->ids + (size_t)b * (size_t)j->prompt, (size_t)most * sizeof *part);
    infer_rewind(j->session, j->depth);
    infer_forward(j->session, part, most, INFER_LAST, j->logits, NULL);
    for (int b = 0; b < j->batch; b++)
        part[b] = j->ids[(size_t)b * (size_t)j->prompt + (size_t)most];
    infer_forward(j->session, part, 1, INFER_LAST, j->logits, NULL);
}

/*
 * The cache must agree with the whole: the prompt in one piece against all but its last token and then that one. In integer
 * layers, as in an integer cache, a difference of one ulp before rounding moves a code, so the bound is one of quantized
 * activations, 1/127, not of floats.
 */
enum status session_check(struct job *j, struct err *e)
{
    int n = j->batch * vocab_of(j);
    session_prefill(j);
    memcpy(j->kept, j->logits, logits_bytes(j));
    for (int i = 0; i < n; i++)
        if (!isfinite(j->kept[i]))
            return fail(e, ST_EWRONG, "logit %d is %g", i, (double)j->kept[i]);
    if (j->prompt == 1)
        return ST_OK;
    int32_t *part = mem_alloc((size_t)j->batch * (size_t)j->prompt, sizeof *part);
    if (!part)
        return fail(e, ST_ENOMEM, "no memory for %d prompts", j->batch);
    prefill_in_two(j, part);
    mem_free(part);
    bool exact = j->model.kernel->act == ACT_F32 && j->model.q.spec.head == FORMAT_F32 && j->model.kv == KV_F32;
    double bound = exact ? 1e-3 : 0.25, d = distance(j->logits, j->kept, n);
    if (!(d <= bound))
        return fail(e, ST_EWRONG, "cached decoding and prefill disagree: logits differ by %.3g of their spread (bound %g)", d, bound);
    session_prefill(j); /* decode rewinds to here */
    return ST_OK;
}

/* After timing: the same prompt must still give the same logits to the bit. */
static enum status verify_again(struct job *j, struct err *e)
{
    session_prefill(j);
    if (memcmp(j->logits, j->kept, logits_bytes(j)))
        return fail(e, ST_EWRONG, "the same prompt gave other logits after timing (by %.3g of their spread)",
                    distance(j->logits, j->kept, j->batch * vocab_of(j)));
    return ST_OK;
}

void session_begin(struct job *j) { j->n_latencies = 0; }

/* From the depth alone to the first token chosen, a few times over, since one would be an anecdote. */
static void emit_first_token(struct job *j, struct emitter *m)
{
    double seconds[FIRST_TOKENS], begun = now_seconds();
    size_t n = 0;
    while (n < FIRST_TOKENS && (n < FIRST_TOKENS_LEAST || now_seconds() - begun < first_token_patience)) {
        double start = now_seconds();
        session_prefill(j);
        choose(j, j->next);
        seconds[n++] = now_seconds() - start;
    }
    struct interval t = stats_median_interval(seconds, n);
    emit_interval(m, "first_token_seconds", "s", t.value, t.lo, t.hi);
}

/* Some calls more, under the clock that timed samples never see: which share of the time is whose. */
static void emit_phases(struct job *j, struct emitter *m)
{
    static const char *const names[INFER_PHASES] = {
        [INFER_LINEAR] = "linear_share", [INFER_HEAD] = "head_share", [INFER_ATTENTION] = "attention_share", [INFER_OTHER] = "other_share",
    };
    double seconds[INFER_PHASES] = {0}, sum = 0;
    session_rewind(j);
    infer_clock(j->session, seconds);
    for (int i = 0; i < (j->generate ? j->generate : CLOCKED); i++)
        if (j->generate)
            session_step(j);
        else
            session_prefill(j);
    infer_clock(j->session, NULL);
    for (int i = 0; i < INFER_PHASES; i++)
        sum += seconds[i];
    for (int i = 0; i < INFER_PHASES; i++)
        emit_value(m, names[i], "", seconds[i] / sum);
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
    emit_phases(j, m);
    emit_value(m, "open_seconds", "s", j->open_seconds);
    emit_value(m, "weight_bytes", "B", (double)infer_weight_bytes(j->session));
    emit_value(m, "kv_bytes_per_token", "B", (double)infer_kv_bytes_per_token(j->session));
    if (isfinite(j->peak_bytes))
        emit_value(m, "peak_bytes", "B", j->peak_bytes);
    else
        emit_missing(m, "peak_bytes", "B", "the kernel does not let this process reset its peak (/proc/self/clear_refs)");
    model_emit(&j->model, m);
    return ST_OK;
}
