/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "vec.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

/*
 * Every table against double arithmetic, at every length around a register's, at odd addresses, between guards. Tolerances count
 * roundings: U is half an ulp of 1, and each bound is (roundings on the way) * U * (the magnitudes that were rounded).
 */
static const double U = 0x1p-24, TINY = 0x1p-126; /* TINY: products may be subnormal, and e^88 overflows */
static const int lengths[] = {0,  1,  2,  3,  7,  8,  9,  15, 16, 17, 23, 24, 25, 31,  32,  33,
                              47, 48, 49, 63, 64, 65, 66, 95, 96, 97, 127, 128, 129, 255, 1000, 4099};
enum { LENGTHS = sizeof lengths / sizeof *lengths, MAX = 4099, GUARD = 32, ROOM = MAX + 2 * GUARD };
static const uint32_t guard_bits = 0x7fc0dead; /* a NaN that shows in results if it is read */

/* A float array between guards, off alignment by one. */
struct array {
    float room[ROOM];
    float *x;
    int n;
};

static void array_set(struct array *a, int n, struct rng *r, float scale)
{
    for (int i = 0; i < ROOM; i++)
        memcpy(&a->room[i], &guard_bits, 4);
    a->x = a->room + GUARD + 1 - (int)rng_below(r, 2);
    a->n = n;
    for (int i = 0; i < n; i++)
        a->x[i] = scale * rng_normal(r);
}

static void array_check_guards(const struct array *a, const char *what)
{
    for (int i = 0; i < ROOM; i++)
        if ((a->room + i < a->x || a->room + i >= a->x + a->n) && memcmp(&a->room[i], &guard_bits, 4) != 0)
            fail_msg("%s: n=%d: wrote outside, at %d", what, a->n, (int)(a->room + i - a->x));
}

static void near(const char *what, int n, int i, double got, double want, double bound)
{
    if (!(fabs(got - want) <= bound)) /* NaN fails too */
        fail_msg("%s: n=%d [%d]: %.9g, not %.9g; off by %.3g, allowed %.3g", what, n, i, got, want, fabs(got - want), bound);
}

static struct array a, b, c, d, p, q, old_p, old_q;

static void check_dot(const struct vec *v, int n, struct rng *r)
{
    array_set(&a, n, r, 1);
    array_set(&b, n, r, 1);
    double want = 0, size = 0;
    for (int i = 0; i < n; i++) {
        want += (double)a.x[i] * b.x[i];
        size += fabs((double)a.x[i] * b.x[i]);
    }
    near("dot", n, 0, v->dot(a.x, b.x, n), want, (n / 8.0 + 8) * U * size);
}

static void check_axpy(const struct vec *v, int n, struct rng *r)
{
    array_set(&a, n, r, 1);
    array_set(&p, n, r, 1);
    old_p = p;
    v->axpy(-1.7f, a.x, p.x, n);
    for (int i = 0; i < n; i++) {
        double old = (old_p.room + (p.x - p.room))[i], term = (double)-1.7f * a.x[i];
        near("axpy", n, i, p.x[i], old + term, 2 * U * (fabs(term) + fabs(old)));
    }
    array_check_guards(&p, "axpy");
}

/* x - max is rounded once, which moves e^(x - max) by |x - max| U; e itself within 2 ulp, two more roundings behind it. */
static void check_softmax(const struct vec *v, int n, struct rng *r, float scale)
{
    array_set(&p, n, r, scale);
    for (int i = 0; i < n; i += 5)
        p.x[i] = i % 10 ? p.x[i] : -INFINITY; /* masked, the first among them */
    if (n > 1)
        p.x[n - 1] = scale;
    array_set(&a, n, r, 1);
    memcpy(a.x, p.x, sizeof(float) * (size_t)n);
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++)
        max = fmax(max, (double)a.x[i]);
    for (int i = 0; i < n && max > -INFINITY; i++)
        sum += exp(a.x[i] - max);
    double want = sum > 0 ? max + log(sum) : -INFINITY, bound = 4 * U * (fabs(want) + fabs(max) + 4);
    float log_only = v->logsumexp(a.x, n), both = v->softmax(p.x, n);
    if (sum > 0) {
        near("logsumexp", n, 0, log_only, want, bound);
        near("softmax's log", n, 0, both, want, bound);
    } else
        assert_true(log_only == -INFINITY && both == -INFINITY);
    for (int i = 0; i < n; i++) {
        double y = sum > 0 && a.x[i] > -INFINITY ? exp(a.x[i] - max) / sum : 0;
        near("softmax", n, i, p.x[i], y, y * U * (8 + (sum > 0 && y > 0 ? fabs(a.x[i] - max) : 0)) + TINY * 0x1p-20);
    }
    array_check_guards(&p, "softmax");
}

