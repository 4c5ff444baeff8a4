/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "act.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "format.h"

/* Below this many columns in all, waking the other threads costs more than they save. */
enum { PARALLEL_COLUMNS = 1 << 15 };

const char *const act_names[ACT_COUNT] = {"f32", "bf16", "int8"};

int act_ld(int k)
{
    int ld = (int)round_up((size_t)k, ACT_PAD);
    return ld % 1024 ? ld : ld + ACT_PAD;
}

float act_scale(uint32_t max_bits)
{
    if (max_bits >= 0x7f800000u)
        return NAN;
    float max;
    memcpy(&max, &max_bits, sizeof max);
    return max / 127.0f;
}

static float scalar_quantize(const float *x, int k, int8_t *codes)
{
    uint32_t max = 0;
    for (int j = 0; j < k; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        max = bits > max ? bits : max;
    }
    float scale = act_scale(max);
    if (!(scale > 0.0f)) {
        memset(codes, 0, (size_t)k);
        return scale;
    }
    for (int j = 0; j < k; j++)
        codes[j] = act_code(x[j], scale);
    return scale;
}

static void scalar_sums(const int8_t *codes, int k, int group, int32_t *sum)
{
    int step = group ? group : k;
    for (int j0 = 0; j0 < k; j0 += step, sum++) {
        int j1 = min_int(j0 + step, k);
        *sum = 0;
        for (int j = j0; j < j1; j++)
            *sum += codes[j];
    }
}

static void scalar_bf16(const float *x, int k, uint16_t *codes)
{
    for (int j = 0; j < k; j++)
        codes[j] = bf16_from_float(x[j]);
}

const struct act_row act_row_scalar = {
    .name = "scalar", .needs = 0, .quantize = scalar_quantize, .sums = scalar_sums, .bf16 = scalar_bf16};
const struct act_row *const act_rows[] = {&act_row_scalar, &act_row_avx2, &act_row_avx512, NULL};

static const struct act_row *row_best(void)
{
    const struct act_row *best = act_rows[0];
    uint32_t isa = cpu_isa();
    for (int i = 1; act_rows[i]; i++)
        if (act_rows[i]->quantize && (act_rows[i]->needs & ~isa) == 0)
            best = act_rows[i];
    return best;
}

float act_quantize_row(const float *x, int k, int8_t *codes) { return row_best()->quantize(x, k, codes); }

void acts_free(struct acts *a)
{
    mem_free(a->q);
    mem_free(a->scale);
    mem_free(a->sum);
    *a = (struct acts){0};
}

static bool grow(void **p, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity / size)
        return true;
    mem_free(*p);
    *p = mem_alloc(count, size);
    *capacity = *p ? count * size : 0;
    return *p != NULL;
}

enum status acts_reserve(struct acts *a, enum act act, int m, int k, int smallest_group, struct err *e)
{
    assert(m > 0 && k > 0 && smallest_group >= 0);
    size_t tokens = (size_t)m, sums = tokens * (size_t)qlinear_groups(k, smallest_group);
    size_t width = act == ACT_BF16 ? sizeof *a->b : sizeof *a->q;
    void *q = a->q, *scale = a->scale, *sum = a->sum;
    if (act == ACT_F32)
        return ST_OK;
    bool ok = grow(&q, &a->capacity[0], tokens * (size_t)act_ld(k), width) &&
              grow(&scale, &a->capacity[1], tokens, sizeof *a->scale) && grow(&sum, &a->capacity[2], sums, sizeof *a->sum);
    a->q = q;
    a->b = q;
    a->scale = scale;
    a->sum = sum;
    if (ok)
        return ST_OK;
    acts_free(a);
    return fail(e, ST_ENOMEM, "no memory for the %s activations of %d tokens of %d columns", act_names[act], m, k);
}

struct set_job {
    const struct acts *a;
    const struct act_row *row;
    const float *x;
    int ldx;
};

static void set_tokens(void *ctx, int thread, int threads)
{
    const struct set_job *job = ctx;
    const struct acts *a = job->a;
    int begin, end;
    par_span(a->m, 1, thread, threads, &begin, &end);
    for (int i = begin; i < end && a->act == ACT_BF16; i++) {
        uint16_t *b = a->b + (size_t)i * (size_t)a->ld;
        job->row->bf16(job->x + (size_t)i * (size_t)job->ldx, a->k, b);
        memset(b + a->k, 0, (size_t)(a->ld - a->k) * sizeof *b);
    }
    for (int i = begin; i < end && a->act == ACT_INT8; i++) {
        int8_t *q = a->q + (size_t)i * (size_t)a->ld;
        a->scale[i] = job->row->quantize(job->x + (size_t)i * (size_t)job->ldx, a->k, q);
        memset(q + a->k, 0, (size_t)(a->ld - a->k));
        job->row->sums(q, a->k, a->group, a->sum + (size_t)i * (size_t)a->groups);
    }
}

void acts_set(struct acts *a, struct par *p, enum act act, const float *x, int m, int k, int ldx, int group)
{
    assert(m > 0 && k > 0 && ldx >= k && group >= 0);
    a->act = act;
    a->m = m;
    a->k = k;
    a->group = group;
    a->groups = qlinear_groups(k, group);
    if (act == ACT_F32) {
        a->x = x;
        a->ldx = ldx;
        return;
    }
    a->ld = act_ld(k);
    size_t width = act == ACT_BF16 ? sizeof *a->b : sizeof *a->q;
    assert((size_t)m * (size_t)a->ld * width <= a->capacity[0] && (size_t)m * sizeof *a->scale <= a->capacity[1]);
    assert(act == ACT_BF16 || (size_t)m * (size_t)a->groups * sizeof *a->sum <= a->capacity[2]);
    struct set_job job = {a, row_best(), x, ldx};
    if (p && m > 1 && (size_t)m * (size_t)k >= PARALLEL_COLUMNS)
        par_run(p, set_tokens, &job);
    else
        set_tokens(&job, 0, 1);
}
