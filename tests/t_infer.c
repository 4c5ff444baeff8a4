/* Inference against training's forward (two implementations), cache against whole, batch against single, kernels against fake quantization. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backprop.h"
#include "blas.h"
#include "decoder_ref.h"
#include "eval.h"
#include "infer.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 7, BATCH = 3, T = 32 };

static int need_blas(void **state)
{
    struct err e = {0};
    if (!blas_get(&e)) {
        print_message("skipped: %s\n", e.text);
        skip();
    }
    return 0;
}

static void random_ids(int32_t *ids, int n, int vocab)
{
    struct rng r;
    rng_seed(&r, SEED);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(&r, (uint32_t)vocab);
}

static double nll_of(const float *logits, const int32_t *targets, int n, int vocab)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        const float *x = logits + (size_t)i * (size_t)vocab;
        double total = 0, max = x[0];
        for (int j = 1; j < vocab; j++)
            max = fmax(max, x[j]);
        for (int j = 0; j < vocab; j++)
            total += exp(x[j] - max);
        sum += log(total) + max - x[targets[i]];
    }
    return sum / n;
}

/* Mean NLL of the same batch by the training code, on weights that the caller may have dequantized. */
static double training_nll(const struct weights *w, const int32_t *ids, const int32_t *targets, bool act_int8, struct par *p)
{
    struct backprop *b;
    assert_int_equal(backprop_open(&b, &w->config, BATCH, T, p, NULL), ST_OK);
    double nll = backprop_run(b, w, ids, targets, act_int8, NULL);
    backprop_close(b);
    return nll;
}

struct fixture {
    struct par *p;
    struct weights *w;
    int32_t ids[BATCH * T], targets[BATCH * T];
    float *logits;
};

static void fixture_open(struct fixture *f, bool tied, int threads)
{
    assert_int_equal(par_open(&f->p, threads, NULL), ST_OK);
    f->w = tiny_weights(tied, SEED);
    random_ids(f->ids, BATCH * T, f->w->config.vocab);
    random_ids(f->targets, BATCH * T, f->w->config.vocab - 1);
    f->logits = mem_alloc((size_t)BATCH * T * (size_t)f->w->config.vocab, sizeof(float));
}

static void fixture_close(struct fixture *f)
{
    mem_free(f->logits);
    weights_free(f->w);
    par_close(f->p);
}

static void float_inference_is_training_s_forward(void **state)
{
    for (int tied = 0; tied < 2; tied++) {
        struct fixture f;
        struct qspec spec = {.format = FORMAT_F32};
        struct qmodel q;
        struct infer *s;
        fixture_open(&f, tied, 2);
        assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, NULL), ST_OK);
        assert_int_equal(infer_open(&s, &q, NULL, &(struct infer_shape){BATCH, T, BATCH * T, KV_F32}, f.p, NULL), ST_OK);
        assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
        double a = nll_of(f.logits, f.targets, BATCH * T, f.w->config.vocab), b = training_nll(f.w, f.ids, f.targets, false, f.p);
        print_message("tied %d: inference %.6f, training %.6f\n", tied, a, b);
        assert_true(fabs(a - b) < 1e-4 * b); /* sums of at most 300 floats in another order */
        infer_close(s);
        qmodel_free(&q);
        fixture_close(&f);
    }
}

static void replace_by_dequantized(struct weights *w, const struct qmodel *q)
{
    for (int i = 0; i < w->config.layers * LIN_COUNT; i++)
        qlinear_dequantize(&q->linear[i], w->layer[i / LIN_COUNT].linear[i % LIN_COUNT]);
}

