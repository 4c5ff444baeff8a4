/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "vec.h"

#ifdef __AVX512F__

#include <immintrin.h>
#include <math.h>

enum { LANES = 16 };

static inline __mmask16 lanes(int left) { return left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1); }

/* The first min(left, LANES) floats at p; the rest of the register is zero. */
static inline __m512 load(const float *p, int left) { return _mm512_maskz_loadu_ps(lanes(left), p); }
static inline void store(float *p, int left, __m512 v) { _mm512_mask_storeu_ps(p, lanes(left), v); }

/* As load, with fill instead of zero behind the end. */
static inline __m512 load_or(const float *p, int left, __m512 fill) { return _mm512_mask_loadu_ps(fill, lanes(left), p); }

static inline float sum(__m512 v) { return _mm512_reduce_add_ps(v); }
static inline double sum_double(__m512d v) { return _mm512_reduce_add_pd(v); }
static inline float greatest(__m512 v) { return _mm512_reduce_max_ps(v); }

static inline __m512d low_double(__m512 v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline __m512d high_double(__m512 v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }

/*
 * e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2: Cephes' degree-6 polynomial, under 1.5 ulp. The order of the
 * operands of max and min lets NaN through.
 */
static inline __m512 exp_ps(__m512 x)
{
    const __m512 log2e = _mm512_set1_ps(1.44269504f), ln2_high = _mm512_set1_ps(0.693359375f),
                 ln2_low = _mm512_set1_ps(-2.12194440e-4f);
    x = _mm512_max_ps(_mm512_set1_ps(-105.0f), _mm512_min_ps(_mm512_set1_ps(89.0f), x)); /* 0 and inf from there on */
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, log2e), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, ln2_low, _mm512_fnmadd_ps(n, ln2_high, x));
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static inline __m512 sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    return _mm512_div_ps(one, _mm512_add_ps(one, exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

static float dot(const float *a, const float *b, int n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    int i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + LANES), _mm512_loadu_ps(b + i + LANES), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 2 * LANES), _mm512_loadu_ps(b + i + 2 * LANES), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 3 * LANES), _mm512_loadu_ps(b + i + 3 * LANES), s3);
    }
    for (; i < n; i += LANES)
        s0 = _mm512_fmadd_ps(load(a + i, n - i), load(b + i, n - i), s0);
    return sum(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

static void axpy(float a, const float *x, float *y, int n)
{
    const __m512 va = _mm512_set1_ps(a);
    for (int i = 0; i < n; i += LANES)
        store(y + i, n - i, _mm512_fmadd_ps(va, load(x + i, n - i), load(y + i, n - i)));
}

/* The greatest x, or 0 when all are -inf (or NaN), so that x - max is never -inf - -inf. */
static float softmax_shift(const float *x, int n)
{
    __m512 none = _mm512_set1_ps(-INFINITY), m0 = none, m1 = none;
    for (int i = 0; i < n; i += 2 * LANES) {
        m0 = _mm512_max_ps(load_or(x + i, n - i, none), m0);
        if (i + LANES < n)
            m1 = _mm512_max_ps(load_or(x + i + LANES, n - i - LANES, none), m1);
    }
    float max = greatest(_mm512_max_ps(m0, m1));
    return max == -INFINITY ? 0 : max;
}

/* Adds 16 floats as doubles: sums over a vocabulary lose nothing. */
#define ADD_DOUBLES(s0, s1, v)                       \
    do {                                             \
        (s0) = _mm512_add_pd((s0), low_double(v));  \
        (s1) = _mm512_add_pd((s1), high_double(v)); \
    } while (0)

static float softmax(float *x, int n)
{
    const float shift = softmax_shift(x, n);
    const __m512 max = _mm512_set1_ps(shift), none = _mm512_set1_ps(-INFINITY);
    __m512d s0 = _mm512_setzero_pd(), s1 = s0;
    for (int i = 0; i < n; i += LANES) {
        __m512 y = exp_ps(_mm512_sub_ps(load_or(x + i, n - i, none), max));
        store(x + i, n - i, y);
        ADD_DOUBLES(s0, s1, y);
    }
    double total = sum_double(_mm512_add_pd(s0, s1));
    const __m512 scale = _mm512_set1_ps(total == 0 ? 0 : (float)(1 / total));
    for (int i = 0; i < n; i += LANES)
        store(x + i, n - i, _mm512_mul_ps(load(x + i, n - i), scale));
    return shift + logf((float)total);
}

static float logsumexp(const float *x, int n)
{
    const float shift = softmax_shift(x, n);
    const __m512 max = _mm512_set1_ps(shift), none = _mm512_set1_ps(-INFINITY);
    __m512d s0 = _mm512_setzero_pd(), s1 = s0;
    for (int i = 0; i < n; i += LANES) {
        __m512 y = exp_ps(_mm512_sub_ps(load_or(x + i, n - i, none), max));
        ADD_DOUBLES(s0, s1, y);
    }
    return shift + logf((float)sum_double(_mm512_add_pd(s0, s1)));
}

static double sum_squares(const float *x, int n)
{
    __m512d s0 = _mm512_setzero_pd(), s1 = s0;
    for (int i = 0; i < n; i += LANES) {
        __m512 v = load(x + i, n - i);
        __m512d low = low_double(v), high = high_double(v);
        s0 = _mm512_fmadd_pd(low, low, s0);
        s1 = _mm512_fmadd_pd(high, high, s1);
    }
    return sum_double(_mm512_add_pd(s0, s1));
}

static float rmsnorm(const float *x, const float *w, float *y, int n, float eps)
{
    if (n == 0)
        return 0;
    float r = (float)(1 / sqrt(sum_squares(x, n) / n + eps));
    const __m512 vr = _mm512_set1_ps(r);
    for (int i = 0; i < n; i += LANES)
        store(y + i, n - i, _mm512_mul_ps(_mm512_mul_ps(load(x + i, n - i), vr), load(w + i, n - i)));
    return r;
}

/* y_i = x_i r w_i with r = (mean x^2 + eps)^-1/2, so d r / d x_i = -r^3 x_i / n. */
static void rmsnorm_grad(const float *x, const float *w, float r, const float *dy, float *dx, float *dw, int n)
{
    __m512d s0 = _mm512_setzero_pd(), s1 = s0;
    for (int i = 0; i < n; i += LANES) {
        __m512 v = _mm512_mul_ps(_mm512_mul_ps(load(dy + i, n - i), load(w + i, n - i)), load(x + i, n - i));
        ADD_DOUBLES(s0, s1, v);
    }
    double through_r = sum_double(_mm512_add_pd(s0, s1));
    const __m512 c = _mm512_set1_ps(n ? (float)(through_r * r * r * r / n) : 0), vr = _mm512_set1_ps(r);
    for (int i = 0; i < n; i += LANES) {
        __m512 d = load(dy + i, n - i), v = load(x + i, n - i), dwr = _mm512_mul_ps(_mm512_mul_ps(d, load(w + i, n - i)), vr);
        store(dx + i, n - i, _mm512_add_ps(load(dx + i, n - i), _mm512_fnmadd_ps(c, v, dwr)));
        store(dw + i, n - i, _mm512_fmadd_ps(d, _mm512_mul_ps(v, vr), load(dw + i, n - i)));
    }
}

static void swiglu(const float *gate, const float *up, float *y, int n)
{
    const __m512 one = _mm512_set1_ps(1.0f), zero = _mm512_setzero_ps();
    for (int i = 0; i < n; i += LANES) {
        __m512 g = load(gate + i, n - i), below = _mm512_add_ps(one, exp_ps(_mm512_sub_ps(zero, g)));
        store(y + i, n - i, _mm512_mul_ps(_mm512_div_ps(g, below), load(up + i, n - i)));
    }
}

/* silu'(g) = s + g s (1 - s), s = sigmoid(g) */
static void swiglu_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int n)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    for (int i = 0; i < n; i += LANES) {
        __m512 g = load(gate + i, n - i), u = load(up + i, n - i), d = load(dy + i, n - i);
        __m512 s = sigmoid(g), silu = _mm512_mul_ps(g, s);
        __m512 slope = _mm512_fmadd_ps(silu, _mm512_sub_ps(one, s), s);
        store(dgate + i, n - i, _mm512_mul_ps(_mm512_mul_ps(d, u), slope));
        store(dup + i, n - i, _mm512_mul_ps(d, silu));
    }
}