static void check_rmsnorm(const struct vec *v, int n, struct rng *r)
{
    array_set(&a, n, r, 3);
    array_set(&b, n, r, 1);
    array_set(&p, n, r, 1);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a.x[i] * a.x[i];
    near("sum_squares", n, 0, v->sum_squares(a.x, n), sum, n * DBL_EPSILON * sum);
    double want = n ? 1 / sqrt(sum / n + (double)1e-5f) : 0, norm = v->rmsnorm(a.x, b.x, p.x, n, 1e-5f);
    near("rmsnorm's r", n, 0, norm, want, 2 * U * want);
    for (int i = 0; i < n; i++)
        near("rmsnorm", n, i, p.x[i], a.x[i] * want * b.x[i], 4 * U * fabs(a.x[i] * want * b.x[i]));
    array_check_guards(&p, "rmsnorm");
}

static void check_rmsnorm_grad(const struct vec *v, int n, struct rng *rng)
{
    array_set(&a, n, rng, 2);
    array_set(&b, n, rng, 1);
    array_set(&c, n, rng, 1);
    array_set(&p, n, rng, 1);
    array_set(&q, n, rng, 1);
    array_set(&d, n, rng, 1);
    float r = n ? v->rmsnorm(a.x, b.x, d.x, n, 1e-5f) : 1;
    double through = 0, size = 0;
    for (int i = 0; i < n; i++) {
        double term = (double)c.x[i] * b.x[i] * a.x[i];
        through += term;
        size += fabs(term);
    }
    old_p = p;
    old_q = q;
    v->rmsnorm_grad(a.x, b.x, r, c.x, p.x, q.x, n);
    const float *dx0 = old_p.room + (p.x - p.room), *dw0 = old_q.room + (q.x - q.room);
    for (int i = 0; i < n; i++) {
        double k = (double)r * r * r / n, direct = (double)c.x[i] * b.x[i] * r, w = (double)c.x[i] * a.x[i] * r;
        near("dx", n, i, p.x[i], dx0[i] + direct - a.x[i] * k * through,
             4 * U * (fabs((double)dx0[i]) + fabs(direct) + fabs(a.x[i] * k) * size));
        near("dw", n, i, q.x[i], dw0[i] + w, 4 * U * (fabs((double)dw0[i]) + fabs(w)));
    }
    array_check_guards(&p, "rmsnorm_grad dx");
    array_check_guards(&q, "rmsnorm_grad dw");
}

/* e within 2 ulp, 1 + e, the division, the products: 8 roundings at most. */
static void check_swiglu(const struct vec *v, int n, struct rng *r, float scale)
{
    array_set(&a, n, r, scale);
    array_set(&b, n, r, 1);
    array_set(&c, n, r, 1);
    array_set(&d, n, r, 1);
    array_set(&p, n, r, 1);
    array_set(&q, n, r, 1);
    v->swiglu(a.x, b.x, d.x, n);
    v->swiglu_grad(a.x, b.x, c.x, p.x, q.x, n);
    for (int i = 0; i < n; i++) {
        double g = a.x[i], u = b.x[i], dy = c.x[i], s = 1 / (1 + exp(-g)), silu = g * s, floor_ = 100 * TINY * (1 + fabs(u * dy));
        near("swiglu", n, i, d.x[i], silu * u, 8 * U * fabs(silu * u) + floor_ * (1 + fabs(u)));
        near("dup", n, i, q.x[i], dy * silu, 8 * U * fabs(dy * silu) + floor_ * (1 + fabs(dy)));
        near("dgate", n, i, p.x[i], dy * u * (s + silu * (1 - s)), 12 * U * fabs(dy * u) * (s + fabs(silu)) + floor_);
    }
    array_check_guards(&d, "swiglu");
    array_check_guards(&p, "swiglu_grad dgate");
    array_check_guards(&q, "swiglu_grad dup");
}

