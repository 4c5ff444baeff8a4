/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "layers.h"

#include <math.h>
#include <string.h>

#include "act.h"

enum { ROWS = 64 }; /* query rows a block of attention: what lies above the diagonal is skipped block by block */

void layers_embed(const float *embed, const int32_t *ids, int n, int dim, float *x)
{
    for (int i = 0; i < n; i++)
        memcpy(x + (size_t)i * dim, embed + (size_t)ids[i] * dim, (size_t)dim * sizeof *x);
}

void layers_embed_grad(const struct layers *l, const int32_t *ids, int n, int dim, const float *dx, float *dembed)
{
    for (int i = 0; i < n; i++)
        l->vec->axpy(1.0f, dx + (size_t)i * dim, dembed + (size_t)ids[i] * dim, dim);
}

void layers_norm(const struct layers *l, const float *x, const float *w, int n, int dim, float eps, float *y, float *r)
{
    for (int i = 0; i < n; i++)
        r[i] = l->vec->rmsnorm(x + (size_t)i * dim, w, y + (size_t)i * dim, dim, eps);
}

void layers_norm_grad(const struct layers *l, const float *x, const float *w, const float *r, int n, int dim, const float *dy,
                      float *dx, float *dw)
{
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)i * dim;
        l->vec->rmsnorm_grad(x + at, w, r[i], dy + at, dx + at, dw, dim);
    }
}

void layers_linear(const struct layers *l, const float *x, const float *w, int n, int rows, int cols, float beta, float *y,
                   int ldy)
{
    l->blas->sgemm(false, true, n, rows, cols, 1.0f, x, cols, w, cols, beta, y, ldy);
}

void layers_linear_grad(const struct layers *l, const float *x, const float *w, int n, int rows, int cols, const float *dy,
                        int ldy, float beta, float *dx, float *dw)
{
    l->blas->sgemm(false, false, n, cols, rows, 1.0f, dy, ldy, w, cols, beta, dx, cols);
    l->blas->sgemm(true, false, rows, cols, n, 1.0f, dy, ldy, x, cols, 1.0f, dw, cols);
}

void layers_rope_table(float base, int seq, int head_dim, float *cosine, float *sine)
{
    int half = head_dim / 2;
    for (int i = 0; i < half; i++) {
        double frequency = pow(base, -(double)i / half);
        for (int t = 0; t < seq; t++) {
            cosine[(size_t)t * half + i] = (float)cos(t * frequency);
            sine[(size_t)t * half + i] = (float)sin(t * frequency);
        }
    }
}

void layers_rope(const struct layers *l, const float *cosine, const float *sine, int n, int seq, int heads, int head_dim,
                 float *x, int ld)
{
    int half = head_dim / 2;
    for (int i = 0; i < n; i++) {
        size_t t = (size_t)(i % seq) * half;
        for (int h = 0; h < heads; h++)
            l->vec->rope(x + (size_t)i * ld + h * head_dim, cosine + t, sine + t, half);
    }
}

size_t layers_attention_room(const struct attention *a) { return 2 * (size_t)ROWS * a->seq; }

/* One block of query rows [first, first + rows) of one head: where its operands lie. */
struct block {
    int first, rows, keys;
    size_t q, k, v, out; /* offsets of the block's first query, the head's first key and value, the block's first output */
    float scale;
};

static struct block block_at(const struct attention *a, int head, int first)
{
    int hd = a->head_dim, kv = head / (a->heads / a->kv_heads), rows = min_int(ROWS, a->seq - first);
    return (struct block){
        .first = first,
        .rows = rows,
        .keys = first + rows,
        .q = (size_t)first * a->ld + (size_t)head * hd,
        .k = (size_t)(a->heads + kv) * hd,
        .v = (size_t)(a->heads + a->kv_heads + kv) * hd,
        .out = ((size_t)first * a->heads + head) * hd,
        .scale = 1.0f / sqrtf((float)hd),
    };
}

/* p (rows, keys) = softmax(scale * q k^T), zero above the diagonal */
static void probabilities(const struct layers *l, const struct attention *a, const struct block *b, const float *qkv, float *p)
{
    l->blas->sgemm(false, true, b->rows, b->keys, a->head_dim, b->scale, qkv + b->q, a->ld, qkv + b->k, a->ld, 0.0f, p, b->keys);
    for (int i = 0; i < b->rows; i++) {
        float *row = p + (size_t)i * b->keys;
        int seen = b->first + i + 1;
        l->vec->softmax(row, seen);
        memset(row + seen, 0, (size_t)(b->keys - seen) * sizeof *row);
    }
}

void layers_attention(const struct layers *l, const struct attention *a, const float *qkv, float *scratch, float *out)
{
    for (int head = 0; head < a->heads; head++)
        for (int first = 0; first < a->seq; first += ROWS) {
            struct block b = block_at(a, head, first);
            probabilities(l, a, &b, qkv, scratch);
            l->blas->sgemm(false, false, b.rows, a->head_dim, b.keys, 1.0f, scratch, b.keys, qkv + b.v, a->ld, 0.0f,
                           out + b.out, a->heads * a->head_dim);
        }
}

