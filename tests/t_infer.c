/* Inference against training's forward (two implementations), cache against whole, batch against single, kernels against fake quantization. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backprop.h"
#include "blas.h"
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
        assert_int_equal(infer_open(&s, &q, NULL, BATCH, T, BATCH * T, f.p, NULL), ST_OK);
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
                assert_int_equal(infer_open(&s, &q, NULL, BATCH, T, BATCH * T, f.p, NULL), ST_OK);
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
    assert_int_equal(infer_open(&s, q, NULL, batch, T, batch * T, f->p, NULL), ST_OK);
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

static struct bpe *tiny_tokenizer(int vocab)
{
    struct bpe *b;
    static uint8_t text[20000];
    struct rng r;
    rng_seed(&r, SEED);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)(i % 5 == 4 ? ' ' : 'a' + rng_below(&r, 12));
    assert_int_equal(bpe_train(&b, text, sizeof text, vocab, NULL), ST_OK);
    return b;
}

static void evaluation_is_the_mean_of_its_windows(void **state)
{
    struct fixture f;
    struct qmodel q, q4, again;
    struct quality a;
    fixture_open(&f, true, 2);
    struct bpe *b = tiny_tokenizer(f.w->config.vocab);
    for (int i = 0; i < BATCH * T; i++) /* no boundary but at the start: it would not be scored */
        f.ids[i] = i ? (f.ids[i] == BPE_EOT ? 0 : f.ids[i]) : BPE_EOT;
    struct tokens t = {.id = f.ids, .count = BATCH * T};
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
    bpe_free(b);
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
    struct tokens calib = {.id = f.ids, .count = BATCH * T};
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
        cmocka_unit_test_setup(calls_that_do_not_fit_are_refused, need_blas),
        cmocka_unit_test_setup(evaluation_is_the_mean_of_its_windows, need_blas),
        cmocka_unit_test_setup(activation_gammas_come_from_calibration, need_blas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