static void check_rope(const struct vec *v, int n, struct rng *r)
{
    int half = n / 2;
    array_set(&a, half, r, 1);
    array_set(&b, half, r, 1);
    array_set(&c, half, r, 1); /* -sin */
    array_set(&p, 2 * half, r, 1);
    for (int i = 0; i < half; i++) {
        float angle = a.x[i];
        a.x[i] = cosf(angle);
        b.x[i] = sinf(angle);
        c.x[i] = -b.x[i];
    }
    old_p = p;
    const float *x = old_p.room + (p.x - p.room);
    v->rope(p.x, a.x, b.x, half);
    for (int i = 0; i < half; i++) {
        double bound = 3 * U * (fabs((double)x[i]) + fabs((double)x[i + half]));
        near("rope", n, i, p.x[i], (double)x[i] * a.x[i] - (double)x[i + half] * b.x[i], bound);
        near("rope", n, i + half, p.x[i + half], (double)x[i] * b.x[i] + (double)x[i + half] * a.x[i], bound);
    }
    v->rope(p.x, a.x, c.x, half);
    for (int i = 0; i < 2 * half; i++) {
        int pair = i < half ? i + half : i - half;
        near("rope and back", n, i, p.x[i], x[i], 16 * U * (fabs((double)x[i]) + fabs((double)x[pair])));
    }
    array_check_guards(&p, "rope");
}

static void check_adamw(const struct vec *v, int n, struct rng *r)
{
    const struct adamw_step t = {3e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 2.5f, 4.0f, 0.7f};
    array_set(&a, n, r, 1);   /* gradient */
    array_set(&b, n, r, 0.1f); /* w */
    array_set(&p, n, r, 0.1f); /* m */
    array_set(&q, n, r, 0.1f); /* v, made non-negative */
    for (int i = 0; i < n; i++)
        q.x[i] *= q.x[i];
    if (n > 2)
        a.x[1] = p.x[1] = q.x[1] = 0; /* a weight that never had a gradient: 0 / (0 + eps) */
    d = b;
    old_p = p;
    old_q = q;
    v->adamw(b.x, a.x, p.x, q.x, n, &t);
    const float *w0 = d.room + (b.x - b.room), *m0 = old_p.room + (p.x - p.room), *v0 = old_q.room + (q.x - q.room);
    for (int i = 0; i < n; i++) {
        double g = (double)a.x[i] * t.grad_scale, old1 = (double)t.beta1 * m0[i], new1 = (1 - (double)t.beta1) * g;
        double m = old1 + new1, size = fabs(old1) + fabs(new1), root_of = (double)t.beta2 * v0[i] + (1 - (double)t.beta2) * g * g;
        double root = sqrt(root_of * t.correction2) + t.eps, w = w0[i];
        /* 1 - beta is rounded once more than by itself, and beta2 near 1 makes that relative error 2^-24 / 0.05 */
        near("m", n, i, p.x[i], m, 8 * U * size);
        near("v", n, i, q.x[i], root_of, 8 * U * root_of + TINY);
        near("w", n, i, b.x[i], w - t.lr * (m * t.correction1 / root + t.decay * w),
             U * fabs(w) + 24 * U * t.lr * (size * t.correction1 / root + t.decay * fabs(w)) + TINY);
    }
    array_check_guards(&b, "adamw w");
    array_check_guards(&p, "adamw m");
    array_check_guards(&q, "adamw v");
}

