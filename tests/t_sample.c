/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "sample.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { VOCAB = 6, DRAWS = 40000, SEED = 5 };

/* Probabilities 0.4, 0.3, 0.15, 0.1, 0.05 and nearly 0, in another order. */
static const int32_t order[VOCAB] = {3, 0, 5, 1, 4, 2};
static const double share[VOCAB] = {0.4, 0.3, 0.15, 0.1, 0.05, 1e-30};
static float logits[VOCAB];

static int fill(void **state)
{
    for (int i = 0; i < VOCAB; i++)
        logits[order[i]] = (float)(log(share[i]) + 7);
    return 0;
}

/* Draws, and compares with the expected shares: five standard deviations of a share. */
static void expect(struct sampling how, const double *expected)
{
    struct sampler *s;
    int count[VOCAB] = {0};
    assert_int_equal(sampler_open(&s, &how, VOCAB, NULL), ST_OK);
    for (int i = 0; i < DRAWS; i++)
        count[sampler_next(s, logits)]++;
    for (int i = 0; i < VOCAB; i++) {
        double is = (double)count[order[i]] / DRAWS, sd = sqrt(expected[i] * (1 - expected[i]) / DRAWS);
        if (fabs(is - expected[i]) > 5 * sd + 1e-9)
            fail_msg("seed %d: token %d came in %.4f of draws, not %.4f", SEED, order[i], is, expected[i]);
    }
    sampler_close(s);
}

static void shares_are_the_softmax(void **state)
{
    expect((struct sampling){.temperature = 1, .top_p = 1, .seed = SEED}, share);
    double sharp[VOCAB], sum = 0;
    for (int i = 0; i < VOCAB; i++)
        sum += sharp[i] = share[i] * share[i];
    for (int i = 0; i < VOCAB; i++)
        sharp[i] /= sum;
    expect((struct sampling){.temperature = 0.5, .top_p = 1, .seed = SEED}, sharp);
}

static void only_the_likeliest_are_kept(void **state)
{
    expect((struct sampling){.temperature = 0, .top_p = 1, .seed = SEED}, (double[VOCAB]){1});
    expect((struct sampling){.temperature = 2, .top_k = 1, .top_p = 1, .seed = SEED}, (double[VOCAB]){1});
    expect((struct sampling){.temperature = 1, .top_k = 2, .top_p = 1, .seed = SEED}, (double[VOCAB]){0.4 / 0.7, 0.3 / 0.7});
    expect((struct sampling){.temperature = 1, .top_p = 0.3, .seed = SEED}, (double[VOCAB]){1});
    expect((struct sampling){.temperature = 1, .top_p = 0.8, .seed = SEED}, (double[VOCAB]){0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85});
    expect((struct sampling){.temperature = 1, .top_k = 2, .top_p = 0.5, .seed = SEED}, (double[VOCAB]){1}); /* p is of what k left */
}

static void seeds_decide(void **state)
{
    struct sampling how = {.temperature = 1, .top_p = 1, .seed = SEED};
    struct sampler *a, *b, *c;
    bool differs = false;
    assert_int_equal(sampler_open(&a, &how, VOCAB, NULL), ST_OK);
    assert_int_equal(sampler_open(&b, &how, VOCAB, NULL), ST_OK);
    how.seed++;
    assert_int_equal(sampler_open(&c, &how, VOCAB, NULL), ST_OK);
    for (int i = 0; i < 100; i++) {
        int32_t id = sampler_next(a, logits);
        assert_int_equal(sampler_next(b, logits), id);
        differs |= sampler_next(c, logits) != id;
    }
    assert_true(differs);
    sampler_close(a);
    sampler_close(b);
    sampler_close(c);
}

static void nonsense_is_refused(void **state)
{
    static const struct {
        struct sampling how;
        const char *word;
    } bad[] = {{{-1, 0, 1, 0}, "temperature"}, {{NAN, 0, 1, 0}, "temperature"}, {{1, -1, 1, 0}, "top-k"}, {{1, 0, 0, 0}, "top-p"}, {{1, 0, 1.5, 0}, "top-p"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sampler *s;
        struct err e = {0};
        assert_int_equal(sampler_open(&s, &bad[i].how, VOCAB, &e), ST_EUSAGE);
        assert_non_null(strstr(e.text, bad[i].word));
        assert_null(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_the_softmax),
        cmocka_unit_test(only_the_likeliest_are_kept),
        cmocka_unit_test(seeds_decide),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