/* Every method, format and group: what the kernels compute is what fake quantization says. */
static void kernels_give_the_fake_quantized_model(void **state)
{
    static const int groups[] = {0, 32};
    for (int m = 0; quantizers[m]; m++)
        for (int format = FORMAT_INT8; format < FORMAT_COUNT; format++)
            for (int g = 0; g < 2; g++) {
                struct fixture f;
                struct qspec spec = {.method = quantizers[m], .format = (enum format)format, .group = groups[g], .gamma = GAMMA_CHANNEL};
                spec.zero_point = format <= FORMAT_INT2 && (m + g + format) % 2;
                struct qmodel q;
                struct infer *s;
                fixture_open(&f, true, 2);
                assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, NULL), ST_OK);
                assert_int_equal(infer_open(&s, &q, NULL, &(struct infer_shape){BATCH, T, BATCH * T, KV_F32}, f.p, NULL), ST_OK);
                assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
                infer_close(s);
                double a = nll_of(f.logits, f.targets, BATCH * T, f.w->config.vocab);
                replace_by_dequantized(f.w, &q);
                double b = training_nll(f.w, f.ids, f.targets, true, f.p);
                /* An ulp before rounding an activation moves a code by one in 127, here and there. */
                if (!(fabs(a - b) < 2e-3 * b))
                    fail_msg("%s %s group %d: kernels %.6f, fake quantization %.6f", quantizers[m]->name, formats[format].name, groups[g], a, b);
                qmodel_free(&q);
                fixture_close(&f);
            }
}

static struct infer *open_session(struct fixture *f, struct qmodel *q, enum format format, int batch)
{
    struct qspec spec = {.method = formats[format].qmax ? quantizer_find("rtn") : NULL, .format = format};
    struct infer *s;
    assert_int_equal(quantize(q, f->w, &spec, NULL, f->p, NULL), ST_OK);
    assert_int_equal(infer_open(&s, q, NULL, &(struct infer_shape){batch, T, batch * T, KV_F32}, f->p, NULL), ST_OK);
    return s;
}

static void decoding_step_by_step_is_prefill(void **state)
{
    struct fixture f;
    struct qmodel q;
    fixture_open(&f, true, 2);
    int vocab = f.w->config.vocab;
    float *steps = mem_alloc((size_t)T * (size_t)vocab, sizeof *steps);
    struct infer *s = open_session(&f, &q, FORMAT_F32, 1);
    assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
    infer_reset(s);
    assert_int_equal(infer_forward(s, f.ids, 5, INFER_LAST, steps + 4 * vocab, NULL), ST_OK);
    for (int t = 5; t < T; t++)
        assert_int_equal(infer_forward(s, f.ids + t, 1, INFER_LAST, steps + t * vocab, NULL), ST_OK);
    for (int i = 4 * vocab; i < T * vocab; i++)
        assert_true(fabsf(steps[i] - f.logits[i]) < 2e-3f);
    infer_rewind(s, 10);
    assert_int_equal(infer_position(s), 10);
    assert_int_equal(infer_forward(s, f.ids + 10, 1, INFER_LAST, steps, NULL), ST_OK);
    for (int i = 0; i < vocab; i++)
        assert_true(fabsf(steps[i] - f.logits[10 * vocab + i]) < 2e-3f);
    infer_close(s);
    qmodel_free(&q);
    mem_free(steps);
    fixture_close(&f);
}

/* Integer layers are exact whatever the batch and the threads; attention and norms work row by row. */
static void batches_and_threads_change_nothing(void **state)
{
    struct fixture f, g;
    struct qmodel q, r;
    fixture_open(&f, true, 1);
    fixture_open(&g, true, 2);
    int vocab = f.w->config.vocab;
    struct infer *one = open_session(&f, &q, FORMAT_INT4, 1), *all = open_session(&g, &r, FORMAT_INT4, BATCH);
    assert_int_equal(infer_forward(all, g.ids, T, INFER_ALL, g.logits, NULL), ST_OK);
    double most = 0;
    for (int b = 0; b < BATCH; b++) {
        infer_reset(one);
        assert_int_equal(infer_forward(one, f.ids + b * T, T, INFER_ALL, f.logits, NULL), ST_OK);
        for (int i = 0; i < T * vocab; i++)
            most = fmax(most, fabs((double)f.logits[i] - (double)g.logits[b * T * vocab + i]));
    }
    assert_true(most < 1e-3);
    infer_close(one);
    infer_close(all);
    qmodel_free(&q);
    qmodel_free(&r);
    fixture_close(&f);
    fixture_close(&g);
}

