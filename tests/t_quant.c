/* Every quantization method over formats, groups and shapes; the analytic optimum; training's grid against the encoder's. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant.h"
#include "tiny.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static const int groups[] = {0, 8, 32, 64, 128};
static const struct { int rows, cols; } shapes[] = {{1, 1}, {3, 31}, {16, 172}, {17, 128}, {40, 300}};
enum { SEED = 20240611 };

static float *random_matrix(int rows, int cols)
{
    float *w = mem_alloc((size_t)rows * (size_t)cols, sizeof *w);
    assert_non_null(w);
    tiny_normal(w, (size_t)rows * (size_t)cols, SEED + (uint64_t)cols);
    memset(w, 0, (size_t)cols * sizeof *w); /* a row of zeros: scale 0, codes 0 */
    if (rows > 2)
        w[2 * cols] = 40; /* an outlier */
    return w;
}

static double squared_error(const struct qlinear *q, const float *w)
{
    size_t n = (size_t)q->rows * (size_t)q->cols;
    float *d = mem_alloc(n, sizeof *d);
    double sum = 0;
    qlinear_dequantize(q, d);
    for (size_t i = 0; i < n; i++)
        sum += ((double)d[i] - w[i]) * ((double)d[i] - w[i]);
    mem_free(d);
    return sum;
}

static void check_codes(const struct qlinear *q, const char *method)
{
    int g = qlinear_groups(q->cols, q->plane.group);
    for (size_t i = 0; i < (size_t)q->rows * (size_t)q->cols; i++)
        if (!format_holds(q->format, q->plane.codes[i]))
            fail_msg("%s %s group %d: code %d", method, formats[q->format].name, q->plane.group, q->plane.codes[i]);
    for (int i = 0; i < q->rows * g; i++) {
        float s = q->plane.scale[i];
        assert_true(isfinite(s) && s >= 0);
        if (q->plane.group)
            assert_true(fp16_round(s) == s);
    }
    for (int i = 0; i < q->cols && format_holds(q->format, 0); i++)
        assert_int_equal(q->plane.codes[i], 0);
}

static void every_method_keeps_its_format(void **state)
{
    struct par *p;
    print_message("seed %d\n", SEED);
    assert_int_equal(par_open(&p, 2, NULL), ST_OK);
    for (int m = 0; quantizers[m]; m++)
        for (int f = 0; f < FORMAT_COUNT; f++)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
                for (size_t s = 0; s < sizeof shapes / sizeof *shapes && formats[f].qmax; s++) {
                    struct qlinear q;
                    float *w = random_matrix(shapes[s].rows, shapes[s].cols);
                    assert_int_equal(qlinear_alloc(&q, (enum format)f, shapes[s].rows, shapes[s].cols, groups[g], NULL), ST_OK);
                    quantizers[m]->encode(&q, w, p);
                    check_codes(&q, quantizers[m]->name);
                    qlinear_free(&q);
                    mem_free(w);
                }
    par_close(p);
}

static void rtn_errs_by_half_a_step_at_most(void **state)
{
    struct par *p;
    struct qlinear q;
    float *w = random_matrix(17, 100), *d = mem_alloc(1700, sizeof *d);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    for (int f = FORMAT_INT8; f <= FORMAT_INT4; f++) {
        assert_int_equal(qlinear_alloc(&q, (enum format)f, 17, 100, 32, NULL), ST_OK);
        quantizer_find("rtn")->encode(&q, w, p);
        qlinear_dequantize(&q, d);
        for (int i = 0; i < 1700; i++) {
            float scale = q.plane.scale[i / 100 * 4 + i % 100 / 32];
            /* + what rounding the scale to fp16 (2^-11) takes from the outermost code */
            assert_true(fabsf(d[i] - w[i]) <= scale * (0.5f + (float)formats[f].qmax * 0x1p-11f) * 1.0001f);
        }
        qlinear_free(&q);
    }
    mem_free(w);
    mem_free(d);
    par_close(p);
}

/* With a zero point the grid reaches from the least weight to the largest, whatever their signs; a constant group is exact. */
static void a_zero_point_fits_the_range(void **state)
{
    enum { ROWS = 9, COLS = 100, N = ROWS * COLS };
    struct par *p;
    float *w = random_matrix(ROWS, COLS), *d = mem_alloc(N, sizeof *d);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    for (int i = 0; i < N; i++)
        w[i] = i / COLS == 1 ? 0.375f : w[i] + 3;
    for (int m = 0; quantizers[m]; m++)
        for (int f = FORMAT_INT8; f <= FORMAT_INT2; f++) {
            struct qlinear q;
            int steps = formats[f].qmax - formats[f].qmin;
            assert_int_equal(qlinear_alloc(&q, (enum format)f, ROWS, COLS, 32, NULL), ST_OK);
            assert_int_equal(qlinear_alloc_shift(&q, NULL), ST_OK);
            quantizers[m]->encode(&q, w, p);
            qlinear_dequantize(&q, d);
            for (int i = 0; i < N; i++) {
                int slot = i / COLS * 4 + i % COLS / 32;
                float scale = q.plane.scale[slot], shift = q.plane.shift[slot];
                assert_true(fp16_round(scale) == scale && fp16_round(shift) == shift && format_holds((enum format)f, q.plane.codes[i]));
                if (i / COLS == 1)
                    assert_true(d[i] == 0.375f);
                else if (!strcmp(quantizers[m]->name, "rtn")) /* + the roundings of scale and shift to fp16 */
                    assert_true(fabsf(d[i] - w[i]) <= scale * (0.5f + (float)steps * 0x1p-11f) + fabsf(shift) * 0x1p-11f + 1e-6f);
            }
            qlinear_free(&q);
        }
    mem_free(w);
    mem_free(d);
    par_close(p);
}

