/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "decoder_ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "act.h"

void ref_norm(const double *x, const double *w, int n, int dim, double eps, double *y)
{
    for (int i = 0; i < n; i++, x += dim, y += dim) {
        double squares = 0;
        for (int j = 0; j < dim; j++)
            squares += x[j] * x[j];
        for (int j = 0; j < dim; j++)
            y[j] = x[j] / sqrt(squares / dim + eps) * w[j];
    }
}

void ref_linear(const double *x, const double *w, int n, int rows, int cols, double *y)
{
    for (int i = 0; i < n; i++)
        for (int r = 0; r < rows; r++) {
            double sum = 0;
            for (int c = 0; c < cols; c++)
                sum += x[i * cols + c] * w[r * cols + c];
            y[i * rows + r] = sum;
        }
}

void ref_rope(double *x, double base, int n, int seq, int heads, int head_dim, int ld)
{
    int half = head_dim / 2;
    for (int i = 0; i < n; i++)
        for (int h = 0; h < heads; h++)
            for (int j = 0; j < half; j++) {
                double *a = x + i * ld + h * head_dim + j, *b = a + half, u = *a, v = *b;
                double angle = (i % seq) * pow(base, -2.0 * j / head_dim);
                *a = u * cos(angle) - v * sin(angle);
                *b = v * cos(angle) + u * sin(angle);
            }
}

static void attend(const double *q, const double *k, const double *v, int seen, int ld, int head_dim, double *out)
{
    double *p = calloc((size_t)seen, sizeof *p), sum = 0;
    for (int t = 0; t < seen; t++) {
        for (int j = 0; j < head_dim; j++)
            p[t] += q[j] * k[t * ld + j];
        p[t] = exp(p[t] / sqrt(head_dim));
        sum += p[t];
    }
    for (int j = 0; j < head_dim; j++) {
        out[j] = 0;
        for (int t = 0; t < seen; t++)
            out[j] += p[t] / sum * v[t * ld + j];
    }
    free(p);
}

void ref_attention(const double *qkv, int seq, int heads, int kv_heads, int head_dim, double *out)
{
    int ld = (heads + 2 * kv_heads) * head_dim;
    for (int t = 0; t < seq; t++)
        for (int h = 0; h < heads; h++) {
            int kv = h * kv_heads / heads;
            attend(qkv + t * ld + h * head_dim, qkv + (heads + kv) * head_dim, qkv + (heads + kv_heads + kv) * head_dim, t + 1, ld,
                   head_dim, out + (t * heads + h) * head_dim);
        }
}

void ref_swiglu(const double *gu, int n, int ffn, double *y)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < ffn; j++) {
            double gate = gu[i * 2 * ffn + j];
            y[i * ffn + j] = gate / (1 + exp(-gate)) * gu[i * 2 * ffn + ffn + j];
        }
}

double ref_loss(const double *x, const double *head, const int32_t *targets, int n, int dim, int vocab)
{
    double nll = 0, *logits = calloc((size_t)vocab, sizeof *logits);
    for (int i = 0; i < n; i++) {
        double sum = 0;
        ref_linear(x + i * dim, head, 1, vocab, dim, logits);
        for (int v = 0; v < vocab; v++)
            sum += exp(logits[v]);
        if (targets[i] >= 0)
            nll += log(sum) - logits[targets[i]];
    }
    free(logits);
    return nll;
}

size_t ref_rounding_count(const struct model_config *c, int tokens)
{
    return (size_t)c->layers * (size_t)tokens * (size_t)(3 * c->dim + c->ffn);
}

static void round_rows(struct ref_rounding *r, double *x, int n, int cols)
{
    if (!r || !r->delta)
        return;
    double *delta = r->delta + r->at;
    r->at += (size_t)n * (size_t)cols;
    float *row = calloc((size_t)cols, sizeof *row);
    int8_t *codes = calloc((size_t)cols, 1);
    for (int i = 0; i < n && r->record; i++) {
        for (int j = 0; j < cols; j++)
            row[j] = (float)x[i * cols + j];
        float scale = act_quantize_row(row, cols, codes);
        for (int j = 0; j < cols; j++)
            delta[i * cols + j] = (double)scale * codes[j] - x[i * cols + j];
    }
    for (int i = 0; i < n * cols; i++)
        x[i] += delta[i];
    free(row);
    free(codes);
}