/* What a cache makes of a head, through the cache itself: t_kvcache judges that. */
static enum kv reference_kv;

static void round_head(double *x, int n)
{
    struct kvcache c;
    float head[64];
    assert_int_equal(kvcache_open(&c, reference_kv, 1, 1, 1, n, 1, NULL), ST_OK);
    float *room = mem_alloc(kvcache_room(&c), sizeof *room);
    for (int i = 0; i < n; i++)
        head[i] = (float)x[i];
    kvcache_append(&c, 0, 0, 0, head, head);
    const float *v = kvcache_values(&c, (struct kv_block){0}, 1, room);
    for (int i = 0; i < n; i++)
        x[i] = v[i];
    mem_free(room);
    kvcache_close(&c);
}

static double reference_nll(const struct fixture *f, enum kv kv)
{
    struct ref_rounding rounding = {.kv = round_head};
    double *params = mem_alloc(f->w->count, sizeof *params);
    reference_kv = kv;
    for (size_t i = 0; i < f->w->count; i++)
        params[i] = f->w->data[i];
    double nll = ref_decoder(f->w, params, f->ids, f->targets, BATCH, T, &rounding);
    mem_free(params);
    return nll;
}

/* Fills f->logits as one prefill does, token by token. */
static void decode_all(struct infer *s, struct fixture *f)
{
    int vocab = f->w->config.vocab;
    float *step = mem_alloc((size_t)BATCH * (size_t)vocab, sizeof *step);
    for (int t = 0; t < T; t++) {
        int32_t ids[BATCH];
        for (int b = 0; b < BATCH; b++)
            ids[b] = f->ids[b * T + t];
        assert_int_equal(infer_forward(s, ids, 1, INFER_LAST, step, NULL), ST_OK);
        for (int b = 0; b < BATCH; b++)
            memcpy(f->logits + (size_t)(b * T + t) * (size_t)vocab, step + (size_t)b * (size_t)vocab, (size_t)vocab * sizeof *step);
    }
    mem_free(step);
}

/* Both read the same rounded keys and values; a float before rounding that differs in its last bit may move a code, rarely. */
static void every_cache_is_the_reference_with_rounded_keys_and_values(void **state)
{
    double before = 0;
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct fixture f;
        struct qmodel q;
        struct qspec spec = {.format = FORMAT_F32};
        struct infer *s;
        fixture_open(&f, true, 2);
        assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, NULL), ST_OK);
        assert_int_equal(infer_open(&s, &q, NULL, &(struct infer_shape){BATCH, T, BATCH * T, (enum kv)kv}, f.p, NULL), ST_OK);
        assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
        double want = reference_nll(&f, (enum kv)kv), whole = nll_of(f.logits, f.targets, BATCH * T, f.w->config.vocab);
        infer_reset(s);
        decode_all(s, &f);
        double steps = nll_of(f.logits, f.targets, BATCH * T, f.w->config.vocab);
        print_message("kv %s: reference %.6f, prefill %.6f, decoding %.6f\n", kv_infos[kv].name, want, whole, steps);
        assert_true(fabs(whole - want) < 1e-4 * want && fabs(steps - want) < 1e-4 * want);
        assert_true(want != before); /* the format matters */
        before = want;
        infer_close(s);
        qmodel_free(&q);
        fixture_close(&f);
    }
}

