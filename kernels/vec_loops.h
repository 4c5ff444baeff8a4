/* vec_loops.h — the loops of a vec table, written once over one instruction set's registers; included after these are defined. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_VEC_LOOPS_H
#define QBENCH_VEC_LOOPS_H

#include <math.h>

#include "vec.h"

/*
 * A file that includes this has made, as static inline functions (doubles has half as many lanes as floats, ints as many):
 *
 *     VEC_LANES                                  a macro: floats a register
 *     floats, doubles, ints                      vector types with the operators of C
 *     floats all(float)                          the same in every lane
 *     floats load_full(p)
 *     floats load(p, left), load_or(p, left, fill), void store(p, left, v)
 *                                                the first min(left, VEC_LANES) floats at p; the rest reads as 0, or as fill
 *     floats muladd(a, b, c), mulsub(a, b, c), negmuladd(a, b, c)    a b + c, a b - c, c - a b, rounded once
 *     doubles muladd_double(a, b, c)
 *     floats max(a, b), min(a, b)                b where one of them is NaN
 *     floats nearest(v), root(v)                 round to even; square root
 *     floats times_power(p, n)                   p 2^n for whole n in -151 .. 128, rounded once; infinite beyond 2^128
 *     doubles low_double(v), high_double(v)      the halves of v
 *     float sum(v), greatest(v); double sum_double(v)
 *     ints max_magnitude(m, v)                   the greater of m and the bits of |v|, as integers
 *     float greatest_magnitude(m)
 *     floats load_fp16(p, left), load_bf16(p, left), load_int8(p, left)
 *     void load_int4(p, left, floats *low, floats *high)    nibbles - 8; lanes past left hold anything
 *     VEC_TILE_ROWS, VEC_TILE_VECTORS            product's accumulators: as many as registers are left for them
 *     VEC_TILES(P)                               P(rows, vectors) for each smaller tile, in rows of VEC_TILE_ROWS
 */
#ifdef VEC_LANES

/* Ahead of a loop over an array of accumulators: only unrolled whole, and early, does the array become registers. */
#ifdef __clang__
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 8")
#endif

/*
 * e^x = 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2: Cephes' degree-6 polynomial, under 1.5 ulp. The order of the
 * operands of max and min lets NaN through.
 */
static inline floats exp_floats(floats x)
{
    x = max(all(-105.0f), min(all(89.0f), x)); /* 0 and inf from there on */
    const floats n = nearest(x * all(1.44269504f));
    const floats r = negmuladd(n, all(-2.12194440e-4f), negmuladd(n, all(0.693359375f), x)); /* ln 2 in two parts */
    floats p = all(1.9875691500e-4f);
    p = muladd(p, r, all(1.3981999507e-3f));
    p = muladd(p, r, all(8.3334519073e-3f));
    p = muladd(p, r, all(4.1665795894e-2f));
    p = muladd(p, r, all(1.6666665459e-1f));
    p = muladd(p, r, all(5.0000001201e-1f));
    p = muladd(r * r, p, r) + all(1.0f);
    return times_power(p, n);
}

static float dot(const float *a, const float *b, int n)
{
    floats s0 = all(0), s1 = s0, s2 = s0, s3 = s0;
    int i = 0;
    for (; i + 4 * VEC_LANES <= n; i += 4 * VEC_LANES) {
        s0 = muladd(load_full(a + i), load_full(b + i), s0);
        s1 = muladd(load_full(a + i + VEC_LANES), load_full(b + i + VEC_LANES), s1);
        s2 = muladd(load_full(a + i + 2 * VEC_LANES), load_full(b + i + 2 * VEC_LANES), s2);
        s3 = muladd(load_full(a + i + 3 * VEC_LANES), load_full(b + i + 3 * VEC_LANES), s3);
    }
    for (; i < n; i += VEC_LANES)
        s0 = muladd(load(a + i, n - i), load(b + i, n - i), s0);
    return sum((s0 + s1) + (s2 + s3));
}

static void axpy(float a, const float *x, float *y, int n)
{
    const floats va = all(a);
    for (int i = 0; i < n; i += VEC_LANES)
        store(y + i, n - i, muladd(va, load(x + i, n - i), load(y + i, n - i)));
}

/* The greatest x; -inf when there is none, or nothing but NaN. */
static float largest(const float *x, int n)
{
    floats none = all(-INFINITY), m0 = none, m1 = none;
    for (int i = 0; i < n; i += 2 * VEC_LANES) {
        m0 = max(load_or(x + i, n - i, none), m0);
        if (i + VEC_LANES < n)
            m1 = max(load_or(x + i + VEC_LANES, n - i - VEC_LANES, none), m1);
    }
    return greatest(max(m0, m1));
}