static void rope(float *x, const float *c, const float *s, int half)
{
    for (int i = 0; i < half; i += LANES) {
        __m512 a = load(x + i, half - i), b = load(x + half + i, half - i);
        __m512 vc = load(c + i, half - i), vs = load(s + i, half - i);
        store(x + i, half - i, _mm512_fmsub_ps(a, vc, _mm512_mul_ps(b, vs)));
        store(x + half + i, half - i, _mm512_fmadd_ps(a, vs, _mm512_mul_ps(b, vc)));
    }
}

static void adamw(float *w, const float *g, float *m, float *v, int n, const struct adamw_step *t)
{
    const __m512 beta1 = _mm512_set1_ps(t->beta1), rest1 = _mm512_set1_ps(1 - t->beta1), beta2 = _mm512_set1_ps(t->beta2),
                 rest2 = _mm512_set1_ps(1 - t->beta2), c1 = _mm512_set1_ps(t->correction1), c2 = _mm512_set1_ps(t->correction2),
                 eps = _mm512_set1_ps(t->eps), decay = _mm512_set1_ps(t->decay), lr = _mm512_set1_ps(t->lr),
                 scale = _mm512_set1_ps(t->grad_scale);
    for (int i = 0; i < n; i += LANES) {
        int left = n - i;
        __m512 grad = _mm512_mul_ps(load(g + i, left), scale), old = load(w + i, left);
        __m512 m1 = _mm512_fmadd_ps(beta1, load(m + i, left), _mm512_mul_ps(rest1, grad));
        __m512 v1 = _mm512_fmadd_ps(beta2, load(v + i, left), _mm512_mul_ps(rest2, _mm512_mul_ps(grad, grad)));
        __m512 root = _mm512_add_ps(_mm512_sqrt_ps(_mm512_mul_ps(v1, c2)), eps);
        __m512 move = _mm512_fmadd_ps(decay, old, _mm512_div_ps(_mm512_mul_ps(m1, c1), root));
        store(m + i, left, m1);
        store(v + i, left, v1);
        store(w + i, left, _mm512_fnmadd_ps(lr, move, old));
    }
}

/* Magnitudes of floats are ordered as their bits are, with NaN above infinity: so NaN comes out. */
static float max_abs(const float *x, int n)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i max = _mm512_setzero_si512();
    for (int i = 0; i < n; i += LANES)
        max = _mm512_max_epi32(max, _mm512_and_si512(_mm512_castps_si512(load(x + i, n - i)), magnitude));
    return _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(max))));
}

const struct vec vec_avx512 = {
    .name = "avx512",
    .needs = ISA_AVX512,
    .dot = dot,
    .axpy = axpy,
    .softmax = softmax,
    .logsumexp = logsumexp,
    .rmsnorm = rmsnorm,
    .rmsnorm_grad = rmsnorm_grad,
    .swiglu = swiglu,
    .swiglu_grad = swiglu_grad,
    .rope = rope,
    .adamw = adamw,
    .sum_squares = sum_squares,
    .max_abs = max_abs,
};

#else /* not this architecture: vec_get passes it by */

const struct vec vec_avx512 = {.name = "avx512", .needs = ISA_AVX512};

#endif
