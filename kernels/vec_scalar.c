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
    for (int i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - max);
    float scale = sum == 0 ? 0 : (float)(1 / sum);
    for (int i = 0; i < n; i++)
        x[i] *= scale;
    return max + logf((float)sum);
}

static float logsumexp(const float *x, int n)
{
    float max = largest(x, n);
    if (max == -INFINITY)
        max = 0;
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += expf(x[i] - max);
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
        y[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
}

/* silu'(g) = s + g s (1 - s), s = sigmoid(g) */
static void swiglu_grad(const float *gate, const float *up, const float *dy, float *dgate, float *dup, int n)
{
    for (int i = 0; i < n; i++) {
        float g = gate[i], u = up[i], d = dy[i], s = 1 / (1 + expf(-g)), silu = g * s;
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
};
