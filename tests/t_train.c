/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tiny.h"
#include "train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h> /* after base.h: it makes fail a macro */

enum { SEED = 99, DOC_BYTES = 3000, WORDS = 900 };

static char folder[] = "/tmp/qbench-t_train-XXXXXX", state_path[64];
static struct corpus corpus;
static struct checkpoint base; /* a tiny model to tune */

static void *must(void *p)
{
    assert_non_null(p);
    return p;
}

static void check(enum status s, const struct err *e)
{
    if (s)
        fail_msg("%s", e->text);
}

/* Sentences of made-up words, common ones often: enough for merges, and something to learn. */
static size_t write_text(char *text, size_t room, struct rng *r)
{
    char words[WORDS][12];
    size_t n = 0;
    for (int i = 0; i < WORDS; i++) {
        int length = 2 + (int)rng_below(r, 7);
        for (int j = 0; j < length; j++)
            words[i][j] = (char)("aeiou bcdfghlmnprstvw"[j % 2 ? rng_below(r, 5) : 6 + rng_below(r, 15)]);
        words[i][length] = 0;
    }
    while (n + 16 < room) {
        float u = rng_uniform(r);
        n += (size_t)sprintf(text + n, "%s%s", words[(int)(u * u * u * WORDS)], rng_below(r, 8) ? " " : ".\n");
    }
    return n;
}

static void make_corpus(size_t bytes)
{
    struct rng r;
    rng_seed(&r, SEED);
    corpus.text = must(malloc(bytes));
    corpus.bytes = write_text((char *)corpus.text, bytes, &r);
    corpus.doc_count = corpus.bytes / DOC_BYTES;
    corpus.docs = must(calloc(corpus.doc_count, sizeof *corpus.docs));
    for (size_t i = 0; i < corpus.doc_count; i++)
        corpus.docs[i] = (struct document){i * DOC_BYTES, (i + 1) * DOC_BYTES, i % 10 == 9 ? SPLIT_VALID : SPLIT_TRAIN};
    snprintf(corpus.name, sizeof corpus.name, "made-up");
    snprintf(corpus.hash, sizeof corpus.hash, "0123456789abcdef");
}

static void make_base(void)
{
    const struct model_config c = {.preset = "", .layers = 2, .dim = 16, .ffn = 24, .heads = 4, .kv_heads = 2, .head_dim = 4,
                                   .vocab = 300, .context = 24, .tied = true, .rope_base = 10000, .norm_eps = 1e-5f};
    struct err e = {0};
    base.weights = must(weights_alloc(&c, &e));
    weights_random(base.weights, SEED, NULL);
    base.tokenizer = tiny_tokenizer(corpus.text, 20000, c.vocab);
    snprintf(base.hash, sizeof base.hash, "fedcba9876543210");
}

static int setup(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(state_path, sizeof state_path, "%s/state", folder);
    make_corpus(400000);
    make_base();
    return 0;
}

static int teardown(void **state)
{
    weights_free(base.weights);
    tokenizer_free(base.tokenizer);
    free(corpus.text);
    free(corpus.docs);
    unlink(state_path);
    return rmdir(folder);
}

/* ---- fake quantization that is easy to follow: weights in steps of 1/32, no gradient past 1/8 */

static enum status coarse_weights(void *ctx, const struct weights *master, struct weights *shadow, struct par *p, struct err *e)
{
    for (int l = 0; l < master->config.layers; l++)
        for (int i = 0; i < LIN_COUNT; i++) {
            int rows, cols;
            lin_shape(&master->config, (enum lin)i, &rows, &cols);
            for (int j = 0; j < rows * cols; j++)
                shadow->layer[l].linear[i][j] = rintf(master->layer[l].linear[i][j] * 32) / 32;
        }
    return ST_OK;
}

static void coarse_grads(void *ctx, const struct weights *master, struct weights *grads, struct par *p)
{
    (*(int *)ctx)++;
    for (int l = 0; l < master->config.layers; l++)
        for (int j = 0; j < master->config.dim; j++)
            if (fabsf(master->layer[l].linear[LIN_Q][j]) > 0.125f)
                grads->layer[l].linear[LIN_Q][j] = 0;
}

