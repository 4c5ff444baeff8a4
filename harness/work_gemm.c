/* One linear layer y = x W^T with random weights: what a kernel does alone. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"
#include "gemm.h"
#include "host.h"
#include "work.h"

/* Outputs whose values are known: rows of W times tokens, and what each must be. */
struct reference {
    int tokens, rows;
    int *token, *row;    /* owned: which */
    float *want, *slack; /* (tokens, rows) owned; slack 0: to the last bit */
};

struct job {
    char key[CASE_KEY_MAX];
    const struct kernel *kernel;
    struct par *par;
    int m, n, k, group;
    bool zero_point;
    bool quantize;          /* x is quantized in every pass */
    struct linear *copies;  /* owned, (n_copies): the same weights in different places */
    long n_copies, next;
    uint8_t *packed;        /* owned: what integer copies but the first point to */
    float *dense;           /* owned: (n_copies, n, k), what f32 copies point to */
    float *x, *y;           /* owned: (m, k), (m, n) */
    struct acts acts;
    struct reference ref;
};

enum { DIMENSION_MAX = 1 << 24 };

static bool integer(const struct kernel *k) { return formats[k->format].qmax != 0; }
/* f32 kernels read the float weights where they are; all others pack them. */
static bool packs(const struct kernel *k) { return k->format != FORMAT_F32; }

static enum status check_sizes(const struct bench_case *c, struct err *e)
{
    static const char *const names[] = {"m", "n", "k", "group"};
    for (int i = 0; i < 4; i++) {
        long v = case_int(c, names[i]);
        if (v < (i < 3) || v > DIMENSION_MAX)
            return fail(e, ST_EUSAGE, "%s: %ld is out of range; %d to %d", names[i], v, i < 3, DIMENSION_MAX);
    }
    return ST_OK;
}

static enum status resolve(struct bench_case *c, struct err *e)
{
    const struct kernel *k = kernel_find(case_text(c, "kernel"));
    enum status s = check_sizes(c, e);
    if (s != ST_OK)
        return s;
    if (k && integer(k) && case_int(c, "k") > KERNEL_MAX_COLUMNS)
        return fail(e, ST_EUNSUPPORTED, "k=%ld: integer kernels take at most %d columns", case_int(c, "k"), KERNEL_MAX_COLUMNS);
    return ST_OK;
}

/* Codes and scales of the size that an absmax quantizer would give to weights of variance 1/k. */
static void draw_codes(struct qlinear *q, struct rng *rng)
{
    size_t count = (size_t)q->rows * (size_t)q->cols;
    size_t scales = (size_t)q->rows * (size_t)qlinear_groups(q->cols, q->plane.group);
    int qmax = formats[q->format].qmax;
    unsigned values = 0;
    int8_t value[256];
    for (int code = -qmax; code <= qmax; code++)
        if (format_holds(q->format, code))
            value[values++] = (int8_t)code;
    float step = 3.0f / ((float)qmax * sqrtf((float)q->cols));
    for (size_t i = 0; i < count;) {
        uint64_t bits = rng_u64(rng);
        for (int j = 0; j < 8 && i < count; j++, bits >>= 8)
            q->plane.codes[i++] = value[((bits & 255) * values) >> 8];
    }
    for (size_t i = 0; i < scales; i++) {
        float scale = step * (0.5f + rng_uniform(rng));
        q->plane.scale[i] = q->plane.group ? fp16_round(scale) : scale;
        if (q->plane.shift)
            q->plane.shift[i] = fp16_round(scale * (2 * rng_uniform(rng) - 1));
    }
}

static void draw_dense(float *w, size_t count, int cols, struct rng *rng)
{
    float step = 3.0f / sqrtf((float)cols);
    for (size_t i = 0; i < count; i++)
        w[i] = step * (2 * rng_uniform(rng) - 1);
}

