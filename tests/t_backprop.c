/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "adamw.h"
#include "backprop.h"
#include "decoder_ref.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h> /* after base.h: it makes fail a macro */

/*
 * The whole model against the double reference: the loss, and the gradient by central differences of the reference along
 * coordinates of every tensor and along one random direction through all of them. Tolerances: a float sum of n terms is off by
 * at most n * 2^-24 of its magnitudes; TERMS bounds n times the depth of the models below.
 */
enum { SEED = 4711, TERMS = 2000, PER_TENSOR = 6 };
static const double STEP = 1e-5, TOLERANCE = TERMS * 0x1p-24;

struct shape {
    int layers, dim, ffn, heads, kv_heads, vocab, batch, seq;
    bool tied;
};

static const struct shape shapes[] = {
    {1, 4, 3, 1, 1, 5, 1, 1, true},     {2, 8, 12, 2, 1, 17, 3, 5, true},  {1, 12, 10, 3, 3, 23, 2, 7, false},
    {2, 16, 20, 4, 2, 31, 3, 67, true}, {3, 8, 9, 4, 1, 11, 5, 2, false},  {1, 8, 6, 2, 2, 300, 4, 33, true},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

struct rig {
    struct shape shape;
    struct par *par;
    struct backprop *backprop;
    struct weights *weights, *grads;
    double *params; /* weights in double */
    int32_t *inputs, *targets;
    struct rng rng;
    int tokens;
};

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

static struct model_config config_of(const struct shape *s)
{
    return (struct model_config){.layers = s->layers, .dim = s->dim, .ffn = s->ffn, .heads = s->heads, .kv_heads = s->kv_heads,
                                 .head_dim = s->dim / s->heads, .vocab = s->vocab, .context = s->seq, .tied = s->tied,
                                 .rope_base = 10000, .norm_eps = 1e-5f};
}

/* Weights far from their initialization, so that no gradient is small by symmetry. */
static void rig_open(struct rig *r, const struct shape *shape, int threads)
{
    struct err e = {0};
    struct model_config c = config_of(shape);
    *r = (struct rig){.shape = *shape, .tokens = shape->batch * shape->seq};
    check(par_open(&r->par, threads, &e), &e);
    check(backprop_open(&r->backprop, &c, shape->batch, shape->seq, r->par, &e), &e);
    r->weights = must(weights_alloc(&c, &e));
    r->grads = must(weights_alloc(&c, &e));
    r->params = must(mem_alloc(r->weights->count, sizeof(double)));
    r->inputs = must(mem_alloc((size_t)r->tokens, sizeof(int32_t)));
    r->targets = must(mem_alloc((size_t)r->tokens, sizeof(int32_t)));
    rng_seed(&r->rng, SEED);
    for (int i = 0; i < weights_tensors(&c); i++) {
        struct tensor t = weights_tensor(r->weights, i);
        for (int j = 0; j < t.rows * t.cols; j++)
            t.data[j] = t.decays ? 0.3f * rng_normal(&r->rng) : 1 + 0.2f * rng_normal(&r->rng);
    }
    for (size_t i = 0; i < r->weights->count; i++)
        r->params[i] = r->weights->data[i];
    for (int i = 0; i < r->tokens; i++) {
        r->inputs[i] = (int32_t)rng_below(&r->rng, (uint32_t)shape->vocab);
        r->targets[i] = i && i % 4 == 0 ? -1 : (int32_t)rng_below(&r->rng, (uint32_t)shape->vocab);
    }
}

static void rig_close(struct rig *r)
{
    backprop_close(r->backprop);
    par_close(r->par);
    weights_free(r->weights);
    weights_free(r->grads);
    mem_free(r->params);
    mem_free(r->inputs);
    mem_free(r->targets);
}

static double run(struct rig *r, bool act_int8, bool backward)
{
    return backprop_run(r->backprop, r->weights, r->inputs, r->targets, act_int8, backward ? r->grads : NULL);
}

static double reference(struct rig *r, struct ref_rounding *rounding)
{
    return ref_decoder(r->weights, r->params, r->inputs, r->targets, r->shape.batch, r->shape.seq, rounding);
}

/* d reference / d params[at], or along a direction through all of params. */
static double slope(struct rig *r, size_t at, const double *direction, struct ref_rounding *rounding)
{
    double sides[2];
    for (int side = 0; side < 2; side++) {
        double step = side ? STEP : -STEP;
        for (size_t i = direction ? 0 : at; i < (direction ? r->weights->count : at + 1); i++)
            r->params[i] = r->weights->data[i] + step * (direction ? direction[i] : 1);
        sides[side] = reference(r, rounding);
        for (size_t i = direction ? 0 : at; i < (direction ? r->weights->count : at + 1); i++)
            r->params[i] = r->weights->data[i];
    }
    return (sides[1] - sides[0]) / (2 * STEP);
}

static void check_tensor(struct rig *r, struct tensor t, struct tensor g, struct ref_rounding *rounding)
{
    double largest = 0;
    int count = t.rows * t.cols;
    for (int i = 0; i < count; i++)
        largest = fmax(largest, fabs(g.data[i]));
    for (int i = 0; i < PER_TENSOR; i++) {
        int at = (int)rng_below(&r->rng, (uint32_t)count);
        double want = slope(r, (size_t)(t.data - r->weights->data) + (size_t)at, NULL, rounding);
        if (!(fabs(want - g.data[at]) <= TOLERANCE * (largest + 1e-2)))
            fail_msg("d loss / d %s[%d] = %.9g, differences say %.9g (largest %.3g; dim %d, seq %d)", t.name, at, g.data[at], want,
                     largest, r->shape.dim, r->shape.seq);
    }
}

static void check_direction(struct rig *r, struct ref_rounding *rounding)
{
    double *direction = must(mem_alloc(r->weights->count, sizeof *direction)), along = 0, size = 0;
    for (size_t i = 0; i < r->weights->count; i++) {
        direction[i] = rng_normal(&r->rng) / sqrt((double)r->weights->count);
        along += direction[i] * r->grads->data[i];
        size += fabs(direction[i] * r->grads->data[i]);
    }
    double want = slope(r, 0, direction, rounding);
    if (!(fabs(want - along) <= TOLERANCE * (size + 1e-2)))
        fail_msg("along a random direction: %.9g, differences say %.9g (dim %d, seq %d)", along, want, r->shape.dim, r->shape.seq);
    mem_free(direction);
}

static void check_model(const struct shape *shape, bool act_int8)
{
    struct rig r;
    struct ref_rounding rounding = {.record = true}, *use = act_int8 ? &rounding : NULL;
    rig_open(&r, shape, 2);
    rounding.delta = must(mem_alloc(ref_rounding_count(&r.weights->config, r.tokens), sizeof(double)));
    double want = reference(&r, use);
    rounding.record = false;
    double loss = run(&r, act_int8, true), only = run(&r, act_int8, false);
    if (!(fabs(loss - want) <= TOLERANCE * (want + 1)))
        fail_msg("loss %.9g, reference %.9g (dim %d, seq %d)", loss, want, shape->dim, shape->seq);
    assert_true(fabs(loss - only) <= 1e-6 * want);
    for (int i = 0; i < weights_tensors(&r.weights->config); i++)
        check_tensor(&r, weights_tensor(r.weights, i), weights_tensor(r.grads, i), use);
    check_direction(&r, use);
    mem_free(rounding.delta);
    rig_close(&r);
}

static void test_gradient(void **state)
{
    for (int i = 0; i < SHAPES; i++)
        check_model(&shapes[i], false);
}

/* The straight-through gradient: see struct ref_rounding. */
static void test_gradient_through_int8(void **state)
{
    for (int i = 1; i < SHAPES; i++)
        check_model(&shapes[i], true);
}

static void test_gradients_accumulate(void **state)
{
    struct rig r;
    rig_open(&r, &shapes[1], 2);
    run(&r, false, true);
    float once = r.grads->norm[0], embed = r.grads->embed[r.inputs[0] * r.shape.dim];
    run(&r, false, true);
    assert_true(fabsf(r.grads->norm[0] - 2 * once) <= 1e-5f * fabsf(once));
    assert_true(fabsf(r.grads->embed[r.inputs[0] * r.shape.dim] - 2 * embed) <= 1e-5f * fabsf(embed));
    rig_close(&r);
}

static void test_nothing_scored(void **state)
{
    struct rig r;
    rig_open(&r, &shapes[1], 1);
    for (int i = 0; i < r.tokens; i++)
        r.targets[i] = -1;
    assert_true(run(&r, false, true) == 0);
    for (size_t i = 0; i < r.grads->count; i++)
        assert_true(r.grads->data[i] == 0);
    rig_close(&r);
}

/* Same threads, same bits; other threads (more than sequences, too), the same up to the order of additions. */
static void test_threads(void **state)
{
    static const int threads[] = {1, 2, 3, 7};
    struct rig one, other;
    const struct shape *shape = &shapes[3];
    rig_open(&one, shape, 1);
    double loss = run(&one, false, true), largest = 0;
    for (size_t i = 0; i < one.grads->count; i++)
        largest = fmax(largest, fabs(one.grads->data[i]));
    for (size_t n = 0; n < sizeof threads / sizeof threads[0]; n++) {
        struct weights *again;
        rig_open(&other, shape, threads[n]);
        again = must(weights_alloc(&other.weights->config, NULL));
        assert_true(fabs(run(&other, false, true) - loss) <= 1e-6);
        backprop_run(other.backprop, other.weights, other.inputs, other.targets, false, again);
        assert_memory_equal(again->data, other.grads->data, again->count * sizeof(float));
        for (size_t i = 0; i < again->count; i++)
            assert_true(fabs(again->data[i] - one.grads->data[i]) <= TERMS * 0x1p-24 * largest);
        weights_free(again);
        rig_close(&other);
    }
    rig_close(&one);
}

static void test_overfit(void **state)
{
    static const struct shape tiny = {2, 32, 48, 4, 2, 40, 4, 16, true};
    struct rig r;
    struct adamw a;
    struct err e = {0};
    double loss = 0;
    rig_open(&r, &tiny, 2);
    weights_random(r.weights, SEED, NULL);
    check(adamw_open(&a, r.weights, 0.9, 0.95, 0.0, r.par, &e), &e);
    for (int i = 0; i < 300; i++) {
        memset(r.grads->data, 0, r.grads->count * sizeof(float));
        loss = run(&r, false, true);
        if (i == 0)
            assert_true(fabs(loss - log(tiny.vocab)) < 0.1);
        adamw_update(&a, r.weights, r.grads, i, 1e-2, 1);
    }
    if (!(loss < 0.02))
        fail_msg("48 random tokens are not learned by heart after 300 steps: loss %g", loss);
    adamw_close(&a);
    rig_close(&r);
}

/* One step by hand, on a weight that decays and on one that does not. */
static void test_adamw(void **state)
{
    static const struct shape tiny = {1, 4, 3, 1, 1, 5, 1, 1, true};
    struct rig r;
    struct adamw a;
    struct err e = {0};
    rig_open(&r, &tiny, 2);
    check(adamw_open(&a, r.weights, 0.9, 0.95, 0.1, r.par, &e), &e);
    for (size_t i = 0; i < r.grads->count; i++)
        r.grads->data[i] = i % 2 ? -3.0f : 4.0f;
    double want = sqrt(((double)r.grads->count / 2) * 25);
    assert_int_equal(r.grads->count % 2, 0);
    assert_true(fabs(adamw_norm(&a, r.grads) - want) <= 1e-6 * want);
    float matrix = r.weights->embed[0], norm = r.weights->norm[0];
    adamw_update(&a, r.weights, r.grads, 0, 0.01, 0.5);
    /* After one step mhat = g and vhat = g^2, so that the step is the sign of g, whatever the scale. */
    assert_true(fabs(r.weights->embed[0] - (matrix - 0.01 * (1 + 0.1 * matrix))) <= 1e-6);
    assert_true(fabs(r.weights->norm[0] - (norm - 0.01 * (r.grads->norm[0] > 0 ? 1 : -1))) <= 1e-6);
    assert_true(fabs(a.m->data[0] - 0.2) <= 1e-6 && fabs(a.v->data[0] - 0.2) <= 1e-6);
    adamw_close(&a);
    rig_close(&r);
}

static void test_bad_shapes(void **state)
{
    static const int bad[][2] = {{0, 1}, {1, 0}, {1, 6}, {-1, 5}};
    struct model_config c = config_of(&shapes[1]);
    struct par *p;
    struct err e = {0};
    check(par_open(&p, 1, &e), &e);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct backprop *b;
        e = (struct err){0};
        assert_int_equal(backprop_open(&b, &c, bad[i][0], bad[i][1], p, &e), ST_EUSAGE);
        assert_null(b);
        assert_non_null(strstr(e.text, "context of 5"));
    }
    backprop_close(NULL);
    par_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient), cmocka_unit_test(test_gradient_through_int8), cmocka_unit_test(test_gradients_accumulate),
        cmocka_unit_test(test_nothing_scored), cmocka_unit_test(test_threads), cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_overfit), cmocka_unit_test(test_bad_shapes),
    };
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