static struct infer *open_integer(struct fixture *f, struct qmodel *q, int batch, int max_tokens, enum kv kv)
{
    struct qspec spec = {.method = quantizer_find("rtn"), .format = FORMAT_INT4, .head = FORMAT_INT8};
    struct infer *s;
    assert_int_equal(quantize(q, f->w, &spec, NULL, f->p, NULL), ST_OK);
    assert_int_equal(infer_open(&s, q, NULL, &(struct infer_shape){batch, max_tokens, batch * T, kv}, f->p, NULL), ST_OK);
    return s;
}

/* Integer layers, a fixed order in attention and row by row for the rest: the same bits on any number of threads, in any batch. */
static void integer_models_give_the_same_bits(void **state)
{
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct fixture one;
        struct qmodel q;
        fixture_open(&one, true, 1);
        size_t n = (size_t)T * (size_t)one.w->config.vocab;
        struct infer *s = open_integer(&one, &q, 1, T, (enum kv)kv);
        for (int b = 0; b < BATCH; b++) {
            infer_reset(s);
            assert_int_equal(infer_forward(s, one.ids + b * T, T, INFER_ALL, one.logits + (size_t)b * n, NULL), ST_OK);
        }
        infer_close(s);
        qmodel_free(&q);
        for (int threads = 1; threads <= 4; threads++) {
            struct fixture many;
            fixture_open(&many, true, threads);
            s = open_integer(&many, &q, BATCH, T, (enum kv)kv);
            assert_int_equal(infer_forward(s, many.ids, T, INFER_ALL, many.logits, NULL), ST_OK);
            assert_memory_equal(one.logits, many.logits, BATCH * n * sizeof *one.logits);
            infer_close(s);
            qmodel_free(&q);
            fixture_close(&many);
        }
        fixture_close(&one);
    }
}

static void a_broken_sequence_stays_alone(void **state)
{
    enum { BAD = 299 };
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct fixture f;
        struct qmodel q;
        fixture_open(&f, false, 2);
        int vocab = f.w->config.vocab;
        size_t each = (size_t)T * (size_t)vocab;
        float *sane = mem_alloc(BATCH * each, sizeof *sane);
        struct infer *s = open_integer(&f, &q, BATCH, T, (enum kv)kv);
        for (int i = 0; i < BATCH * T; i++)
            f.ids[i] = f.ids[i] == BAD ? 0 : f.ids[i];
        assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, sane, NULL), ST_OK);
        f.ids[T + 3] = BAD; /* of the second sequence */
        f.w->embed[BAD * f.w->config.dim] = NAN;
        infer_reset(s);
        assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
        assert_memory_equal(f.logits, sane, each * sizeof *sane);
        assert_memory_equal(f.logits + 2 * each, sane + 2 * each, each * sizeof *sane);
        for (int t = 3; t < T; t++)
            assert_true(isnan(f.logits[each + (size_t)t * (size_t)vocab]));
        infer_close(s);
        qmodel_free(&q);
        mem_free(sane);
        fixture_close(&f);
    }
}