/* Copies that fill the last-level cache twice over: what one pass leaves there, the next ones push out, whatever it keeps first. */
static long copies_wanted(const struct bench_case *c, size_t bytes)
{
    const size_t unknown_cache = (size_t)64 << 20;
    struct cpu_caches caches = cpu_caches();
    size_t cache = caches.l3 ? caches.l3 : caches.l2 ? caches.l2 : unknown_cache;
    if (case_is(c, "cache", "hot"))
        return 1;
    return (long)(2 * cache / bytes + 1);
}

static enum status check_memory(const struct job *j, size_t bytes, struct err *e)
{
    double have = (double)host_memory_available(""), m = j->m, n = j->n, k = j->k;
    double need = (double)bytes * (double)j->n_copies + n * k + 4 * m * (n + k) + (packs(j->kernel) ? 2 * m * k : 0);
    if (have == 0 || need <= have)
        return ST_OK;
    return fail(e, ST_ENOMEM, "%s: needs %.0f MiB (%ld copies of the weights, %zu bytes each), but only %.0f MiB of memory are available",
                j->key, need / 0x1p20, j->n_copies, bytes, have / 0x1p20);
}

static enum status no_memory(const struct job *j, struct err *e)
{
    return fail(e, ST_ENOMEM, "%s: no memory for %ld copies of the weights", j->key, j->n_copies);
}

/* Packs once; the other copies are copies. */
static enum status pack_copies(struct job *j, const struct qlinear *q, struct err *e)
{
    enum status s = linear_open(&j->copies[0], q, j->kernel, e);
    if (s != ST_OK)
        return s;
    size_t bytes = j->copies[0].packed_bytes, stride = round_up(bytes, 64);
    j->packed = mem_alloc((size_t)j->n_copies - 1, stride);
    if (!j->packed)
        return no_memory(j, e);
    for (long i = 1; i < j->n_copies; i++) {
        j->copies[i] = j->copies[0];
        j->copies[i].packed = memcpy(j->packed + (size_t)(i - 1) * stride, j->copies[0].packed, bytes);
    }
    return ST_OK;
}

static enum status pack_dense(struct job *j, struct qlinear *q, struct err *e)
{
    size_t count = (size_t)j->n * (size_t)j->k;
    enum status s = ST_OK;
    for (long i = 0; s == ST_OK && i < j->n_copies; i++) {
        float *w = j->dense + (size_t)i * count;
        if (i > 0)
            memcpy(w, j->dense, count * sizeof *w);
        q->dense = w;
        s = linear_open(&j->copies[i], q, j->kernel, e);
    }
    q->dense = j->dense;
    return s;
}

/* All of total where that is cheap, else at most `most`: the first, the last, and a seeded choice between. */
static int *choose(int total, int most, int *count, struct rng *rng)
{
    *count = min_int(total, most);
    int *list = mem_alloc((size_t)*count, sizeof *list);
    for (int i = 0; list && i < *count; i++)
        list[i] = *count == total ? i : i == 0 ? 0 : i == 1 ? total - 1 : (int)rng_below(rng, (uint32_t)total);
    return list;
}

static enum status choose_outputs(struct job *j, struct rng *rng, struct err *e)
{
    const double cheap = 64e6;
    const int few_tokens = 8, few_rows = 64;
    struct reference *r = &j->ref;
    bool all = (double)j->m * j->n * j->k <= cheap;
    r->token = choose(j->m, all ? j->m : few_tokens, &r->tokens, rng);
    r->row = choose(j->n, all ? j->n : few_rows, &r->rows, rng);
    size_t outputs = (size_t)r->tokens * (size_t)r->rows;
    r->want = mem_alloc(outputs, sizeof *r->want);
    r->slack = mem_alloc(outputs, sizeof *r->slack);
    return r->token && r->row && r->want && r->slack ? ST_OK : no_memory(j, e);
}

