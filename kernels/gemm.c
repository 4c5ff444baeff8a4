/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gemm.h"

#include <assert.h>
#include <string.h>

/*
 * Below both of these, sharing a layer costs about as much as running it: weights times tokens, and weight bytes times tokens. By
 * work as well as by bytes, since a narrow format takes no less arithmetic for being small; by bytes as well as by work, since wide
 * weights take longer to read. Chosen by decoding `1m` on 2 threads: half or twice either is slower for some format.
 */
enum { ALONE_WORK = 1 << 15, ALONE_BYTES = 1 << 16 };

static enum status check_fit(const struct qlinear *q, const struct kernel *k, struct err *e)
{
    char why[512];
    if (q->format != k->format)
        return fail(e, ST_EUSAGE, "kernel %s multiplies %s weights, not %s; choose a kernel named %s_*", k->name,
                    formats[k->format].name, formats[q->format].name, formats[q->format].name);
    kernel_reason(k, why, sizeof why);
    if (why[0])
        return fail(e, ST_EUNSUPPORTED, "kernel %s cannot run here: %s", k->name, why);
    if (q->rows <= 0 || q->cols <= 0)
        return fail(e, ST_EUSAGE, "kernel %s: a layer of %d x %d weights; both must be at least 1", k->name, q->rows, q->cols);
    return ST_OK;
}

static enum status check_codes(const struct qlinear *q, struct err *e)
{
    const struct format_info *f = &formats[q->format];
    bool held[256];
    for (int code = -128; code < 128; code++)
        held[code + 128] = format_holds(q->format, code);
    for (int r = 0; r < q->rows; r++) {
        const int8_t *codes = q->plane.codes + (size_t)r * (size_t)q->cols;
        bool all = true;
        for (int c = 0; c < q->cols; c++)
            all &= held[codes[c] + 128];
        for (int c = 0; !all && c < q->cols; c++)
            if (!held[codes[c] + 128])
                return fail(e, ST_EUSAGE, "code %d at row %d, column %d is not one of %s's (%s)", codes[c], r, c, f->name, f->title);
    }
    return ST_OK;
}

static enum status check_halves(const struct qlinear *q, const char *what, const float *values, struct err *e)
{
    int groups = qlinear_groups(q->cols, q->plane.group);
    for (size_t i = 0; i < (size_t)q->rows * (size_t)groups; i++) {
        float value = values[i], half = fp16_round(value);
        if (memcmp(&value, &half, sizeof value) != 0)
            return fail(e, ST_EUSAGE, "%s %.9g of row %zu, group %zu is not an fp16 number: round it before choosing codes", what,
                        (double)value, i / (size_t)groups, i % (size_t)groups);
    }
    return ST_OK;
}

static enum status check_scales(const struct qlinear *q, struct err *e)
{
    enum status s = q->plane.group ? check_halves(q, "scale", q->plane.scale, e) : ST_OK;
    return s == ST_OK && q->plane.group && q->plane.shift ? check_halves(q, "shift", q->plane.shift, e) : s;
}

static enum status check_integer(const struct qlinear *q, const struct kernel *k, struct err *e)
{
    char why[512];
    kernel_refusal(k, q->plane.group, q->plane.shift, why, sizeof why);
    if (why[0])
        return fail(e, ST_EUNSUPPORTED, "kernel %s %s", k->name, why);
    if (k->act != ACT_INT8 && q->act_gain != 1.0f)
        return fail(e, ST_EUSAGE, "kernel %s: γ on activations needs quantized activations; use an int8 one", k->name);
    if (q->cols > KERNEL_MAX_COLUMNS)
        return fail(e, ST_EUNSUPPORTED, "kernel %s: %d columns could overflow its 32-bit sums; at most %d", k->name, q->cols,
                    KERNEL_MAX_COLUMNS);
    enum status s = check_codes(q, e);
    return s ? s : check_scales(q, e);
}

static enum status check_float(const struct qlinear *q, const struct kernel *k, struct err *e)
{
    if (q->act_gain != 1.0f)
        return fail(e, ST_EUSAGE, "kernel %s: γ on activations needs quantized activations; use an integer format", k->name);
    return q->dense ? ST_OK : fail(e, ST_EUSAGE, "kernel %s: the %s layer has no weights", k->name, formats[q->format].name);
}

enum status linear_open(struct linear *l, const struct qlinear *q, const struct kernel *kernel, struct err *e)
{
    *l = (struct linear){0};
    bool integer = formats[q->format].qmax != 0;
    enum status s = check_fit(q, kernel, e);
    if (!s)
        s = integer ? check_integer(q, kernel, e) : check_float(q, kernel, e);
    if (s)
        return s;
    size_t bytes = kernel->packed_size(q);
    void *packed = mem_alloc(bytes, 1);
    if (!packed)
        return fail(e, ST_ENOMEM, "no memory to pack a %d x %d layer for %s (%zu bytes)", q->rows, q->cols, kernel->name, bytes);
    kernel->pack(packed, q);
    *l = (struct linear){.kernel = kernel, .rows = q->rows, .cols = q->cols, .group = integer ? q->plane.group : 0};
    l->shift = integer && q->plane.shift;
    l->act_gain = q->act_gain;
    l->packed = packed;
    l->packed_bytes = q->format == FORMAT_F32 ? qlinear_bytes(q) : bytes;
    return ST_OK;
}

void linear_close(struct linear *l)
{
    mem_free(l->packed);
    *l = (struct linear){0};
}

struct run_job {
    const struct kernel *kernel;
    struct gemm_args args;
};

static void run_share(void *ctx, int thread, int threads)
{
    const struct run_job *job = ctx;
    struct gemm_args a = job->args;
    par_span(a.n, job->kernel->n_step, thread, threads, &a.n0, &a.n1);
    if (a.n0 < a.n1)
        job->kernel->gemm(&a);
}

static const float *gained(const struct acts *a, float gain, float *room)
{
    if (gain == 1.0f)
        return a->scale;
    assert(room);
    for (int i = 0; i < a->m; i++)
        room[i] = a->scale[i] * gain;
    return room;
}

void linear_run(const struct linear *l, struct par *p, const struct acts *a, float *scale_room, float *y, int ldy)
{
    assert(a->act == l->kernel->act && a->k == l->cols && ldy >= l->rows);
    struct run_job job = {.kernel = l->kernel};
    job.args = (struct gemm_args){.m = a->m, .n = l->rows, .k = l->cols, .group = l->group, .shift = l->shift, .w = l->packed, .y = y, .ldy = ldy};
    if (a->act == ACT_F32) {
        job.args.x = a->x;
        job.args.ldx = a->ldx;
    } else if (a->act == ACT_BF16) {
        job.args.xb = a->b;
        job.args.ldx = a->ld;
    } else {
        assert(a->groups == qlinear_groups(l->cols, l->group));
        job.args.xq = a->q;
        job.args.ldx = a->ld;
        job.args.x_scale = gained(a, l->act_gain, scale_room);
        job.args.x_sum = a->sum;
        job.args.groups = a->groups;
    }
    size_t m = (size_t)a->m;
    if (p && ((size_t)l->rows * (size_t)l->cols * m >= ALONE_WORK || l->packed_bytes * m >= ALONE_BYTES))
        par_run(p, run_share, &job);
    else
        run_share(&job, 0, 1);
}