/* ds (rows, keys), in place of dp: p * (dp - sum p dp), the softmax's backward; zero where p is. */
static void softmax_grad(const struct layers *l, const struct block *b, const float *p, float *dp)
{
    for (int i = 0; i < b->rows; i++) {
        const float *pi = p + (size_t)i * b->keys;
        float *di = dp + (size_t)i * b->keys, mean = l->vec->dot(pi, di, b->first + i + 1);
        for (int j = 0; j < b->keys; j++)
            di[j] = pi[j] * (di[j] - mean);
    }
}

static void attention_block_grad(const struct layers *l, const struct attention *a, const struct block *b, const float *qkv,
                                 const float *dout, float *scratch, float *dqkv)
{
    int hd = a->head_dim, ldo = a->heads * hd, ld = a->ld;
    float *p = scratch, *ds = scratch + (size_t)ROWS * a->seq;
    probabilities(l, a, b, qkv, p);
    l->blas->sgemm(true, false, b->keys, hd, b->rows, 1.0f, p, b->keys, dout + b->out, ldo, 1.0f, dqkv + b->v, ld);
    l->blas->sgemm(false, true, b->rows, b->keys, hd, 1.0f, dout + b->out, ldo, qkv + b->v, ld, 0.0f, ds, b->keys);
    softmax_grad(l, b, p, ds);
    l->blas->sgemm(false, false, b->rows, hd, b->keys, b->scale, ds, b->keys, qkv + b->k, ld, 0.0f, dqkv + b->q, ld);
    l->blas->sgemm(true, false, b->keys, hd, b->rows, b->scale, ds, b->keys, qkv + b->q, ld, 1.0f, dqkv + b->k, ld);
}

void layers_attention_grad(const struct layers *l, const struct attention *a, const float *qkv, const float *dout, float *scratch,
                           float *dqkv)
{
    /* Keys and values gather from many blocks (and heads); queries are written once. */
    size_t kv = (size_t)a->heads * a->head_dim, width = 2 * (size_t)a->kv_heads * a->head_dim;
    for (int t = 0; t < a->seq; t++)
        memset(dqkv + (size_t)t * a->ld + kv, 0, width * sizeof *dqkv);
    for (int head = 0; head < a->heads; head++)
        for (int first = 0; first < a->seq; first += ROWS) {
            struct block b = block_at(a, head, first);
            attention_block_grad(l, a, &b, qkv, dout, scratch, dqkv);
        }
}

void layers_swiglu(const struct layers *l, const float *gu, int n, int ffn, float *y)
{
    for (int i = 0; i < n; i++) {
        const float *gate = gu + (size_t)i * 2 * ffn;
        l->vec->swiglu(gate, gate + ffn, y + (size_t)i * ffn, ffn);
    }
}

void layers_swiglu_grad(const struct layers *l, const float *gu, int n, int ffn, const float *dy, float *dgu)
{
    for (int i = 0; i < n; i++) {
        size_t at = (size_t)i * 2 * ffn;
        l->vec->swiglu_grad(gu + at, gu + at + ffn, dy + (size_t)i * ffn, dgu + at, dgu + at + ffn, ffn);
    }
}

/* The NLL of n rows of logits (n,vocab); with grad they become softmax - onehot, and zero where nothing is scored. */
static double cross_entropy(const struct layers *l, float *logits, const int32_t *targets, int n, int vocab, bool grad)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        float *row = logits + (size_t)i * vocab;
        if (targets[i] < 0) {
            if (grad)
                memset(row, 0, (size_t)vocab * sizeof *row);
            continue;
        }
        double right = row[targets[i]];
        sum += (grad ? l->vec->softmax(row, vocab) : l->vec->logsumexp(row, vocab)) - right;
        if (grad)
            row[targets[i]] -= 1.0f;
    }
    return sum;
}

double layers_loss(const struct layers *l, const float *x, const float *head, const int32_t *targets, int n, int dim, int vocab,
                   float weight, float *logits, float *dx, float *dhead)
{
    double sum = 0;
    for (int first = 0; first < n; first += LAYERS_LOSS_BLOCK) {
        int rows = min_int(LAYERS_LOSS_BLOCK, n - first);
        const float *xb = x + (size_t)first * dim;
        l->blas->sgemm(false, true, rows, vocab, dim, 1.0f, xb, dim, head, dim, 0.0f, logits, vocab);
        sum += cross_entropy(l, logits, targets + first, rows, vocab, dx != NULL);
        if (!dx)
            continue;
        l->blas->sgemm(false, false, rows, dim, vocab, weight, logits, vocab, head, dim, 0.0f, dx + (size_t)first * dim, dim);
        l->blas->sgemm(true, false, vocab, dim, rows, weight, logits, vocab, xb, dim, 1.0f, dhead, dim);
    }
    return sum;
}

void layers_fake_int8(float *x, int n, int cols, int8_t *codes)
{
    for (int i = 0; i < n; i++) {
        float *row = x + (size_t)i * cols, scale = act_quantize_row(row, cols, codes);
        for (int j = 0; j < cols; j++)
            row[j] = scale * (float)codes[j];
    }
}