static int coarse_calls;
static const struct fake_quant coarse = {&coarse_calls, coarse_weights, coarse_grads, true};

/* ---- helpers */

enum { BATCH = 3, STEPS = 30 };

static struct train_spec tuning(void)
{
    struct train_spec s = train_spec_default();
    s.base = &base;
    s.corpus = &corpus;
    s.batch = BATCH;
    s.tokens = STEPS * BATCH * 24;
    s.lr = 1e-2;
    return s;
}

static enum status train(struct checkpoint *out, const struct train_spec *s, int threads, struct err *e)
{
    struct par *p;
    check(par_open(&p, threads, e), e);
    enum status st = train_run(out, s, p, e);
    par_close(p);
    return st;
}

static struct checkpoint trained(const struct train_spec *s, int threads)
{
    struct checkpoint out;
    struct err e = {0};
    check(train(&out, s, threads, &e), &e);
    return out;
}

static double number(const struct checkpoint *c, const char *key) { return json_number_value(json_object_get(c->provenance, key)); }

static bool same_weights(const struct checkpoint *a, const struct checkpoint *b)
{
    return memcmp(a->weights->data, b->weights->data, a->weights->count * sizeof(float)) == 0;
}

/* ---- tests */

static void test_loss_falls(void **state)
{
    struct train_spec s = tuning();
    s.tokens *= 5;
    struct checkpoint out = trained(&s, 2);
    double valid = number(&out, "valid_loss"), last = number(&out, "train_loss");
    if (!(last < log(300) - 1.5) || !(valid < log(300) - 1.5))
        fail_msg("after %g steps the losses are %g and %g; random guessing has %g", number(&out, "steps"), last, valid, log(300));
    assert_string_equal(json_string_value(json_object_get(out.provenance, "kind")), "tuned");
    assert_string_equal(json_string_value(json_object_get(out.provenance, "base")), base.hash);
    assert_string_equal(json_string_value(json_object_get(out.provenance, "text_hash")), corpus.hash);
    assert_int_equal(tokenizer_vocab(out.tokenizer)->count, 300);
    checkpoint_close(&out);
}

static void test_loss_falls_with_fake_quantization(void **state)
{
    struct train_spec s = tuning();
    s.tokens *= 5;
    s.fake_quant = &coarse;
    struct checkpoint out = trained(&s, 2);
    assert_true(number(&out, "valid_loss") < log(300) - 1);
    checkpoint_close(&out);
}

/* Above every norm that occurs it does nothing, below it works. */
static void test_clip(void **state)
{
    struct train_spec s = tuning();
    struct checkpoint off, high, low;
    s.clip = INFINITY;
    off = trained(&s, 1);
    s.clip = 1e6;
    high = trained(&s, 1);
    s.clip = 0.3;
    low = trained(&s, 1);
    assert_true(same_weights(&off, &high));
    assert_false(same_weights(&off, &low));
    checkpoint_close(&off);
    checkpoint_close(&high);
    checkpoint_close(&low);
}

/* 30 steps at a stretch, and 13 + 17 with a state file between, end with the same bits. */
static void check_resume(const struct fake_quant *q, int threads)
{
    struct train_spec s = tuning();
    struct checkpoint straight, out;
    struct err e = {0};
    s.fake_quant = q;
    straight = trained(&s, threads);
    s.state_path = state_path;
    s.resume = true;
    s.stop_after_steps = 13;
    assert_int_equal(train(&out, &s, threads, &e), ST_EINTERRUPTED);
    assert_non_null(strstr(e.text, "after step 13 of 30"));
    assert_null(out.weights);
    s.stop_after_steps = 0;
    out = trained(&s, threads);
    assert_true(same_weights(&straight, &out));
    assert_true(number(&straight, "train_loss") == number(&out, "train_loss"));
    assert_true(number(&straight, "valid_loss") == number(&out, "valid_loss"));
    assert_int_equal(unlink(state_path), 0); /* it stays until whoever asked has saved the model */
    checkpoint_close(&straight);
    checkpoint_close(&out);
}