/* The chosen rows of q as a layer of their own. dense: room for them, used where q is float. */
static enum status gather_rows(struct qlinear *out, float *dense, const struct qlinear *q, const struct reference *r, struct err *e)
{
    size_t cols = (size_t)q->cols, groups = (size_t)qlinear_groups(q->cols, q->plane.group);
    *out = (struct qlinear){.rows = r->rows, .cols = q->cols, .format = q->format, .dense = q->dense ? dense : NULL, .act_gain = 1};
    for (int i = 0; q->dense && i < r->rows; i++)
        memcpy(dense + (size_t)i * cols, q->dense + (size_t)r->row[i] * cols, cols * sizeof *dense);
    if (q->dense)
        return ST_OK;
    enum status s = qlinear_alloc(out, q->format, r->rows, q->cols, q->plane.group, e);
    if (s == ST_OK && q->plane.shift)
        s = qlinear_alloc_shift(out, e);
    for (int i = 0; s == ST_OK && i < r->rows; i++) {
        if (q->plane.shift)
            memcpy(out->plane.shift + (size_t)i * groups, q->plane.shift + (size_t)r->row[i] * groups, groups * sizeof(float));
        memcpy(out->plane.codes + (size_t)i * cols, q->plane.codes + (size_t)r->row[i] * cols, cols);
        memcpy(out->plane.scale + (size_t)i * groups, q->plane.scale + (size_t)r->row[i] * groups, groups * sizeof(float));
    }
    return s;
}

/* w (rows, k) = what the bound of kernel.h weighs |x| by: |scale code| + |shift|, or |w| where weights are float. */
static void weight_sizes(const struct qlinear *rows, float *w)
{
    int groups = qlinear_groups(rows->cols, rows->plane.group), group = rows->plane.group ? rows->plane.group : rows->cols;
    qlinear_dequantize(rows, w);
    for (int r = 0; r < rows->rows; r++)
        for (int c = 0; c < rows->cols; c++, w++) {
            float shift = rows->plane.shift ? rows->plane.shift[(size_t)r * (size_t)groups + (size_t)(c / group)] : 0.0f;
            *w = fabsf(*w - shift) + fabsf(shift);
        }
}

/*
 * The bound of kernel.h, where terms = k + 2 groups: a dot product in any order of addition, fused or not, is within n u / (1 - n u) * sum
 * |x w| of the exact one (Higham 2002, §3.1); the oracle rounds its double sum once, and the sum of magnitudes is itself rounded.
 */
static void derive_slack(struct reference *r, float *w, float *x, int k, int terms)
{
    const struct qlinear sizes = {.rows = r->rows, .cols = k, .format = FORMAT_F32, .dense = w, .act_gain = 1};
    const double u = 0x1p-24, gamma = terms * u / (1 - terms * u);
    size_t outputs = (size_t)r->tokens * (size_t)r->rows;
    for (size_t i = 0; i < (size_t)r->tokens * (size_t)k; i++)
        x[i] = fabsf(x[i]);
    kernel_oracle(&sizes, ACT_F32, x, r->tokens, k, r->slack, r->rows);
    for (size_t i = 0; i < outputs; i++)
        r->slack[i] = (float)((gamma + u) * (1 + 8 * u) * (double)r->slack[i]);
}

static enum status make_reference(struct job *j, const struct qlinear *q, struct rng *rng, struct err *e)
{
    struct reference *r = &j->ref;
    struct qlinear rows = {0};
    size_t k = (size_t)j->k;
    enum status s = choose_outputs(j, rng, e);
    if (s != ST_OK)
        return s;
    float *x = mem_alloc((size_t)r->tokens * k, sizeof *x), *w = NULL;
    if (j->kernel->act != ACT_INT8)
        w = mem_alloc((size_t)r->rows * k, sizeof *w);
    if (!x || (!w && j->kernel->act != ACT_INT8))
        s = no_memory(j, e);
    if (s == ST_OK)
        s = gather_rows(&rows, w, q, r, e);
    if (s == ST_OK) {
        for (int i = 0; i < r->tokens; i++)
            memcpy(x + (size_t)i * k, j->x + (size_t)r->token[i] * k, k * sizeof *x);
        kernel_oracle(&rows, j->kernel->act, x, r->tokens, j->k, r->want, r->rows);
        if (w) {
            weight_sizes(&rows, w);
            derive_slack(r, w, x, j->k, j->k + (integer(j->kernel) ? 2 * qlinear_groups(j->k, j->group) : 0));
        }
    }
    qlinear_free(&rows);
    mem_free(w);
    mem_free(x);
    return s;
}