/* 0 where all are masked, so that x - max is never -inf - -inf. */
static inline float shift_of(float max) { return max == -INFINITY ? 0 : max; }

/* Sums of floats are kept as doubles, in two registers: over a vocabulary they lose nothing. */
static inline void add_doubles(doubles *s0, doubles *s1, floats v)
{
    *s0 += low_double(v);
    *s1 += high_double(v);
}

static float softmax(float *x, int n)
{
    const float shift = shift_of(largest(x, n));
    const floats most = all(shift), none = all(-INFINITY);
    doubles s0 = {0}, s1 = {0};
    for (int i = 0; i < n; i += VEC_LANES) {
        floats y = exp_floats(load_or(x + i, n - i, none) - most);
        store(x + i, n - i, y);
        add_doubles(&s0, &s1, y);
    }
    double total = sum_double(s0 + s1);
    const floats scale = all(total == 0 ? 0 : (float)(1 / total));
    for (int i = 0; i < n; i += VEC_LANES)
        store(x + i, n - i, load(x + i, n - i) * scale);
    return shift + logf((float)total);
}

static float logsumexp(const float *x, int n)
{
    const float shift = shift_of(largest(x, n));
    const floats most = all(shift), none = all(-INFINITY);
    doubles s0 = {0}, s1 = {0};
    for (int i = 0; i < n; i += VEC_LANES)
        add_doubles(&s0, &s1, exp_floats(load_or(x + i, n - i, none) - most));
    return shift + logf((float)sum_double(s0 + s1));
}

static double sum_squares(const float *x, int n)
{
    doubles s0 = {0}, s1 = {0};
    for (int i = 0; i < n; i += VEC_LANES) {
        floats v = load(x + i, n - i);
        doubles low = low_double(v), high = high_double(v);
        s0 = muladd_double(low, low, s0);
        s1 = muladd_double(high, high, s1);
    }
    return sum_double(s0 + s1);
}

static float rmsnorm(const float *x, const float *w, float *y, int n, float eps)
{
    if (n == 0)
        return 0;
    float r = (float)(1 / sqrt(sum_squares(x, n) / n + eps));
    const floats vr = all(r);
    for (int i = 0; i < n; i += VEC_LANES)
        store(y + i, n - i, load(x + i, n - i) * vr * load(w + i, n - i));
    return r;
}

/* y_i = x_i r w_i with r = (mean x^2 + eps)^-1/2, so d r / d x_i = -r^3 x_i / n. */
static void rmsnorm_grad(const float *x, const float *w, float r, const float *dy, float *dx, float *dw, int n)
{
    doubles s0 = {0}, s1 = {0};
    for (int i = 0; i < n; i += VEC_LANES)
        add_doubles(&s0, &s1, load(dy + i, n - i) * load(w + i, n - i) * load(x + i, n - i));
    double through_r = sum_double(s0 + s1);
    const floats c = all(n ? (float)(through_r * r * r * r / n) : 0), vr = all(r);
    for (int i = 0; i < n; i += VEC_LANES) {
        floats d = load(dy + i, n - i), v = load(x + i, n - i), dwr = d * load(w + i, n - i) * vr;
        store(dx + i, n - i, load(dx + i, n - i) + negmuladd(c, v, dwr));
        store(dw + i, n - i, muladd(d, v * vr, load(dw + i, n - i)));
    }
}

static void swiglu(const float *gate, const float *up, float *y, int n)
{
    const floats one = all(1), zero = all(0);
    for (int i = 0; i < n; i += VEC_LANES) {
        floats g = load(gate + i, n - i);
        store(y + i, n - i, g / (one + exp_floats(zero - g)) * load(up + i, n - i));
    }
}

/* silu'(g) = s + g s (1 - s), s = sigmoid(g) */
static void swiglu_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int n)
{
    const floats one = all(1), zero = all(0);
    for (int i = 0; i < n; i += VEC_LANES) {
        floats g = load(gate + i, n - i), u = load(up + i, n - i), d = load(dy + i, n - i);
        floats s = one / (one + exp_floats(zero - g)), silu = g * s;
        store(dgate + i, n - i, d * u * muladd(silu, one - s, s));
        store(dup + i, n - i, d * silu);
    }
}

static void rope(float *x, const float *c, const float *s, int half)
{
    for (int i = 0; i < half; i += VEC_LANES) {
        floats a = load(x + i, half - i), b = load(x + half + i, half - i);
        floats vc = load(c + i, half - i), vs = load(s + i, half - i);
        store(x + i, half - i, mulsub(a, vc, b * vs));
        store(x + half + i, half - i, muladd(a, vs, b * vc));
    }
}