/* Behind a filled past, beyond the context that the model was trained for: one call and many agree, and the past is kept. */
static void a_deep_cache_is_filled_and_kept(void **state)
{
    enum { DEPTH = 700, PROMPT = 9 };
    for (int kv = 0; kv < KV_COUNT; kv++) {
        struct fixture f;
        struct qmodel q;
        struct err e = {0};
        fixture_open(&f, true, 2);
        int vocab = f.w->config.vocab;
        struct infer *s = open_session(&f, &q, FORMAT_F32, 1), *deep;
        infer_close(s);
        assert_int_equal(infer_open(&deep, &q, NULL, &(struct infer_shape){1, DEPTH + PROMPT, PROMPT, (enum kv)kv}, f.p, NULL), ST_OK);
        assert_int_equal(infer_fill(deep, DEPTH + PROMPT + 1, SEED, &e), ST_EUSAGE);
        assert_int_equal(infer_fill(deep, DEPTH, SEED, NULL), ST_OK);
        assert_int_equal(infer_position(deep), DEPTH);
        float *whole = f.logits, *steps = f.logits + vocab, *shallow = f.logits + 2 * vocab;
        assert_int_equal(infer_forward(deep, f.ids, PROMPT, INFER_LAST, whole, NULL), ST_OK);
        infer_rewind(deep, DEPTH);
        for (int t = 0; t < PROMPT; t++)
            assert_int_equal(infer_forward(deep, f.ids + t, 1, INFER_LAST, steps, NULL), ST_OK);
        infer_reset(deep);
        assert_int_equal(infer_forward(deep, f.ids, PROMPT, INFER_LAST, shallow, NULL), ST_OK);
        double apart = 0, past = 0;
        for (int i = 0; i < vocab; i++) {
            apart = fmax(apart, fabs((double)whole[i] - (double)steps[i]));
            past = fmax(past, fabs((double)whole[i] - (double)shallow[i]));
        }
        print_message("kv %s: one call and many differ by %.2g, with and without a past by %.2g\n", kv_infos[kv].name, apart, past);
        assert_true(apart < 5e-3 && past > 0.1);
        infer_close(deep);
        qmodel_free(&q);
        fixture_close(&f);
    }
}

/* A quantized head computes with its own table, and where it is tied, tokens are looked up in that table too. */
static void quantized_heads(void **state)
{
    for (int tied = 0; tied < 2; tied++)
        for (int head = FORMAT_INT8; head <= FORMAT_INT4; head++) {
            struct fixture f;
            struct qmodel q;
            struct qspec spec = {.format = FORMAT_F32, .head = (enum format)head};
            struct infer *s;
            fixture_open(&f, tied, 2);
            assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, NULL), ST_OK);
            assert_int_equal(infer_open(&s, &q, NULL, &(struct infer_shape){BATCH, T, BATCH * T, KV_F32}, f.p, NULL), ST_OK);
            assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
            infer_close(s);
            double a = nll_of(f.logits, f.targets, BATCH * T, f.w->config.vocab), plain = training_nll(f.w, f.ids, f.targets, false, f.p);
            qlinear_dequantize(&q.head, f.w->head);
            double b = training_nll(f.w, f.ids, f.targets, false, f.p);
            print_message("head %s, tied %d: %.6f, with the table replaced %.6f, in float %.6f\n", formats[head].name, tied, a, b, plain);
            assert_true(fabs(a - b) < 2e-3 * b); /* the head's input is rounded to int8 as well */
            assert_true(head == FORMAT_INT8 || fabs(a - plain) > 2 * fabs(a - b));
            qmodel_free(&q);
            fixture_close(&f);
        }
}

/* The quantized table stands in the file in place of the float one: its codes, and a float a row. */
static void a_quantized_head_is_counted_once(void **state)
{
    for (int tied = 0; tied < 2; tied++) {
        struct fixture f;
        struct qmodel whole, q;
        struct qspec spec = {.format = FORMAT_F32};
        fixture_open(&f, tied, 1);
        assert_int_equal(quantize(&whole, f.w, &spec, NULL, f.p, NULL), ST_OK);
        spec.head = FORMAT_INT8;
        assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, NULL), ST_OK);
        size_t vocab = (size_t)f.w->config.vocab, dim = (size_t)f.w->config.dim, saved = vocab * dim * 4 - vocab * (dim + 4);
        struct model_size a = qmodel_size(&whole), b = qmodel_size(&q);
        assert_true(a.total - b.total <= saved && a.total - b.total > saved - 256); /* the header names one tensor more */
        assert_int_equal(b.quantized, vocab * (dim + 4));
        assert_true(b.quantized_share == (double)(vocab * dim) / (double)f.w->count && a.quantized_share == 0);
        qmodel_free(&whole);
        qmodel_free(&q);
        fixture_close(&f);
    }
}