static void test_resume(void **state)
{
    for (int threads = 1; threads <= 2; threads++) {
        check_resume(NULL, threads);
        coarse_calls = 0;
        check_resume(&coarse, threads);
        assert_int_equal(coarse_calls, 2 * STEPS);
    }
}

static void test_seeds(void **state)
{
    struct train_spec s = tuning();
    struct checkpoint a = trained(&s, 2), b = trained(&s, 2), one = trained(&s, 1), c, q;
    s.seed++;
    c = trained(&s, 2);
    s.seed--;
    s.fake_quant = &coarse;
    q = trained(&s, 2);
    assert_true(same_weights(&a, &b));
    assert_false(same_weights(&a, &c));
    assert_false(same_weights(&a, &q));
    assert_true(fabs(number(&a, "valid_loss") - number(&one, "valid_loss")) < 1e-2);
    checkpoint_close(&a);
    checkpoint_close(&b);
    checkpoint_close(&c);
    checkpoint_close(&q);
    checkpoint_close(&one);
}

static void test_from_scratch(void **state)
{
    struct train_spec s = train_spec_default();
    s.preset = "1m";
    s.corpus = &corpus;
    s.batch = 2;
    s.seq = 16;
    s.tokens = 8 * 32 - 5;
    struct checkpoint out = trained(&s, 2);
    assert_int_equal(out.weights->count, 1049728);
    assert_int_equal(tokenizer_vocab(out.tokenizer)->count, 2048);
    assert_int_equal((int)number(&out, "steps"), 8);
    assert_int_equal((int)number(&out, "tokens"), 256);
    assert_true(number(&out, "valid_loss") < log(2048) + 0.1);
    assert_string_equal(json_string_value(json_object_get(out.provenance, "kind")), "trained");
    assert_null(json_object_get(out.provenance, "base"));
    checkpoint_close(&out);
}

struct seen {
    long calls, last;
    double valid, lr_first, lr_peak, lr_last;
};

static void see(void *ctx, const struct train_progress *p)
{
    struct seen *s = ctx;
    s->calls++;
    assert_int_equal(p->step, s->last + 1);
    s->last = p->step;
    s->valid = p->valid_loss;
    s->lr_first = p->step == 1 ? p->lr : s->lr_first;
    s->lr_peak = fmax(s->lr_peak, p->lr);
    s->lr_last = p->lr;
}

static void test_progress_and_schedule(void **state)
{
    struct train_spec s = tuning();
    struct seen seen = {0};
    s.progress = see;
    s.progress_ctx = &seen;
    s.warmup = 0.2;
    struct checkpoint out = trained(&s, 1);
    assert_int_equal(seen.calls, STEPS);
    assert_true(seen.valid == number(&out, "valid_loss"));
    assert_true(fabs(seen.lr_first - 1e-2 / 6) < 1e-12);
    assert_true(fabs(seen.lr_peak - 1e-2) < 1e-12);
    assert_true(fabs(seen.lr_last - 1e-3) < 1e-12);
    checkpoint_close(&out);
}

static void test_stop_flag(void **state)
{
    struct train_spec s = tuning();
    struct checkpoint out;
    struct err e = {0};
    int stop = 1;
    s.stop = &stop;
    assert_int_equal(train(&out, &s, 1, &e), ST_EINTERRUPTED);
    assert_non_null(strstr(e.text, "nothing was saved"));
    s.state_path = state_path;
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_EINTERRUPTED);
    assert_non_null(strstr(e.text, state_path));
    assert_int_equal(access(state_path, F_OK), 0);

    s.stop = NULL;
    s.resume = true;
    s.lr *= 2;
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "another run"));

    assert_int_equal(truncate(state_path, 200), 0);
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_EFORMAT);
    unlink(state_path);
}