/* Unit Laplace and Gauss: what bin and tern store of them is known in closed form. */
static void bin_and_tern_take_the_mean_size(void **state)
{
    enum { N = 1 << 18 };
    struct par *p;
    struct qlinear q;
    float *w = mem_alloc(N, sizeof *w);
    const double mean = 0.7978845608; /* of |w|, Gauss: sqrt(2 / pi) */
    tiny_normal(w, N, SEED);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    for (int f = FORMAT_TERN; f <= FORMAT_BIN; f++) {
        double zeros = 0;
        assert_int_equal(qlinear_alloc(&q, (enum format)f, 1, N, 0, NULL), ST_OK);
        quantizer_find("rtn")->encode(&q, w, p);
        for (int i = 0; i < N; i++)
            zeros += q.plane.codes[i] == 0;
        /* five standard deviations: sqrt(1 - 2/pi) / sqrt(N), and of a share of about 0.3 */
        assert_true(fabs((double)q.plane.scale[0] - mean) < 5 * 0.6028 / sqrt(N));
        assert_true(fabs(zeros / N - (f == FORMAT_BIN ? 0 : erf(mean / 2 / sqrt(2)))) < 5 * 0.5 / sqrt(N));
        if (f == FORMAT_BIN) /* 1 - 2 / pi */
            assert_true(fabs(squared_error(&q, w) / N - 0.3633802) < 0.01);
        qlinear_free(&q);
    }
    mem_free(w);
    par_close(p);
}

static void searching_the_clip_never_loses_to_rtn(void **state)
{
    struct par *p;
    struct qlinear a, b;
    float *w = random_matrix(40, 300);
    assert_int_equal(par_open(&p, 2, NULL), ST_OK);
    for (int f = FORMAT_INT8; f < FORMAT_COUNT; f++)
        for (int zero_point = 0; zero_point <= (f >= FORMAT_INT8 && f <= FORMAT_INT2); zero_point++) {
            assert_int_equal(qlinear_alloc(&a, (enum format)f, 40, 300, 0, NULL), ST_OK);
            assert_int_equal(qlinear_alloc(&b, (enum format)f, 40, 300, 0, NULL), ST_OK);
            if (zero_point) {
                assert_int_equal(qlinear_alloc_shift(&a, NULL), ST_OK);
                assert_int_equal(qlinear_alloc_shift(&b, NULL), ST_OK);
            }
            quantizer_find("rtn")->encode(&a, w, p);
            quantizer_find("mse")->encode(&b, w, p);
            assert_true(squared_error(&b, w) <= (f == FORMAT_INT4 ? 0.95 : 1.0) * squared_error(&a, w));
            qlinear_free(&a);
            qlinear_free(&b);
        }
    mem_free(w);
    par_close(p);
}

/* Unit Gauss on the symmetric grid of ±7: clip 2.474 sigma, mean squared error 0.01289 (numerical optimum). */
static void the_best_clip_of_a_gaussian_is_the_analytic_one(void **state)
{
    enum { N = 1 << 20 };
    struct par *p;
    struct qlinear q;
    float *w = mem_alloc(N, sizeof *w);
    tiny_normal(w, N, SEED);
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    assert_int_equal(qlinear_alloc(&q, FORMAT_INT4, 1, N, 0, NULL), ST_OK);
    quantizer_find("mse")->encode(&q, w, p);
    /* The grid has steps of 1 % of absmax, about 0.05 sigma here; MSE is flat at its minimum. The tail makes
     * the error's square spread by about 2.5 of its mean: 0.25 % over 2^20 samples, so 1 % is four deviations. */
    assert_true(fabs(7 * q.plane.scale[0] - 2.474) < 0.06);
    assert_true(fabs(squared_error(&q, w) / N / 0.01289 - 1) < 0.01);
    qlinear_free(&q);
    mem_free(w);
    par_close(p);
}