/* The clock's phases are the call's time, and reading it changes nothing. */
static void phases_add_up(void **state)
{
    struct fixture f;
    struct qmodel q;
    fixture_open(&f, true, 2);
    size_t n = (size_t)BATCH * T * (size_t)f.w->config.vocab;
    float *plain = mem_alloc(n, sizeof *plain);
    double seconds[INFER_PHASES] = {0}, sum = 0;
    struct infer *s = open_session(&f, &q, FORMAT_INT8, BATCH);
    assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, plain, NULL), ST_OK);
    infer_reset(s);
    infer_clock(s, seconds);
    double start = now_seconds();
    assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
    double all = now_seconds() - start;
    for (int i = 0; i < INFER_PHASES; i++) {
        assert_true(seconds[i] > 0);
        sum += seconds[i];
    }
    assert_true(sum <= all && sum > 0.5 * all);
    assert_memory_equal(plain, f.logits, n * sizeof *plain);
    infer_clock(s, NULL);
    infer_reset(s);
    assert_int_equal(infer_forward(s, f.ids, T, INFER_ALL, f.logits, NULL), ST_OK);
    double after = 0;
    for (int i = 0; i < INFER_PHASES; i++)
        after += seconds[i];
    assert_true(after == sum);
    infer_close(s);
    qmodel_free(&q);
    mem_free(plain);
    fixture_close(&f);
}

static void the_first_of_the_largest(void **state)
{
    static float x[1000];
    for (int n = 1; n <= 1000; n += n < 20 ? 1 : 97)
        for (int at = 0; at < n; at += 1 + n / 13) {
            tiny_normal(x, (size_t)n, SEED);
            x[n - 1] = x[at] = 9;
            x[0] = at ? NAN : 9;
            assert_int_equal(infer_argmax(x, n), at);
        }
}

static void calls_that_do_not_fit_are_refused(void **state)
{
    struct fixture f;
    struct qmodel q;
    struct err e = {0};
    fixture_open(&f, true, 1);
    struct infer *s = open_session(&f, &q, FORMAT_F32, 1);
    assert_int_equal(infer_forward(s, f.ids, T + 1, INFER_LAST, f.logits, &e), ST_EUSAGE);
    f.ids[3] = f.w->config.vocab;
    e = (struct err){0};
    assert_int_equal(infer_forward(s, f.ids, 8, INFER_LAST, f.logits, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "300"));
    assert_int_equal(infer_position(s), 0);
    infer_close(s);
    qmodel_free(&q);
    fixture_close(&f);
}

static struct tokenizer *letters_tokenizer(int vocab)
{
    static uint8_t text[20000];
    struct rng r;
    rng_seed(&r, SEED);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i % 5 == 4 ? ' ' : 'a' + rng_below(&r, 12));
    return tiny_tokenizer(text, sizeof text, vocab);
}