static void adamw(float *w, const float *g, float *m, float *v, int n, const struct adamw_step *t)
{
    const floats beta1 = all(t->beta1), rest1 = all(1 - t->beta1), beta2 = all(t->beta2), rest2 = all(1 - t->beta2),
                 c1 = all(t->correction1), c2 = all(t->correction2), eps = all(t->eps), decay = all(t->decay), lr = all(t->lr),
                 scale = all(t->grad_scale);
    for (int i = 0; i < n; i += VEC_LANES) {
        int left = n - i;
        floats grad = load(g + i, left) * scale, old = load(w + i, left);
        floats m1 = muladd(beta1, load(m + i, left), rest1 * grad);
        floats v1 = muladd(beta2, load(v + i, left), rest2 * (grad * grad));
        floats move = muladd(decay, old, m1 * c1 / (root(v1 * c2) + eps));
        store(m + i, left, m1);
        store(v + i, left, v1);
        store(w + i, left, negmuladd(lr, move, old));
    }
}

/* Magnitudes of floats are ordered as their bits are, with NaN above infinity: so NaN comes out. */
static float max_abs(const float *x, int n)
{
    ints most = {0};
    for (int i = 0; i < n; i += VEC_LANES)
        most = max_magnitude(most, load(x + i, n - i));
    return greatest_magnitude(most);
}

static void scale(float a, float *x, int n)
{
    const floats va = all(a);
    for (int i = 0; i < n; i += VEC_LANES)
        store(x + i, n - i, va * load(x + i, n - i));
}

static float softmax_part(float *x, int n, float *most, double *total)
{
    const float before = *most, part = largest(x, n), now = part > before ? part : before;
    const floats shift = all(shift_of(now)), none = all(-INFINITY);
    floats s0 = all(0), s1 = s0;
    for (int i = 0; i < n; i += 2 * VEC_LANES) {
        floats y = exp_floats(load_or(x + i, n - i, none) - shift);
        store(x + i, n - i, y);
        s0 = s0 + y;
        if (i + VEC_LANES >= n)
            break;
        y = exp_floats(load_or(x + i + VEC_LANES, n - i - VEC_LANES, none) - shift);
        store(x + i + VEC_LANES, n - i - VEC_LANES, y);
        s1 = s1 + y;
    }
    float grown = before == now ? 1 : before == -INFINITY ? 0 : expf(before - now);
    *most = now;
    *total = *total * (double)grown + (double)sum(s0 + s1);
    return grown;
}

/* What a tile of product works on: R rows of a and c, V vectors of columns of b and c, of which the last has `left` floats. */
struct tile {
    const float *a, *b;
    float *c;
    size_t lda, ldb, ldc;
    int k, left;
    bool add;
};

static inline __attribute__((always_inline)) void tile_of(const struct tile *t, const int R, const int V)
{
    floats acc[VEC_TILE_ROWS][VEC_TILE_VECTORS], w[VEC_TILE_VECTORS];
    const float *a = t->a, *b = t->b;
    const size_t lda = t->lda, ldb = t->ldb;
    const int left = t->left;
    VEC_UNROLL
    for (int r = 0; r < R; r++)
        VEC_UNROLL
        for (int v = 0; v < V; v++)
            acc[r][v] = all(0);
    for (int k = t->k; k > 0; k--, a++, b += ldb) {
        VEC_UNROLL
        for (int v = 0; v < V; v++)
            w[v] = v < V - 1 ? load_full(b + v * VEC_LANES) : load(b + v * VEC_LANES, left);
        VEC_UNROLL
        for (int r = 0; r < R; r++)
            VEC_UNROLL
            for (int v = 0; v < V; v++)
                acc[r][v] = muladd(all(a[(size_t)r * lda]), w[v], acc[r][v]);
    }
    VEC_UNROLL
    for (int r = 0; r < R; r++)
        VEC_UNROLL
        for (int v = 0; v < V; v++) {
            float *c = t->c + (size_t)r * t->ldc + v * VEC_LANES;
            int n = v < V - 1 ? VEC_LANES : left;
            if (t->add)
                acc[r][v] = acc[r][v] + load(c, n);
            store(c, n, acc[r][v]);
        }
}

/* A function of its own for each size of tile. */
typedef void tile_fn(const struct tile *t);
#define VEC_TILE(R, V)                                                                                                    \
    static void tile_##R##x##V(const struct tile *t) { tile_of(t, R, V); }