/* Also spoils y, so that outputs that nobody wrote again cannot pass the next time. */
static enum status compare(struct job *j, struct err *e)
{
    const struct reference *r = &j->ref;
    for (int i = 0; i < r->tokens; i++)
        for (int o = 0; o < r->rows; o++) {
            size_t at = (size_t)i * (size_t)r->rows + (size_t)o;
            float got = j->y[(size_t)r->token[i] * (size_t)j->n + (size_t)r->row[o]];
            if (!(fabsf(got - r->want[at]) <= r->slack[at]))
                return fail(e, ST_EWRONG, "%s: y[%d][%d] is %.9g, not %.9g (allowed: %.3g)", j->key, r->token[i], r->row[o], (double)got,
                            (double)r->want[at], (double)r->slack[at]);
        }
    for (size_t i = 0; i < (size_t)j->m * (size_t)j->n; i++)
        j->y[i] = NAN;
    return ST_OK;
}

static void close_job(struct job *j)
{
    if (!j)
        return;
    for (long i = 0; j->copies && i < (packs(j->kernel) ? 1 : j->n_copies); i++)
        linear_close(&j->copies[i]);
    acts_free(&j->acts);
    mem_free(j->copies);
    mem_free(j->packed);
    mem_free(j->dense);
    mem_free(j->x);
    mem_free(j->y);
    mem_free(j->ref.token);
    mem_free(j->ref.row);
    mem_free(j->ref.want);
    mem_free(j->ref.slack);
    par_close(j->par);
    mem_free(j);
}

static enum status read_case(struct job *j, const struct bench_case *c, struct err *e)
{
    snprintf(j->key, sizeof j->key, "%s", c->key);
    j->kernel = kernel_find(case_text(c, "kernel"));
    if (!j->kernel)
        return fail(e, ST_EUSAGE, "kernel: unknown value '%s'; `qbench list kernels` shows them", case_text(c, "kernel"));
    char why[512];
    kernel_reason(j->kernel, why, sizeof why);
    if (why[0])
        return fail(e, ST_EUNSUPPORTED, "%s: %s", j->kernel->name, why);
    j->m = (int)case_int(c, "m");
    j->n = (int)case_int(c, "n");
    j->k = (int)case_int(c, "k");
    j->group = integer(j->kernel) ? (int)case_int(c, "group") : 0;
    j->zero_point = integer(j->kernel) && case_is(c, "zero_point", "on");
    j->quantize = j->kernel->act != ACT_F32 && case_is(c, "acts", "quantize");
    return ST_OK;
}

static enum status alloc_buffers(struct job *j, const struct bench_case *c, struct err *e)
{
    /* packed_size looks at the shape alone; a float layer's weights are borrowed, not packed */
    float any;
    struct qlinear shape = {.rows = j->n, .cols = j->k, .format = j->kernel->format};
    shape.plane = (struct qplane){.format = shape.format, .group = j->group, .shift = j->zero_point ? &any : NULL};
    size_t bytes = packs(j->kernel) ? j->kernel->packed_size(&shape) : qlinear_bytes(&shape);
    j->n_copies = copies_wanted(c, bytes);
    enum status s = check_memory(j, bytes, e);
    if (s != ST_OK)
        return s;
    size_t m = (size_t)j->m, n = (size_t)j->n, k = (size_t)j->k, copies = (size_t)j->n_copies;
    j->copies = mem_alloc(copies, sizeof *j->copies);
    j->x = mem_alloc(m * k, sizeof *j->x);
    j->y = mem_alloc(m * n, sizeof *j->y);
    if (!integer(j->kernel))
        j->dense = mem_alloc(packs(j->kernel) ? 1 : copies, n * k * sizeof *j->dense);
    if (!j->copies || !j->x || !j->y || (!j->dense && !integer(j->kernel)))
        return no_memory(j, e);
    return acts_reserve(&j->acts, j->kernel->act, j->m, j->k, j->group, e);
}