/* kv (n, ld): keys and values of `heads` heads in all */
static void round_kv(const struct ref_rounding *r, double *kv, int n, int heads, int head_dim, int ld)
{
    for (int i = 0; r && r->kv && i < n; i++)
        for (int h = 0; h < heads; h++)
            r->kv(kv + i * ld + h * head_dim, head_dim);
}

static void add(double *x, const double *y, int n)
{
    for (int i = 0; i < n; i++)
        x[i] += y[i];
}

/* x (n,dim) in and out */
static void layer(const struct weights *shape, const double *params, int l, int n, int seq, double *x, struct ref_rounding *r)
{
    const struct model_config *c = &shape->config;
    const struct layer_weights *w = &shape->layer[l];
    int dim = c->dim, ffn = c->ffn, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, ld = q + 2 * kv;
    const double *linear[LIN_COUNT];
    for (int i = 0; i < LIN_COUNT; i++)
        linear[i] = params + (w->linear[i] - shape->data);
    double *norm = calloc((size_t)(n * dim), sizeof *norm), *part = calloc((size_t)(n * max_int(q, ffn)), sizeof *part);
    double *qkv = calloc((size_t)(n * ld), sizeof *qkv), *gu = calloc((size_t)(n * 2 * ffn), sizeof *gu);
    double *y = calloc((size_t)(n * max_int(dim, ffn)), sizeof *y);

    ref_norm(x, params + (w->attn_norm - shape->data), n, dim, c->norm_eps, norm);
    round_rows(r, norm, n, dim);
    for (int i = 0; i < n; i++) {
        ref_linear(norm + i * dim, linear[LIN_Q], 1, q, dim, qkv + i * ld);
        ref_linear(norm + i * dim, linear[LIN_K], 1, kv, dim, qkv + i * ld + q);
        ref_linear(norm + i * dim, linear[LIN_V], 1, kv, dim, qkv + i * ld + q + kv);
    }
    ref_rope(qkv, c->rope_base, n, seq, c->heads + c->kv_heads, c->head_dim, ld);
    round_kv(r, qkv + q, n, 2 * c->kv_heads, c->head_dim, ld);
    for (int i = 0; i < n; i += seq)
        ref_attention(qkv + i * ld, seq, c->heads, c->kv_heads, c->head_dim, part + i * q);
    round_rows(r, part, n, q);
    ref_linear(part, linear[LIN_O], n, dim, q, y);
    add(x, y, n * dim);

    ref_norm(x, params + (w->ffn_norm - shape->data), n, dim, c->norm_eps, norm);
    round_rows(r, norm, n, dim);
    for (int i = 0; i < n; i++) {
        ref_linear(norm + i * dim, linear[LIN_GATE], 1, ffn, dim, gu + i * 2 * ffn);
        ref_linear(norm + i * dim, linear[LIN_UP], 1, ffn, dim, gu + i * 2 * ffn + ffn);
    }
    ref_swiglu(gu, n, ffn, part);
    round_rows(r, part, n, ffn);
    ref_linear(part, linear[LIN_DOWN], n, dim, ffn, y);
    add(x, y, n * dim);
    free(norm), free(part), free(qkv), free(gu), free(y);
}

double ref_decoder(const struct weights *shape, const double *params, const int32_t *inputs, const int32_t *targets, int batch,
                   int seq, struct ref_rounding *rounding)
{
    const struct model_config *c = &shape->config;
    int n = batch * seq, dim = c->dim, scored = 0;
    double *x = calloc((size_t)(n * dim), sizeof *x), *norm = calloc((size_t)(n * dim), sizeof *norm);
    if (rounding)
        rounding->at = 0;
    for (int i = 0; i < n; i++) {
        memcpy(x + i * dim, params + (shape->embed - shape->data) + inputs[i] * dim, (size_t)dim * sizeof *x);
        scored += targets[i] >= 0;
    }
    for (int l = 0; l < c->layers; l++)
        layer(shape, params, l, n, seq, x, rounding);
    ref_norm(x, params + (shape->norm - shape->data), n, dim, c->norm_eps, norm);
    double nll = ref_loss(norm, params + (shape->head - shape->data), targets, n, dim, c->vocab);
    free(x), free(norm);
    return nll / scored;
}