VEC_TILES(VEC_TILE)
#define VEC_TILE_NAME(R, V) tile_##R##x##V,
static tile_fn *const tiles[VEC_TILE_VECTORS * VEC_TILE_ROWS] = {VEC_TILES(VEC_TILE_NAME)};

/* Rows in tiles of nearly equal height: 8 is 4 + 4, not 6 + 2. */
static void product(const float *a, int lda, const float *b, int ldb, float *c, int ldc, int m, int n, int k, bool add)
{
    struct tile t = {.lda = (size_t)lda, .ldb = (size_t)ldb, .ldc = (size_t)ldc, .k = k, .add = add};
    int count = (m + VEC_TILE_ROWS - 1) / VEC_TILE_ROWS;
    for (int i = 0; i < count; i++) {
        size_t from = (size_t)m * (size_t)i / (size_t)count, to = (size_t)m * (size_t)(i + 1) / (size_t)count;
        t.a = a + from * t.lda;
        for (int j = 0; j < n; j += VEC_TILE_VECTORS * VEC_LANES) {
            int width = min_int(n - j, VEC_TILE_VECTORS * VEC_LANES), vectors = (width + VEC_LANES - 1) / VEC_LANES;
            t.b = b + j;
            t.c = c + from * t.ldc + j;
            t.left = width - (vectors - 1) * VEC_LANES;
            tiles[(vectors - 1) * VEC_TILE_ROWS + (int)(to - from) - 1](&t);
        }
    }
}

static void widen_fp16(const uint16_t *x, float *y, int n)
{
    for (int i = 0; i < n; i += VEC_LANES)
        store(y + i, n - i, load_fp16(x + i, n - i));
}

/* What one turn of a widening loop does: `left` columns at i. The loops take four registers a turn, of which nothing is left over. */
enum { VEC_TURN = 4 * VEC_LANES };
#define VEC_WIDEN(n, one)                                                                                                 \
    do {                                                                                                                  \
        int i = 0;                                                                                                        \
        for (; i + VEC_TURN <= (n); i += VEC_TURN) {                                                                      \
            one(i, VEC_LANES);                                                                                            \
            one(i + VEC_LANES, VEC_LANES);                                                                                \
            one(i + 2 * VEC_LANES, VEC_LANES);                                                                            \
            one(i + 3 * VEC_LANES, VEC_LANES);                                                                            \
        }                                                                                                                 \
        for (; i < (n); i += VEC_LANES)                                                                                   \
            one(i, (n) - i);                                                                                              \
    } while (0)

static void widen_bf16(const uint16_t *x, float *y, int n)
{
#define ONE(at, left) store(y + (at), left, load_bf16(x + (at), left))
    VEC_WIDEN(n, ONE);
#undef ONE
}

static void widen_int8(const int8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *y)
{
    for (int r = 0; r < rows; r++, x += columns, y += columns) {
        const floats s = all(row_scale ? row_scale[r] : 0);
#define ONE(at, left) store(y + (at), left, load_int8(x + (at), left) * (row_scale ? s : load(column_scale + (at), left)))
        VEC_WIDEN(columns, ONE);
#undef ONE
    }
}

static inline void widen_nibbles(const uint8_t *x, int left, floats scale, float *low, float *high)
{
    floats l, h;
    load_int4(x, left, &l, &h);
    store(low, left, l * scale);
    store(high, left, h * scale);
}

static void widen_int4(const uint8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *low,
                       float *high, int ldy)
{
    for (int r = 0; r < rows; r++, x += columns, low += ldy, high += ldy) {
        const floats s = all(row_scale ? row_scale[r] : 0);
#define ONE(at, left) widen_nibbles(x + (at), left, row_scale ? s : load(column_scale + (at), left), low + (at), high + (at))
        VEC_WIDEN(columns, ONE);
#undef ONE
    }
}

/* What every descriptor of these loops says. */
#define VEC_LOOPS                                                                                                         \
    .dot = dot, .axpy = axpy, .softmax = softmax, .logsumexp = logsumexp, .rmsnorm = rmsnorm, .rmsnorm_grad = rmsnorm_grad, \
    .swiglu = swiglu, .swiglu_grad = swiglu_grad, .rope = rope, .adamw = adamw, .sum_squares = sum_squares, .max_abs = max_abs, \
    .scale = scale, .product = product, .softmax_part = softmax_part, .widen_fp16 = widen_fp16, .widen_bf16 = widen_bf16, \
    .widen_int8 = widen_int8, .widen_int4 = widen_int4

#endif
#endif