static void check_max_abs(const struct vec *v, int n, struct rng *r)
{
    array_set(&a, n, r, 1);
    float want = 0;
    for (int i = 0; i < n; i++)
        want = fmaxf(want, fabsf(a.x[i]));
    assert_true(v->max_abs(a.x, n) == want);
    if (n) { /* wherever it stands, and NaN above all */
        int at = (int)rng_below(r, (uint32_t)n);
        a.x[at] = -1e30f;
        assert_true(v->max_abs(a.x, n) == 1e30f);
        a.x[at] = NAN;
        assert_true(isnan(v->max_abs(a.x, n)));
    }
}

static void check_scale(const struct vec *v, int n, struct rng *r)
{
    array_set(&p, n, r, 1);
    old_p = p;
    v->scale(-1.7f, p.x, n);
    const float *old = old_p.room + (p.x - p.room);
    for (int i = 0; i < n; i++)
        assert_true(p.x[i] == -1.7f * old[i]);
    array_check_guards(&p, "scale");
}

/* A softmax in parts of all lengths against one over all: every exponential so far, brought to the last maximum, and their sum. */
static void check_softmax_part(const struct vec *v, int n, struct rng *r)
{
    float max = -INFINITY;
    double sum = 0, want = 0, most = -INFINITY;
    array_set(&p, n, r, 3);
    for (int i = 0; i < n; i += 3)
        p.x[i] = i % 2 ? p.x[i] : -INFINITY; /* the first of all is masked, and so may a whole part be */
    for (int i = 0; i < n; i++)
        p.x[i] += p.x[i] > -INFINITY ? (float)i * 10 / (float)n : 0; /* so that the maximum grows on the way */
    old_p = p;
    const float *x = old_p.room + (p.x - p.room);
    for (int i = 0; i < n; i++)
        most = fmax(most, (double)x[i]);
    for (int from = 0, part = 1; from < n; from += part, part = part * 2 + 1) {
        int count = n - from < part ? n - from : part;
        float grown = v->softmax_part(p.x + from, count, &max, &sum);
        assert_true(from || max > -INFINITY || grown == 1);
        v->scale(grown, p.x, from);
    }
    for (int i = 0; i < n; i++) {
        double y = most > -INFINITY ? exp(x[i] - most) : 0;
        want += y;
        /* each part's rounding of x - max, its factor's, and one product for each of up to 13 parts */
        near("softmax_part", n, i, p.x[i], y, y > 0 ? y * U * (60 + 4 * fabs(x[i] - most)) + TINY : 0);
    }
    assert_true(n == 0 || max == (float)most);
    near("softmax_part's sum", n, 0, sum, want, want * U * 80);
    array_check_guards(&p, "softmax_part");
}

/* fp16 and bf16 hold few enough values to try a good part of them: what widens must be exact. */
static void check_widen_halves(const struct vec *v, int n, struct rng *r)
{
    static uint16_t x[ROOM];
    for (int i = 0; i < n; i++)
        x[i] = (uint16_t)rng_below(r, 0x7c00); /* no infinity or NaN in fp16 */
    array_set(&p, n, r, 1);
    v->widen_fp16(x, p.x, n);
    for (int i = 0; i < n; i++)
        assert_true(p.x[i] == fp16_to_float(x[i]));
    array_check_guards(&p, "widen_fp16");
    v->widen_bf16(x, p.x, n);
    for (int i = 0; i < n; i++) {
        uint32_t want = (uint32_t)x[i] << 16, got;
        memcpy(&got, &p.x[i], 4);
        assert_int_equal(got, want);
    }
    array_check_guards(&p, "widen_bf16");
}

