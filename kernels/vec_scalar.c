/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "vec.h"

/* Eight partial sums: as wide as the vector tables' rounding, and what the baseline's registers can hold. */
enum { LANES = 8 };

static float sum_lanes(const float *s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

static float dot(const float *a, const float *b, int n)
{
    float s[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            s[j] += a[i + j] * b[i + j];
    for (; i < n; i++)
        s[i % LANES] += a[i] * b[i];
    return sum_lanes(s);
}

static void axpy(float a, const float *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] += a * x[i];
}

/*
 * e^x as vec_loops.h has it, in C that a compiler turns into vectors of the baseline's registers. Adding and subtracting
 * 1.5 * 2^23 rounds to even, and leaves the whole number in the low bits; 2^n in two factors, so that subnormal results round once.
 */
static inline float exp_of(float x)
{
    const float round = 0x1.8p23f;
    x = x < -105.0f ? -105.0f : x;
    x = x > 89.0f ? 89.0f : x;
    float shifted = x * 1.44269504f + round, n = shifted - round, r = x - n * 0.693359375f, p, a, b;
    int32_t bits, zero, power, half;
    memcpy(&bits, &shifted, 4);
    memcpy(&zero, &round, 4);
    power = (int32_t)((uint32_t)bits - (uint32_t)zero);
    half = power >> 1;
    r = r + n * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = (r * r * p + r) + 1.0f;
    power = (int32_t)((uint32_t)(power - half + 127) << 23);
    half = (int32_t)((uint32_t)(half + 127) << 23);
    memcpy(&a, &half, 4);
    memcpy(&b, &power, 4);
    return p * a * b;
}

static void exp_all(float *x, int n, float shift)
{
    for (int i = 0; i < n; i++)
        x[i] = exp_of(x[i] - shift);
}

static void scale(float a, float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] *= a;
}

static float largest(const float *x, int n)
{
    float max = -INFINITY;
    for (int i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

static float softmax(float *x, int n)
{
    float max = largest(x, n);
    if (max == -INFINITY) /* nothing is allowed, or every x is NaN: -inf - -inf must not become the former's answer */
        max = 0;
    double sum = 0;
    exp_all(x, n, max);
    for (int i = 0; i < n; i++)
        sum += x[i];
    scale(sum == 0 ? 0 : (float)(1 / sum), x, n);
    return max + logf((float)sum);
}

static float logsumexp(const float *x, int n)
{
    float max = largest(x, n);
    if (max == -INFINITY)
        max = 0;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp_of(x[i] - max);
    return max + logf((float)sum);
}

static double sum_squares(const float *x, int n)
{
    double s[2] = {0, 0};
    for (int i = 0; i < n; i++)
        s[i % 2] += (double)x[i] * x[i];
    return s[0] + s[1];
}

static float rmsnorm(const float *x, const float *w, float *y, int n, float eps)
{
    if (n == 0)
        return 0;
    float r = (float)(1 / sqrt(sum_squares(x, n) / n + eps));
    for (int i = 0; i < n; i++)
        y[i] = x[i] * r * w[i];
    return r;
}

/* y_i = x_i r w_i with r = (mean x^2 + eps)^-1/2, so d r / d x_i = -r^3 x_i / n. */
static void rmsnorm_grad(const float *x, const float *w, float r, const float *dy, float *dx, float *dw, int n)
{
    double through_r = 0;
    for (int i = 0; i < n; i++)
        through_r += (double)(dy[i] * w[i]) * x[i];
    float c = n ? (float)(through_r * r * r * r / n) : 0;
    for (int i = 0; i < n; i++) {
        dx[i] += dy[i] * w[i] * r - c * x[i];
        dw[i] += dy[i] * (x[i] * r);
    }
}

static void swiglu(const float *gate, const float *up, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = gate[i] / (1 + exp_of(-gate[i])) * up[i];
}

/* silu'(g) = s + g s (1 - s), s = sigmoid(g) */
static void swiglu_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int n)
{
    for (int i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i], s = 1 / (1 + exp_of(-g)), silu = g * s;
        dgate[i] = d * u * (s + silu * (1 - s));
        dup[i] = d * silu;
    }
}

static void rope(float *x, const float *c, const float *s, int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * c[i] - b * s[i];
        x[i + half] = a * s[i] + b * c[i];
    }
}

static void adamw(float *w, const float *g, float *m, float *v, int n, const struct adamw_step *step)
{
    const struct adamw_step t = *step;
    for (int i = 0; i < n; i++) {
        float grad = g[i] * t.grad_scale;
        m[i] = t.beta1 * m[i] + (1 - t.beta1) * grad;
        v[i] = t.beta2 * v[i] + (1 - t.beta2) * (grad * grad);
        w[i] -= t.lr * (m[i] * t.correction1 / (sqrtf(v[i] * t.correction2) + t.eps) + t.decay * w[i]);
    }
}

/* Magnitudes of floats are ordered as their bits are, with NaN above infinity: so NaN comes out. */
static float max_abs(const float *x, int n)
{
    uint32_t max = 0;
    for (int i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        u &= 0x7fffffffu;
        max = u > max ? u : max;
    }
    float f;
    memcpy(&f, &max, 4);
    return f;
}

static float softmax_part(float *x, int n, float *max, double *sum)
{
    float before = *max, part = largest(x, n), now = part > before ? part : before, lanes[LANES] = {0};
    exp_all(x, n, now == -INFINITY ? 0 : now);
    for (int i = 0; i < n; i++)
        lanes[i % LANES] += x[i];
    float grown = before == now ? 1 : before == -INFINITY ? 0 : exp_of(before - now);
    *max = now;
    *sum = *sum * (double)grown + (double)sum_lanes(lanes);
    return grown;
}

static void product(const float *a, int lda, const float *b, int ldb, float *c, int ldc, int m, int n, int k, bool add)
{
    for (int i = 0; i < m; i++) {
        float *row = c + (size_t)i * (size_t)ldc;
        for (int j = 0; j < n && !add; j++)
            row[j] = 0;
        for (int l = 0; l < k; l++)
            axpy(a[(size_t)i * (size_t)lda + (size_t)l], b + (size_t)l * (size_t)ldb, row, n);
    }
}

static void widen_fp16(const uint16_t *x, float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = fp16_to_float(x[i]);
}

static void widen_bf16(const uint16_t *x, float *y, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t u = (uint32_t)x[i] << 16;
        memcpy(&y[i], &u, 4);
    }
}

static void widen_int8(const int8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *y)
{
    for (int r = 0; r < rows; r++, x += columns, y += columns)
        for (int i = 0; i < columns; i++)
            y[i] = (float)x[i] * (row_scale ? row_scale[r] : column_scale[i]);
}

static void widen_int4(const uint8_t *x, int rows, int columns, const float *row_scale, const float *column_scale, float *low,
                       float *high, int ldy)
{
    for (int r = 0; r < rows; r++, x += columns, low += ldy, high += ldy)
        for (int i = 0; i < columns; i++) {
            float s = row_scale ? row_scale[r] : column_scale[i];
            low[i] = (float)((x[i] & 15) - 8) * s;
            high[i] = (float)((x[i] >> 4) - 8) * s;
        }
}

const struct vec vec_scalar = {
    .name = "scalar",
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
    .scale = scale,
    .product = product,
    .softmax_part = softmax_part,
    .widen_fp16 = widen_fp16,
    .widen_bf16 = widen_bf16,
    .widen_int8 = widen_int8,
    .widen_int4 = widen_int4,
};
