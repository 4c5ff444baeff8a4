/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "act.h"
#include "decoder_ref.h"
#include "layers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h> /* after base.h: it makes fail a macro */

/*
 * Every forward is compared with the double reference, and every backward with central differences *of the reference*, in
 * double, of objective = sum of dy * y: their own error, about h^2 + 1e-16/h, is far below a float's. What remains is the rounding of
 * the float code: a sum of `terms` products is off by at most terms * eps * (sum of magnitudes), and the magnitudes
 * are bounded by the largest result times a small factor, for which SLACK stands.
 */
enum { SLACK = 16, COORDINATES = 60, SEED = 20240613 };
static const double STEP = 1e-5;

struct dims {
    int n, a, b, c, d; /* what they mean is the layer's affair */
};

/* p: all inputs of a layer, one after the other; y: its outputs */
typedef void forward_fn(const struct dims *d, const double *p, double *y);

struct trial {
    struct layers ops;
    struct rng rng;
    struct dims dims;
    forward_fn *forward;
    int inputs, outputs, terms;
    double *p, *y, *work;   /* inputs, outputs of the reference, room */
    float *pf, *yf, *dy, *grad;
};

static void *must(void *p)
{
    assert_non_null(p);
    return p;
}

static void trial_open(struct trial *t, struct dims dims, forward_fn *forward, int inputs, int outputs, int terms, uint64_t seed)
{
    struct err e = {0};
    *t = (struct trial){.dims = dims, .forward = forward, .inputs = inputs, .outputs = outputs, .terms = terms};
    t->ops = (struct layers){vec_get(), blas_get(&e)};
    if (!t->ops.blas)
        fail_msg("%s", e.text);
    rng_seed(&t->rng, seed);
    size_t in = (size_t)inputs, out = (size_t)outputs;
    t->p = must(mem_alloc(in, sizeof(double)));
    t->pf = must(mem_alloc(in, sizeof(float)));
    t->grad = must(mem_alloc(in, sizeof(float)));
    t->y = must(mem_alloc(out, sizeof(double)));
    t->work = must(mem_alloc(out, sizeof(double)));
    t->yf = must(mem_alloc(out, sizeof(float)));
    t->dy = must(mem_alloc(out, sizeof(float)));
    for (int i = 0; i < inputs; i++)
        t->p[i] = t->pf[i] = rng_normal(&t->rng);
    for (int i = 0; i < outputs; i++)
        t->dy[i] = rng_normal(&t->rng);
    forward(&t->dims, t->p, t->y);
}

static void trial_close(struct trial *t)
{
    void *all[] = {t->p, t->pf, t->grad, t->y, t->work, t->yf, t->dy};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        mem_free(all[i]);
}

static double tolerance(const struct trial *t, double largest) { return SLACK * t->terms * 0x1p-24 * (largest + 1e-3); }

static void check_forward(const struct trial *t)
{
    double largest = 0;
    for (int i = 0; i < t->outputs; i++)
        largest = fmax(largest, fabs(t->y[i]));
    for (int i = 0; i < t->outputs; i++)
        if (!(fabs(t->y[i] - t->yf[i]) <= tolerance(t, largest)))
            fail_msg("output %d of n=%d a=%d b=%d c=%d d=%d: %.9g, reference %.9g", i, t->dims.n, t->dims.a, t->dims.b, t->dims.c,
                     t->dims.d, t->yf[i], t->y[i]);
}

static double objective(struct trial *t)
{
    double sum = 0;
    t->forward(&t->dims, t->p, t->work);
    for (int i = 0; i < t->outputs; i++)
        sum += t->dy[i] * t->work[i];
    return sum;
}