/* Draws weights and x, packs, and keeps what some outputs must be; the codes themselves are not needed any longer. */
static enum status make_layer(struct job *j, uint64_t seed, struct err *e)
{
    struct rng rng;
    struct qlinear q = {.rows = j->n, .cols = j->k, .format = j->kernel->format, .dense = j->dense, .act_gain = 1};
    enum status s = ST_OK;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < (size_t)j->m * (size_t)j->k; i++)
        j->x[i] = rng_normal(&rng);
    if (integer(j->kernel))
        s = qlinear_alloc(&q, q.format, j->n, j->k, j->group, e);
    if (s == ST_OK && j->zero_point)
        s = qlinear_alloc_shift(&q, e);
    if (s != ST_OK)
        goto out;
    if (integer(j->kernel))
        draw_codes(&q, &rng);
    else
        draw_dense(j->dense, (size_t)j->n * (size_t)j->k, j->k, &rng);
    s = packs(j->kernel) ? pack_copies(j, &q, e) : pack_dense(j, &q, e);
    if (s == ST_OK)
        s = make_reference(j, &q, &rng, e);
out:
    qlinear_free(&q);
    return s;
}

static enum status open_job(struct job **out, const struct bench_case *c, struct err *e)
{
    *out = NULL;
    struct job *j = mem_alloc(1, sizeof *j);
    if (!j)
        return fail(e, ST_ENOMEM, "no memory for a gemm job");
    enum status s = read_case(j, c, e);
    if (s != ST_OK) {
        mem_free(j);
        return s;
    }
    if ((s = par_open(&j->par, (int)case_int(c, "threads"), e)) == ST_OK && (s = alloc_buffers(j, c, e)) == ST_OK)
        s = make_layer(j, (uint64_t)case_int(c, "seed"), e);
    if (s != ST_OK) {
        close_job(j);
        return s;
    }
    acts_set(&j->acts, j->par, j->kernel->act, j->x, j->m, j->k, j->k, j->group);
    *out = j;
    return ST_OK;
}

static double once(struct job *j)
{
    if (j->quantize)
        acts_set(&j->acts, j->par, j->kernel->act, j->x, j->m, j->k, j->k, j->group);
    linear_run(&j->copies[j->next], j->par, &j->acts, NULL, j->y, j->n);
    j->next = j->next + 1 < j->n_copies ? j->next + 1 : 0;
    return 1;
}

static enum status check(struct job *j, struct err *e)
{
    once(j);
    return compare(j, e);
}

static void amounts(struct job *j, double *ops, double *bytes)
{
    double m = j->m, n = j->n, k = j->k;
    double codes = m * k + 4 * m + 4 * m * qlinear_groups(j->k, j->group);
    double x = j->kernel->act == ACT_F32 ? 4 * m * k : j->kernel->act == ACT_BF16 ? 2 * m * k : codes;
    *ops = 2 * m * n * k;
    *bytes = (double)j->copies[0].packed_bytes + x + 4 * m * n;
}

static enum status results(struct job *j, struct emitter *m, struct err *e)
{
    enum status s = compare(j, e);
    if (s != ST_OK)
        return s;
    double packed = (double)j->copies[0].packed_bytes, ops, bytes;
    amounts(j, &ops, &bytes);
    emit_value(m, "packed_bytes", "B", packed);
    emit_value(m, "bits_per_weight", "bit", 8 * packed / ((double)j->n * j->k));
    emit_value(m, "copies", "1", (double)j->n_copies);
    emit_value(m, "footprint_bytes", "B", bytes + packed * (double)(j->n_copies - 1)); /* until the same weights come again */
    emit_value(m, "outputs_checked", "1", (double)j->ref.tokens * j->ref.rows);
    return ST_OK;
}

const struct work work_gemm = {
    .name = "gemm",
    .unit = "pass",
    .title = "one linear layer y = x W^T with random weights, x of m tokens",
    .axes = "format group zero_point act kernel m shape n k acts cache isa threads seed",
    .resolve = resolve,
    .open = open_job,
    .check = check,
    .once = once,
    .amounts = amounts,
    .results = results,
    .close = close_job,
    .needs_blas = true,
};