/* n codes as one row and as rows of several, by row scales and by column scales: one product each, so exact. */
static void check_widen_codes(const struct vec *v, int n, struct rng *r)
{
    static uint8_t x[ROOM];
    static float scale[ROOM];
    for (int i = 0; i < ROOM; i++) {
        x[i] = (uint8_t)rng_below(r, 256);
        scale[i] = rng_normal(r);
    }
    for (int way = 0; way < 4; way++) {
        int rows = way % 2 ? 3 : 1, columns = n / rows;
        const float *row_scale = way < 2 ? scale : NULL, *column_scale = way < 2 ? NULL : scale;
        array_set(&p, rows * columns, r, 1);
        v->widen_int8((const int8_t *)x, rows, columns, row_scale, column_scale, p.x);
        for (int i = 0; i < rows * columns; i++)
            assert_true(p.x[i] == (float)(int8_t)x[i] * scale[row_scale ? i / columns : i % columns]);
        array_check_guards(&p, "widen_int8");
        array_set(&p, rows * columns, r, 1);
        array_set(&q, rows * columns, r, 1);
        v->widen_int4(x, rows, columns, row_scale, column_scale, p.x, q.x, columns);
        for (int i = 0; i < rows * columns; i++) {
            float s = scale[row_scale ? i / columns : i % columns];
            assert_true(p.x[i] == (float)((x[i] & 15) - 8) * s && q.x[i] == (float)((x[i] >> 4) - 8) * s);
        }
        array_check_guards(&p, "widen_int4 low");
        array_check_guards(&q, "widen_int4 high");
    }
}

static bool usable(const struct vec *v)
{
    char why[128];
    cpu_missing(v->needs, why, sizeof why);
    if (why[0])
        printf("skipped %s: %s\n", v->name, why);
    return !why[0];
}

static void each_length(void (*check)(const struct vec *, int, struct rng *))
{
    for (int t = 0; vecs[t]; t++) {
        if (!usable(vecs[t]))
            continue;
        struct rng r;
        rng_seed(&r, 7);
        for (int i = 0; i < LENGTHS; i++)
            check(vecs[t], lengths[i], &r);
    }
}

static void wide_softmax(const struct vec *v, int n, struct rng *r) { check_softmax(v, n, r, 40); }
static void usual_softmax(const struct vec *v, int n, struct rng *r) { check_softmax(v, n, r, 2); }
static void wide_swiglu(const struct vec *v, int n, struct rng *r) { check_swiglu(v, n, r, 60); }
static void usual_swiglu(const struct vec *v, int n, struct rng *r) { check_swiglu(v, n, r, 1); }

static void dot_products(void **state) { each_length(check_dot); }
static void sums_of_vectors(void **state) { each_length(check_axpy); }
static void norms(void **state) { each_length(check_rmsnorm); }
static void norm_gradients(void **state) { each_length(check_rmsnorm_grad); }
static void rotations(void **state) { each_length(check_rope); }
static void optimizer_steps(void **state) { each_length(check_adamw); }
static void magnitudes(void **state) { each_length(check_max_abs); }

static void scalings(void **state) { each_length(check_scale); }
static void softmaxes_in_parts(void **state) { each_length(check_softmax_part); }

static void widenings(void **state)
{
    each_length(check_widen_halves);
    each_length(check_widen_codes);
}

/* c (m,n) = or += a (m,k) b (k,n) with room between rows that must stay as it is. */
static void check_product(const struct vec *v, int m, int n, int k, bool add, struct rng *r)
{
    int lda = k + 1, ldb = n + 2, ldc = n + 3;
    array_set(&a, m * lda, r, 1);
    array_set(&b, k * ldb, r, 1);
    array_set(&p, m * ldc, r, 1);
    old_p = p;
    const float *c0 = old_p.room + (p.x - p.room);
    v->product(a.x, lda, b.x, ldb, p.x, ldc, m, n, k, add);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < ldc; j++) {
            double want = add ? (double)c0[i * ldc + j] : 0, size = fabs(want);
            for (int l = 0; l < k && j < n; l++) {
                want += (double)a.x[i * lda + l] * b.x[l * ldb + j];
                size += fabs((double)a.x[i * lda + l] * b.x[l * ldb + j]);
            }
            if (j < n)
                near("product", n, i * ldc + j, p.x[i * ldc + j], want, 2 * (k + 2) * U * size);
            else
                assert_true(p.x[i * ldc + j] == c0[i * ldc + j]);
        }
    array_check_guards(&p, "product");
}