/* Random coordinates, always with the first and the last. */
static void check_backward(struct trial *t)
{
    double largest = 0;
    for (int i = 0; i < t->inputs; i++)
        largest = fmax(largest, fabs(t->grad[i]));
    for (int i = 0; i < COORDINATES; i++) {
        int at = i < 2 ? i * (t->inputs - 1) : (int)rng_below(&t->rng, (uint32_t)t->inputs);
        double keep = t->p[at], up, down;
        t->p[at] = keep + STEP;
        up = objective(t);
        t->p[at] = keep - STEP;
        down = objective(t);
        t->p[at] = keep;
        double slope = (up - down) / (2 * STEP);
        if (!(fabs(slope - t->grad[at]) <= tolerance(t, largest) + 1e-8 * largest))
            fail_msg("gradient %d of %d of n=%d a=%d b=%d c=%d d=%d: %.9g, differences say %.9g (largest %.3g)", at, t->inputs,
                     t->dims.n, t->dims.a, t->dims.b, t->dims.c, t->dims.d, t->grad[at], slope, largest);
    }
}

/* ---- linear: a = outputs, b = inputs; p = x (n,b), w (a,b), y before (n,a) that beta keeps */

static void linear_ref(const struct dims *d, const double *p, double *y)
{
    ref_linear(p, p + d->n * d->b, d->n, d->a, d->b, y);
    for (int i = 0; i < d->n * d->a; i++)
        y[i] += p[d->n * d->b + d->a * d->b + i];
}