static void evaluation_is_the_mean_of_its_windows(void **state)
{
    struct fixture f;
    struct qmodel q, q4, again;
    struct quality a;
    fixture_open(&f, true, 2);
    struct tokenizer *b = letters_tokenizer(f.w->config.vocab);
    for (int i = 0; i < BATCH * T; i++) /* no boundary but at the start: it would not be scored */
        f.ids[i] = i ? (f.ids[i] == BPE_EOT ? 0 : f.ids[i]) : BPE_EOT;
    struct tokens t = {.id = f.ids, .count = BATCH * T, .boundary = BPE_EOT};
    struct infer *ref = open_session(&f, &q, FORMAT_F32, 2), *model = open_session(&f, &q4, FORMAT_INT4, 2);
    assert_int_equal(eval_quality(&a, ref, NULL, &t, b, T, 2, f.w->config.vocab, f.p, NULL), ST_OK);
    assert_int_equal(a.n, BATCH * (T - 1));
    for (int i = 0; i < BATCH * T; i++)
        f.targets[i] = i % T == T - 1 ? -1 : f.ids[i + 1];
    double expected = training_nll(f.w, f.ids, f.targets, false, f.p), got = 0;
    for (size_t i = 0; i < a.n; i++)
        got += a.nll[i];
    assert_true(fabs(got / (double)a.n - expected) < 1e-4 * expected);
    assert_int_equal(a.block[0], 0);
    assert_int_equal(a.block[a.n - 1], BATCH - 1);
    assert_true(isnan(a.kl));
    quality_free(&a);
    assert_int_equal(eval_quality(&a, model, ref, &t, b, T, 2, f.w->config.vocab, f.p, NULL), ST_OK);
    assert_true(a.kl > 0 && a.kl_max >= a.kl && a.top1 > 0 && a.top1 < 1);
    quality_free(&a);
    struct infer *twin = open_session(&f, &again, FORMAT_F32, 2);
    assert_int_equal(eval_quality(&a, twin, ref, &t, b, T, 2, f.w->config.vocab, f.p, NULL), ST_OK);
    assert_true(a.kl < 1e-5 && a.top1 == 1);
    assert_memory_equal(a.nll, a.ref_nll, a.n * sizeof *a.nll);
    quality_free(&a);
    infer_close(ref);
    infer_close(model);
    infer_close(twin);
    qmodel_free(&q);
    qmodel_free(&q4);
    qmodel_free(&again);
    tokenizer_free(b);
    fixture_close(&f);
}

/* The paper's γ on activations: estimated layer by layer on top of the layers below, 1 within what int8 loses. */
static void activation_gammas_come_from_calibration(void **state)
{
    struct fixture f;
    struct qmodel q;
    struct qspec spec = {.method = quantizer_find("rtn"), .format = FORMAT_INT8, .gamma = GAMMA_TENSOR, .gamma_on = GAMMA_ON_ACT};
    struct err e = {0};
    fixture_open(&f, true, 2);
    struct tokens calib = {.id = f.ids, .count = BATCH * T, .boundary = BPE_EOT};
    assert_int_equal(quantize(&q, f.w, &spec, NULL, f.p, &e), ST_EUSAGE);
    assert_int_equal(quantize(&q, f.w, &spec, &calib, f.p, NULL), ST_OK);
    for (int i = 0; i < f.w->config.layers * LIN_COUNT; i++) {
        assert_int_equal(q.gamma[i].count, 1);
        assert_true(q.linear[i].act_gain == q.gamma[i].mean);
        assert_true(fabsf(q.linear[i].act_gain - 1) < 2e-3f && q.linear[i].act_gain != 1);
    }
    qmodel_free(&q);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(float_inference_is_training_s_forward, need_blas),
        cmocka_unit_test_setup(kernels_give_the_fake_quantized_model, need_blas),
        cmocka_unit_test_setup(decoding_step_by_step_is_prefill, need_blas),
        cmocka_unit_test_setup(batches_and_threads_change_nothing, need_blas),
        cmocka_unit_test_setup(every_cache_is_the_reference_with_rounded_keys_and_values, need_blas),
        cmocka_unit_test(integer_models_give_the_same_bits),
        cmocka_unit_test(a_broken_sequence_stays_alone),
        cmocka_unit_test_setup(a_deep_cache_is_filled_and_kept, need_blas),
        cmocka_unit_test_setup(quantized_heads, need_blas),
        cmocka_unit_test_setup(a_quantized_head_is_counted_once, need_blas),
        cmocka_unit_test_setup(phases_add_up, need_blas),
        cmocka_unit_test(the_first_of_the_largest),
        cmocka_unit_test_setup(calls_that_do_not_fit_are_refused, need_blas),
        cmocka_unit_test_setup(evaluation_is_the_mean_of_its_windows, need_blas),
        cmocka_unit_test_setup(activation_gammas_come_from_calibration, need_blas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