static void specifications_that_do_not_fit_are_refused(void **state)
{
    const struct quantizer *rtn = quantizer_find("rtn");
    const struct qspec bad[] = {
        {.format = FORMAT_INT4},
        {.method = rtn, .format = FORMAT_F32},
        {.format = FORMAT_F32, .group = 32},
        {.format = FORMAT_F32, .gamma = GAMMA_TENSOR},
        {.format = FORMAT_BF16, .zero_point = true},
        {.format = FORMAT_BF16, .weight_only = true},
        {.method = rtn, .format = FORMAT_TERN, .zero_point = true},
        {.method = rtn, .format = FORMAT_BIN, .zero_point = true},
        {.method = rtn, .format = FORMAT_POT4, .zero_point = true},
        {.method = rtn, .format = FORMAT_INT4, .gamma = GAMMA_CHANNEL, .gamma_on = GAMMA_ON_ACT},
        {.method = rtn, .format = FORMAT_INT4, .gamma = GAMMA_TENSOR, .gamma_on = GAMMA_ON_ACT, .weight_only = true},
        {.method = rtn, .format = FORMAT_INT4, .group = 12},
        {.method = rtn, .format = FORMAT_INT4, .group = -32},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(qspec_check(&bad[i], &e), ST_EUSAGE);
        assert_true(strlen(e.text) > 20 && !strchr(e.text, '\n'));
    }
    assert_null(quantizer_find("nosuch"));
}

static void training_sees_exactly_what_is_stored(void **state)
{
    struct par *p;
    struct weights *master = tiny_weights(true, SEED), *shadow = tiny_weights(true, SEED + 1);
    assert_int_equal(par_open(&p, 2, NULL), ST_OK);
    for (int m = 0; quantizers[m]; m++)
        for (int group = 0; group <= 32 && quantizers[m]->family == FAMILY_QAT; group += 32) {
            struct qspec spec = {.method = quantizers[m], .format = FORMAT_INT4, .group = group, .zero_point = group};
            struct fake_quant f;
            struct qmodel q;
            assert_int_equal(quantizers[m]->fake_quant(&f, &spec, &master->config, NULL), ST_OK);
            assert_int_equal(f.weights(f.ctx, master, shadow, p, NULL), ST_OK);
            assert_int_equal(quantize(&q, master, &spec, NULL, p, NULL), ST_OK);
            for (int i = 0; i < master->config.layers * LIN_COUNT; i++) {
                const struct qlinear *l = &q.linear[i];
                size_t n = (size_t)l->rows * (size_t)l->cols;
                float *d = mem_alloc(n, sizeof *d);
                qlinear_dequantize(l, d);
                assert_memory_equal(d, shadow->layer[i / LIN_COUNT].linear[i % LIN_COUNT], n * sizeof *d);
                mem_free(d);
            }
            qmodel_free(&q);
            quantizers[m]->release(&f);
        }
    weights_free(master);
    weights_free(shadow);
    par_close(p);
}

static void sizes_are_the_bytes_of_a_file(void **state)
{
    struct par *p;
    struct weights *w = tiny_weights(true, SEED);
    struct qspec f32 = {.format = FORMAT_F32}, int4 = {.method = quantizer_find("rtn"), .format = FORMAT_INT4, .group = 32};
    struct qmodel q;
    size_t linear = 0, scales = 0, codes = 0;
    assert_int_equal(par_open(&p, 1, NULL), ST_OK);
    assert_int_equal(quantize(&q, w, &f32, NULL, p, NULL), ST_OK);
    struct model_size s = qmodel_size(&q);
    assert_int_equal(s.total, s.fp32);
    assert_true(s.fp32 > 4 * w->count && s.fp32 < 4 * w->count + 4096);
    assert_int_equal(s.fp32 - s.fp16, 2 * w->count);
    qmodel_free(&q);
    assert_int_equal(quantize(&q, w, &int4, NULL, p, NULL), ST_OK);
    s = qmodel_size(&q);
    for (int i = 0; i < LIN_COUNT; i++) {
        int rows, cols;
        lin_shape(&w->config, (enum lin)i, &rows, &cols);
        linear += 2 * (size_t)rows * (size_t)cols;
        codes += 2 * (size_t)rows * (((size_t)cols + 1) / 2);
        scales += 2 * (size_t)rows * (((size_t)cols + 31) / 32);
    }
    assert_int_equal(s.quantized, codes + 2 * scales);
    assert_true(fabs(s.bits_per_weight - 8.0 * (double)s.quantized / (double)linear) < 1e-9);
    size_t payload = s.quantized + 4 * (w->count - linear);
    assert_true(s.total > payload && s.total < payload + 4096);
    qmodel_free(&q);
    weights_free(w);
    par_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_keeps_its_format),
        cmocka_unit_test(rtn_errs_by_half_a_step_at_most),
        cmocka_unit_test(a_zero_point_fits_the_range), cmocka_unit_test(bin_and_tern_take_the_mean_size),
        cmocka_unit_test(searching_the_clip_never_loses_to_rtn),
        cmocka_unit_test(the_best_clip_of_a_gaussian_is_the_analytic_one),
        cmocka_unit_test(specifications_that_do_not_fit_are_refused),
        cmocka_unit_test(training_sees_exactly_what_is_stored),
        cmocka_unit_test(sizes_are_the_bytes_of_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
