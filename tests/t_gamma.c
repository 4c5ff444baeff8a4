/* γ: its definition, its undefined cases, that it never moves a code, and its predicted sign. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "act.h"
#include "quant.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 20241109, ROWS = 64, COLS = 768 };

static void gamma_is_the_ratio_of_deviations(void **state)
{
    float x[6] = {1, 2, 3, 4, 5, 9}, q[6], g;
    struct gamma_moments m = {0};
    for (int i = 0; i < 6; i++)
        q[i] = 2 * x[i] + 7; /* a shift is no spread */
    gamma_add(&m, x, q, 6);
    assert_true(gamma_value(&m, &g));
    assert_true(fabsf(g - 0.5f) < 1e-6f);
}

static void a_constant_leaves_gamma_undefined_at_one(void **state)
{
    float x[4] = {1, 2, 3, 4}, q[4] = {0.1f, 0.1f, 0.1f, 0.1f}, g = 5;
    struct gamma_moments m = {0}, swapped = {0}, none = {0};
    gamma_add(&m, x, q, 4);
    gamma_add(&swapped, q, x, 4);
    assert_false(gamma_value(&m, &g));
    assert_true(g == 1);
    assert_false(gamma_value(&swapped, &g));
    assert_false(gamma_value(&none, &g));
}

static struct qlinear encoded(const float *w, const char *method, int group, struct par *p)
{
    struct qlinear q;
    assert_int_equal(qlinear_alloc(&q, FORMAT_INT4, ROWS, COLS, group, NULL), ST_OK);
    quantizer_find(method)->encode(&q, w, p);
    return q;
}

static double deviation(const float *x, int n)
{
    double s = 0, ss = 0;
    for (int i = 0; i < n; i++) {
        s += x[i];
        ss += (double)x[i] * x[i];
    }
    return sqrt(ss / n - s / n * (s / n));
}

static void folding_restores_the_deviation_and_moves_no_code(void **state)
{
    struct par *p;
    float *w = mem_alloc(ROWS * COLS, sizeof *w), *d = mem_alloc(ROWS * COLS, sizeof *d);
    static int8_t before[ROWS * COLS];
    print_message("seed %d\n", SEED);
    tiny_normal(w, ROWS * COLS, SEED);
    assert_int_equal(par_open(&p, 2, NULL), ST_OK);
    for (int gamma = GAMMA_TENSOR; gamma <= GAMMA_CHANNEL; gamma++)
        for (int group = 0; group <= 64; group += 64) {
            struct gamma_stat stat;
            struct qlinear q = encoded(w, "rtn", group, p);
            memcpy(before, q.plane.codes, sizeof before);
            assert_int_equal(gamma_fold_weights(&q, w, (enum gamma)gamma, &stat, NULL), ST_OK);
            assert_memory_equal(before, q.plane.codes, sizeof before);
            assert_int_equal(stat.count, gamma == GAMMA_TENSOR ? 1 : ROWS);
            assert_int_equal(stat.undefined, 0);
            qlinear_dequantize(&q, d);
            int each = gamma == GAMMA_TENSOR ? ROWS * COLS : COLS;
            for (int i = 0; i < ROWS * COLS; i += each) /* fp16 scales: 2^-11 each */
                assert_true(fabs(deviation(d + i, each) / deviation(w + i, each) - 1) < (group ? 0x1p-11 : 1e-5));
            qlinear_free(&q);
        }
    mem_free(w);
    mem_free(d);
    par_close(p);
}

/* Unclipped rounding adds variance, so γ < 1; the least-squares clip removes some, so γ > 1 (orthogonality of the error). */
static void its_sign_is_the_predicted_one(void **state)
{
    struct par *p;
    float *w = mem_alloc(ROWS * COLS, sizeof *w);
    struct gamma_stat rtn, mse;
    tiny_normal(w, ROWS * COLS, SEED);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    struct qlinear a = encoded(w, "rtn", 0, p), b = encoded(w, "mse", 0, p);
    assert_int_equal(gamma_fold_weights(&a, w, GAMMA_TENSOR, &rtn, NULL), ST_OK);
    assert_int_equal(gamma_fold_weights(&b, w, GAMMA_TENSOR, &mse, NULL), ST_OK);
    print_message("int4 per channel, Gauss: rtn %.4f, mse %.4f\n", (double)rtn.mean, (double)mse.mean);
    assert_true(rtn.mean > 0.98f && rtn.mean < 0.999f);
    assert_true(mse.mean > 1.002f && mse.mean < 1.012f);
    qlinear_free(&a);
    qlinear_free(&b);
    mem_free(w);
    par_close(p);
}

static void dead_rows_are_counted(void **state)
{
    struct par *p;
    float *w = mem_alloc(ROWS * COLS, sizeof *w);
    struct gamma_stat stat;
    tiny_normal(w, ROWS * COLS, SEED);
    memset(w + 5 * COLS, 0, COLS * sizeof *w);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    struct qlinear q = encoded(w, "rtn", 0, p);
    assert_int_equal(gamma_fold_weights(&q, w, GAMMA_CHANNEL, &stat, NULL), ST_OK);
    assert_int_equal(stat.undefined, 1);
    assert_true(stat.mean < 1 && stat.max >= 1 && q.plane.scale[5] == 0);
    qlinear_free(&q);
    mem_free(w);
    par_close(p);
}

static void activations_give_one_factor(void **state)
{
    enum { M = 50, K = 128 };
    float x[M * K], g;
    struct gamma_stat stat;
    tiny_normal(x, M * K, SEED);
    assert_int_equal(gamma_of_acts(x, M, K, K, &g, &stat, NULL), ST_OK);
    assert_true(fabsf(g - 1) < 1e-3f && g != 1); /* int8: |γ - 1| of the order of 1e-5 … 1e-3 */
    assert_int_equal(stat.count, 1);
    memset(x, 0, sizeof x);
    assert_int_equal(gamma_of_acts(x, M, K, K, &g, &stat, NULL), ST_OK);
    assert_int_equal(stat.undefined, 1);
    assert_true(g == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gamma_is_the_ratio_of_deviations),
        cmocka_unit_test(a_constant_leaves_gamma_undefined_at_one),
        cmocka_unit_test(folding_restores_the_deviation_and_moves_no_code),
        cmocka_unit_test(its_sign_is_the_predicted_one),
        cmocka_unit_test(dead_rows_are_counted),
        cmocka_unit_test(activations_give_one_factor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