/* Every height of tile and every width around a register's, ends of matrices included. */
static void products(void **state)
{
    for (int t = 0; vecs[t]; t++) {
        struct rng r;
        rng_seed(&r, 7);
        if (!usable(vecs[t]))
            continue;
        for (int m = 1; m <= 14; m++)
            for (int i = 1; i < LENGTHS && lengths[i] <= 129; i++)
                check_product(vecs[t], m, lengths[i], 1 + (m * 7 + i) % 24, i % 2, &r);
        check_product(vecs[t], 3, 5, 0, false, &r);
        check_product(vecs[t], 2, 60, 64, true, &r); /* as deep as attention goes */
    }
}

static void softmaxes(void **state)
{
    each_length(usual_softmax);
    each_length(wide_softmax);
}

static void gates(void **state)
{
    each_length(usual_swiglu);
    each_length(wide_swiglu);
}

/* softmax of (0, x) is e^x / (1 + e^x): the exponential over its whole range, subnormal results included. */
static void exponential_sweep(void **state)
{
    for (int t = 0; vecs[t]; t++) {
        if (!usable(vecs[t]))
            continue;
        double worst = 0;
        for (float x = -110; x <= 0; x += 0.0013f) {
            float pair[2] = {0, x};
            vecs[t]->softmax(pair, 2);
            double want = exp((double)x) / (1 + exp((double)x)), ulp = fmax(want * 0x1p-23, 0x1p-149);
            worst = fmax(worst, fabs(pair[1] - want) / ulp);
        }
        printf("%s: e^x within %.2f ulp, three more roundings included\n", vecs[t]->name, worst);
        assert_true(worst < 4);
    }
}

static void masked_and_poisoned_scores(void **state)
{
    for (int t = 0; vecs[t]; t++) {
        if (!usable(vecs[t]))
            continue;
        const struct vec *v = vecs[t];
        float x[37];
        for (int i = 0; i < 37; i++)
            x[i] = -INFINITY;
        assert_true(v->logsumexp(x, 37) == -INFINITY && v->softmax(x, 37) == -INFINITY);
        for (int i = 0; i < 37; i++)
            assert_true(x[i] == 0);
        for (int i = 0; i < 37; i++)
            x[i] = i == 36 ? -1e30f : -INFINITY;
        assert_true(v->softmax(x, 37) == -1e30f && x[36] == 1 && x[0] == 0);
        for (int at = 0; at < 37; at++) {
            for (int i = 0; i < 37; i++)
                x[i] = i == at ? NAN : (float)i;
            assert_true(isnan(v->logsumexp(x, 37)));
            assert_true(isnan(v->softmax(x, 37)));
            assert_true(isnan(x[0]) && isnan(x[36]));
        }
        const float far_gate[] = {-1e4f, 1e4f, -89, 89, 0, NAN}, one[] = {1, 1, 1, 1, 1, 1};
        float y[6];
        v->swiglu(far_gate, one, y, 6);
        assert_true(y[0] == 0 && y[1] == 1e4f && fabsf(y[2]) < 1e-36f && y[3] == 89 && y[4] == 0 && isnan(y[5]));
    }
}

static void choice_follows_the_mask(void **state)
{
    cpu_set_mask(0);
    assert_ptr_equal(vec_get(), &vec_scalar);
    cpu_set_mask(UINT32_MAX);
    for (int t = 0; vecs[t]; t++)
        if (usable(vecs[t])) {
            cpu_set_mask(vecs[t]->needs);
            assert_ptr_equal(vec_get(), vecs[t]);
            cpu_set_mask(UINT32_MAX);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_products),
        cmocka_unit_test(sums_of_vectors),
        cmocka_unit_test(softmaxes),
        cmocka_unit_test(exponential_sweep),
        cmocka_unit_test(scalings),
        cmocka_unit_test(softmaxes_in_parts),
        cmocka_unit_test(products),
        cmocka_unit_test(widenings),
        cmocka_unit_test(masked_and_poisoned_scores),
        cmocka_unit_test(norms),
        cmocka_unit_test(norm_gradients),
        cmocka_unit_test(gates),
        cmocka_unit_test(rotations),
        cmocka_unit_test(optimizer_steps),
        cmocka_unit_test(magnitudes),
        cmocka_unit_test(choice_follows_the_mask),
    };
    printf("seed 7\n");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