static void test_linear(void **state)
{
    static const struct dims cases[] = {{1, 1, 1, 0, 0}, {3, 5, 7, 0, 0}, {17, 4, 33, 0, 0}, {70, 31, 18, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        int n = cases[i].n, rows = cases[i].a, cols = cases[i].b, x = n * cols, w = rows * cols;
        trial_open(&t, cases[i], linear_ref, x + w + n * rows, n * rows, max_int(n, max_int(rows, cols)), SEED + i);
        memcpy(t.yf, t.pf + x + w, (size_t)(n * rows) * sizeof(float));
        layers_linear(&t.ops, t.pf, t.pf + x, n, rows, cols, 1.0f, t.yf, rows);
        check_forward(&t);
        layers_linear_grad(&t.ops, t.pf, t.pf + x, n, rows, cols, t.dy, rows, 0.0f, t.grad, t.grad + x);
        memcpy(t.grad + x + w, t.dy, (size_t)(n * rows) * sizeof(float));
        check_backward(&t);
        trial_close(&t);
    }
}

/* ---- norm: a = dim; p = x (n,a), w (a) */

static const float EPS = 1e-5f;

static void norm_ref(const struct dims *d, const double *p, double *y) { ref_norm(p, p + d->n * d->a, d->n, d->a, EPS, y); }

static void test_norm(void **state)
{
    static const struct dims cases[] = {{1, 1, 0, 0, 0}, {2, 3, 0, 0, 0}, {5, 16, 0, 0, 0}, {9, 129, 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        int n = cases[i].n, dim = cases[i].a;
        float r[16];
        trial_open(&t, cases[i], norm_ref, n * dim + dim, n * dim, max_int(n, dim), SEED + i);
        layers_norm(&t.ops, t.pf, t.pf + n * dim, n, dim, EPS, t.yf, r);
        check_forward(&t);
        layers_norm_grad(&t.ops, t.pf, t.pf + n * dim, r, n, dim, t.dy, t.grad, t.grad + n * dim);
        check_backward(&t);
        trial_close(&t);
    }
}

/* ---- rope: a = sequence, b = heads, c = head_dim, d = ld */

static void rope_ref(const struct dims *d, const double *p, double *y)
{
    memcpy(y, p, (size_t)(d->n * d->d) * sizeof *y);
    ref_rope(y, 10000, d->n, d->a, d->b, d->c, d->d);
}

static void test_rope(void **state)
{
    static const struct dims cases[] = {{1, 1, 1, 2, 2}, {6, 3, 2, 6, 14}, {40, 20, 3, 8, 24}, {9, 9, 1, 34, 40}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        const struct dims *d = &cases[i];
        int count = d->n * d->d;
        float cosine[20 * 20], sine[20 * 20];
        trial_open(&t, *d, rope_ref, count, count, 4, SEED + i);
        layers_rope_table(10000, d->a, d->c, cosine, sine);
        memcpy(t.yf, t.pf, (size_t)count * sizeof(float));
        layers_rope(&t.ops, cosine, sine, d->n, d->a, d->b, d->c, t.yf, d->d);
        check_forward(&t);
        for (int j = 0; j < d->a * d->c / 2; j++)
            sine[j] = -sine[j];
        memcpy(t.grad, t.dy, (size_t)count * sizeof(float));
        layers_rope(&t.ops, cosine, sine, d->n, d->a, d->b, d->c, t.grad, d->d);
        check_backward(&t);
        trial_close(&t);
    }
}

/* ---- attention: n = sequence, a = heads, b = kv heads, c = head_dim */

static void attention_ref(const struct dims *d, const double *p, double *y) { ref_attention(p, d->n, d->a, d->b, d->c, y); }

static void test_attention(void **state)
{
    static const struct dims cases[] = {{1, 1, 1, 2, 0}, {2, 2, 1, 4, 0}, {7, 3, 3, 6, 0}, {63, 2, 1, 4, 0},
                                        {64, 1, 1, 2, 0}, {65, 4, 2, 2, 0}, {131, 6, 2, 4, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        const struct dims *d = &cases[i];
        struct attention a = {d->n, d->a, d->b, d->c, (d->a + 2 * d->b) * d->c};
        trial_open(&t, *d, attention_ref, d->n * a.ld, d->n * d->a * d->c, d->n + d->c, SEED + i);
        float *scratch = must(mem_alloc(layers_attention_room(&a), sizeof(float)));
        layers_attention(&t.ops, &a, t.pf, scratch, t.yf);
        check_forward(&t);
        for (int j = 0; j < t.inputs; j++)
            t.grad[j] = NAN; /* it is overwritten, not added to */
        layers_attention_grad(&t.ops, &a, t.pf, t.dy, scratch, t.grad);
        check_backward(&t);
        mem_free(scratch);
        trial_close(&t);
    }
}

/* No output depends on a later token. */
static void test_attention_is_causal(void **state)
{
    struct attention a = {70, 2, 1, 4, 16};
    struct trial t;
    trial_open(&t, (struct dims){70, 2, 1, 4, 0}, attention_ref, 70 * 16, 70 * 8, 74, SEED);
    float *scratch = must(mem_alloc(layers_attention_room(&a), sizeof(float)));
    layers_attention(&t.ops, &a, t.pf, scratch, t.yf);
    for (int j = 50 * 16; j < 70 * 16; j++)
        t.pf[j] += 3;
    layers_attention(&t.ops, &a, t.pf, scratch, t.dy);
    assert_memory_equal(t.yf, t.dy, 50 * 8 * sizeof(float));
    assert_memory_not_equal(t.yf + 50 * 8, t.dy + 50 * 8, 8 * sizeof(float));
    mem_free(scratch);
    trial_close(&t);
}

/* ---- SwiGLU: a = ffn */

static void swiglu_ref(const struct dims *d, const double *p, double *y) { ref_swiglu(p, d->n, d->a, y); }

static void test_swiglu(void **state)
{
    static const struct dims cases[] = {{1, 1, 0, 0, 0}, {3, 7, 0, 0, 0}, {4, 50, 0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        int n = cases[i].n, ffn = cases[i].a;
        trial_open(&t, cases[i], swiglu_ref, n * 2 * ffn, n * ffn, 8, SEED + i);
        layers_swiglu(&t.ops, t.pf, n, ffn, t.yf);
        check_forward(&t);
        layers_swiglu_grad(&t.ops, t.pf, n, ffn, t.dy, t.grad);
        check_backward(&t);
        trial_close(&t);
    }
}

/* ---- head and loss: a = dim, b = vocab; p = x (n,a), head (b,a); every third target is not scored */

static int32_t target_of(const struct dims *d, int i) { return i % 3 == 1 ? -1 : (int32_t)(i * 7 % d->b); }

static void loss_ref(const struct dims *d, const double *p, double *y)
{
    int32_t targets[512];
    for (int i = 0; i < d->n; i++)
        targets[i] = target_of(d, i);
    *y = ref_loss(p, p + d->n * d->a, targets, d->n, d->a, d->b);
}

static void test_loss(void **state)
{
    static const struct dims cases[] = {{1, 1, 2, 0, 0}, {5, 4, 9, 0, 0}, {128, 6, 17, 0, 0}, {300, 5, 40, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct trial t;
        int n = cases[i].n, dim = cases[i].a, vocab = cases[i].b;
        int32_t targets[512];
        for (int j = 0; j < n; j++)
            targets[j] = target_of(&cases[i], j);
        float *logits = must(mem_alloc((size_t)LAYERS_LOSS_BLOCK * (size_t)vocab, sizeof(float)));
        trial_open(&t, cases[i], loss_ref, (n + vocab) * dim, 1, max_int(n, vocab), SEED + i);
        double only = layers_loss(&t.ops, t.pf, t.pf + n * dim, targets, n, dim, vocab, t.dy[0], logits, NULL, NULL);
        t.yf[0] = (float)layers_loss(&t.ops, t.pf, t.pf + n * dim, targets, n, dim, vocab, t.dy[0], logits, t.grad, t.grad + n * dim);
        assert_true(fabs(only - t.yf[0]) <= tolerance(&t, only));
        check_forward(&t);
        check_backward(&t);
        for (int j = 0; j < n * dim; j++)
            if (targets[j / dim] < 0)
                assert_true(t.grad[j] == 0);
        mem_free(logits);
        trial_close(&t);
    }
}

/* ---- embedding: a row that occurs twice gathers twice */

static void test_embed(void **state)
{
    enum { N = 5, DIM = 3, VOCAB = 4 };
    const int32_t ids[N] = {2, 0, 2, 3, 2};
    float embed[VOCAB * DIM], x[N * DIM], dembed[VOCAB * DIM] = {0};
    struct layers ops = {vec_get(), NULL};
    for (int i = 0; i < VOCAB * DIM; i++)
        embed[i] = (float)i;
    layers_embed(embed, ids, N, DIM, x);
    for (int i = 0; i < N * DIM; i++)
        assert_true(x[i] == (float)(ids[i / DIM] * DIM + i % DIM));
    layers_embed_grad(&ops, ids, N, DIM, x, dembed);
    for (int i = 0; i < VOCAB * DIM; i++)
        assert_true(dembed[i] == embed[i] * (i / DIM == 2 ? 3 : i / DIM == 1 ? 0 : 1));
}

/* ---- fake quantization: act.h's rule, and a second pass changes nothing by more than the scale's last bit */

static void test_fake_int8(void **state)
{
    enum { N = 4, COLS = 37 };
    float x[N * COLS], y[N * COLS], scale;
    int8_t codes[COLS], want[COLS];
    struct rng r;
    rng_seed(&r, SEED);
    for (int i = 0; i < N * COLS; i++)
        x[i] = y[i] = i / COLS == 2 ? 0 : rng_normal(&r);
    layers_fake_int8(y, N, COLS, codes);
    for (int i = 0; i < N; i++) {
        scale = act_quantize_row(x + i * COLS, COLS, want);
        for (int j = 0; j < COLS; j++) {
            assert_true(y[i * COLS + j] == scale * (float)want[j]);
            assert_true(fabsf(y[i * COLS + j] - x[i * COLS + j]) <= 0.5001f * scale);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embed),      cmocka_unit_test(test_linear), cmocka_unit_test(test_norm),
        cmocka_unit_test(test_rope),       cmocka_unit_test(test_attention), cmocka_unit_test(test_attention_is_causal),
        cmocka_unit_test(test_swiglu),     cmocka_unit_test(test_loss),   cmocka_unit_test(test_fake_int8),
    };
    print_message("seed %d, vec %s\n", SEED, vec_get()->name);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