/* A loss that is no number stops with the step's name, and leaves the state on disk as it was. */
static void test_not_a_number(void **state)
{
    struct train_spec s = tuning();
    struct checkpoint out, bad = base;
    struct stat before, after;
    struct err e = {0};
    s.state_path = state_path;
    s.stop_after_steps = 2;
    assert_int_equal(train(&out, &s, 1, &e), ST_EINTERRUPTED);
    assert_int_equal(stat(state_path, &before), 0);

    bad.weights = must(weights_alloc(&base.weights->config, NULL));
    memcpy(bad.weights->data, base.weights->data, bad.weights->count * sizeof(float));
    bad.weights->norm[3] = NAN;
    s.base = &bad;
    s.stop_after_steps = 0;
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_EWRONG);
    assert_non_null(strstr(e.text, "at step 1 of 30"));
    assert_int_equal(stat(state_path, &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_size == after.st_size);
    assert_null(out.weights);
    weights_free(bad.weights);
    unlink(state_path);
}

static void test_bad_specs(void **state)
{
    static const struct {
        const char *says;
        long tokens;
        int batch, seq;
        double lr, beta2, clip;
    } bad[] = {
        {"tokens", -1, 1, 8, 1e-3, -1, -1},       {"batch", 100, -2, 8, 1e-3, -1, -1},   {"seq is 25", 100, 1, 25, 1e-3, -1, -1},
        {"lr", 100, 1, 8, -1, -1, -1},            {"lr is nan", 100, 1, 8, NAN, -1, -1}, {"beta2", 100, 1, 8, 1e-3, 1, -1},
        {"clip is 0", 100, 1, 8, 1e-3, -1, 0},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct train_spec s = tuning();
        struct checkpoint out;
        struct err e = {0};
        s.tokens = bad[i].tokens, s.batch = bad[i].batch, s.seq = bad[i].seq, s.lr = bad[i].lr;
        s.beta2 = bad[i].beta2, s.clip = bad[i].clip;
        assert_int_equal(train(&out, &s, 1, &e), ST_EUSAGE);
        if (!strstr(e.text, bad[i].says))
            fail_msg("'%s' does not say '%s'", e.text, bad[i].says);
    }
}

static void test_bad_models(void **state)
{
    struct train_spec s = train_spec_default();
    struct checkpoint out, mute = base;
    struct err e = {0};
    s.corpus = &corpus;
    assert_int_equal(train(&out, &s, 1, &e), ST_EUSAGE);
    s.preset = "7m";
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_ENOENT);
    s = tuning();
    mute.tokenizer = NULL;
    s.base = &mute;
    e = (struct err){0};
    assert_int_equal(train(&out, &s, 1, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "no tokenizer"));
}

/* Defaults and their values spelled out are one recipe; everything that matters makes another. */
static void test_recipe(void **state)
{
    struct train_spec s = tuning(), full = s, other;
    char a[2048], b[2048];
    train_recipe(&s, 2, a, sizeof a);
    full.weight_decay = 0.1, full.beta1 = 0.9, full.beta2 = 0.95, full.clip = 1, full.seq = 24;
    full.state_path = state_path, full.resume = true, full.stop_after_steps = 3;
    train_recipe(&full, 2, b, sizeof b);
    assert_string_equal(a, b);
    assert_null(strchr(a, '\n'));
    for (int i = 0; i < 8; i++) {
        other = s;
        other.tokens += i == 0;
        other.batch += i == 1;
        other.lr *= i == 2 ? 1.001 : 1;
        other.seed += i == 3;
        other.extra_recipe = i == 4 ? "method=x" : NULL;
        other.fake_quant = i == 5 ? &coarse : NULL;
        other.final_lr = i == 6 ? 0 : -1;
        train_recipe(&other, i == 7 ? 3 : 2, b, sizeof b);
        assert_string_not_equal(a, b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe),     cmocka_unit_test(test_bad_specs),   cmocka_unit_test(test_bad_models),
        cmocka_unit_test(test_loss_falls), cmocka_unit_test(test_loss_falls_with_fake_quantization),
        cmocka_unit_test(test_resume),     cmocka_unit_test(test_seeds),       cmocka_unit_test(test_clip),
        cmocka_unit_test(test_stop_flag),  cmocka_unit_test(test_not_a_number), cmocka_unit_test(test_from_scratch),
        cmocka_unit_test(test_progress_and_schedule),
    };
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, setup, teardown);
}
