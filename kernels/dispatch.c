/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dispatch.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "panel.h"
#include "panel_bf16.h"

/* 128 KiB of int8 weights, and samples long against the clock's resolution. */
enum { ROWS = 128, COLUMNS = 1024, GROUP = 32, CANDIDATES = 16, ROUNDS = 9 };
static const double sample_seconds = 30e-6, hopeless = 2, even = 1.03;

/* What is packed decides what may be chosen, and what is quick. */
enum kind { KIND_ROWS, KIND_GROUPS, KIND_ROWS_SHIFTED, KIND_GROUPS_SHIFTED, KIND_COUNT };
static enum kind kind_of(bool grouped, bool shift) { return (enum kind)(grouped + 2 * shift); }

struct choice {
    bool measured;
    uint32_t isa; /* the mask it was measured under */
    _Atomic(const struct kernel *) kernel[DISPATCH_SIZES];
};
static struct choice choices[FORMAT_COUNT][KIND_COUNT];
static pthread_mutex_t measuring = PTHREAD_MUTEX_INITIALIZER;

int dispatch_pick(const double *seconds, int count)
{
    double best = INFINITY;
    int pick = 0;
    for (int i = 0; i < count; i++)
        best = fmin(best, seconds[i]);
    for (int i = 0; i < count; i++)
        if (seconds[i] <= even * best)
            pick = i;
    return pick;
}

bool dispatch_in_the_race(double ratio, int m) { return ratio * m <= even * (1 << (DISPATCH_SIZES - 1)); }

/* Rows that multiply what this format's dispatching row packs, and can run here; returns how many. */
static int candidates(enum format format, bool shift, const struct kernel **list)
{
    char why[512];
    int count = 0;
    for (int i = 0; kernels[i] && count < CANDIDATES; i++) {
        const struct kernel *k = kernels[i];
        bool same = k->format == format && k->act == kernel_act(format) && (k->pack == panel_pack || k->pack == bf16_pack);
        if (!same || PANEL_ROWS % k->n_step || (shift && !k->shift))
            continue;
        kernel_reason(k, why, sizeof why);
        if (!why[0])
            list[count++] = k;
    }
    return count;
}

/* The measurement */

struct trial {
    struct qlinear q;
    float *dense, *x, *y;
    void *packed;
    struct acts acts;
    struct gemm_args args;
};

static void close_trial(struct trial *t)
{
    if (formats[t->q.format].qmax)
        qlinear_free(&t->q);
    mem_free(t->dense);
    mem_free(t->x);
    mem_free(t->y);
    mem_free(t->packed);
    acts_free(&t->acts);
}

static enum status alloc_trial(struct trial *t, enum format format, enum kind kind, int most)
{
    size_t count = (size_t)ROWS * COLUMNS, tokens = (size_t)most;
    int group = kind % 2 ? GROUP : 0;
    t->q = (struct qlinear){.rows = ROWS, .cols = COLUMNS, .format = format, .act_gain = 1};
    enum status s = acts_reserve(&t->acts, kernel_act(format), most, COLUMNS, group, NULL);
    if (s == ST_OK && formats[format].qmax)
        s = qlinear_alloc(&t->q, format, ROWS, COLUMNS, group, NULL);
    if (s == ST_OK && kind >= KIND_ROWS_SHIFTED)
        s = qlinear_alloc_shift(&t->q, NULL);
    if (s == ST_OK && !formats[format].qmax && !(t->dense = mem_alloc(count, sizeof *t->dense)))
        s = ST_ENOMEM;
    t->x = mem_alloc(tokens * COLUMNS, sizeof *t->x);
    t->y = mem_alloc(tokens * ROWS, sizeof *t->y);
    return s == ST_OK && t->x && t->y ? ST_OK : ST_ENOMEM;
}

static enum status open_trial(struct trial *t, const struct kernel *k, enum kind kind, int most)
{
    struct rng r;
    rng_seed(&r, 1);
    if (alloc_trial(t, k->format, kind, most) != ST_OK)
        return ST_ENOMEM;
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
        if (t->dense)
            t->dense[i] = rng_normal(&r);
        else
            t->q.plane.codes[i] = format_nearest(k->format, (float)formats[k->format].qmax * (2 * rng_uniform(&r) - 1));
    for (int i = 0; !t->dense && i < ROWS * qlinear_groups(COLUMNS, t->q.plane.group); i++)
        t->q.plane.scale[i] = 1;
    for (size_t i = 0; i < (size_t)most * COLUMNS; i++)
        t->x[i] = rng_normal(&r);
    t->q.dense = t->dense;
    if (!(t->packed = mem_alloc(k->packed_size(&t->q), 1)))
        return ST_ENOMEM;
    k->pack(t->packed, &t->q);
    return ST_OK;
}

static void set_trial(struct trial *t, int m)
{
    struct acts *a = &t->acts;
    acts_set(a, NULL, kernel_act(t->q.format), t->x, m, COLUMNS, COLUMNS, t->q.plane.group);
    t->args = (struct gemm_args){.m = m, .n = ROWS, .k = COLUMNS, .group = t->q.plane.group, .shift = t->q.plane.shift != NULL,
                                 .n1 = ROWS, .w = t->packed, .ldx = a->ld,
                                 .xq = a->q, .xb = a->b, .x_scale = a->scale, .x_sum = a->sum, .groups = a->groups, .y = t->y, .ldy = ROWS};
}

/* Of one call. */
static double timed(const struct kernel *k, const struct gemm_args *a, int calls)
{
    double begin = now_seconds();
    for (int i = 0; i < calls; i++)
        k->gemm(a);
    return (now_seconds() - begin) / calls;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians of rounds in turn, for those that one call each has not shown to be hopeless. */
static void race(const struct trial *t, const struct kernel *const *list, int count, double *seconds)
{
    double sample[CANDIDATES][ROUNDS], best = INFINITY, first[CANDIDATES];
    for (int i = count - 1; i >= 0; i--) {
        first[i] = seconds[i] < INFINITY ? timed(list[i], &t->args, 1) : INFINITY;
        for (int again = 0; again < 2 && first[i] <= hopeless * best; again++) /* caches and clocks warm up */
            first[i] = fmin(first[i], timed(list[i], &t->args, 1));
        best = fmin(best, first[i]);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++)
            if (first[i] <= hopeless * best)
                sample[i][round] = timed(list[i], &t->args, (int)(sample_seconds / first[i]) + 1);
    for (int i = 0; i < count; i++) {
        seconds[i] = first[i];
        if (first[i] > hopeless * best)
            continue;
        qsort(sample[i], ROUNDS, sizeof *sample[i], ascending);
        seconds[i] = sample[i][ROUNDS / 2];
    }
}

static void drop_slow(double *seconds, int count, int m)
{
    double best = INFINITY;
    for (int i = 0; i < count; i++)
        best = fmin(best, seconds[i]);
    for (int i = 0; i < count; i++)
        if (!dispatch_in_the_race(seconds[i] / best, m))
            seconds[i] = INFINITY;
}

static void measure(struct choice *c, enum format format, enum kind kind)
{
    const struct kernel *list[CANDIDATES];
    struct trial t = {0};
    double seconds[CANDIDATES] = {0};
    int count = candidates(format, kind >= KIND_ROWS_SHIFTED, list), most = 1 << (DISPATCH_SIZES - 1);
    bool racing = count > 1 && open_trial(&t, list[0], kind, most) == ST_OK; /* no memory: the table's order */
    for (int size = 0; size < DISPATCH_SIZES && count > 0; size++) {
        if (racing) {
            set_trial(&t, 1 << size);
            race(&t, list, count, seconds);
        }
        c->kernel[size] = list[dispatch_pick(seconds, count)];
        if (racing)
            drop_slow(seconds, count, 1 << size);
    }
    if (count > 1)
        close_trial(&t);
}

static struct choice *measured(enum format format, enum kind kind)
{
    struct choice *c = &choices[format][kind];
    pthread_mutex_lock(&measuring);
    if (!c->measured || c->isa != cpu_isa())
        measure(c, format, kind);
    c->measured = true;
    c->isa = cpu_isa();
    pthread_mutex_unlock(&measuring);
    return c;
}

static int size_of(int m)
{
    int size = 0;
    while (size < DISPATCH_SIZES - 1 && m >> (size + 1))
        size++;
    return size;
}

const struct kernel *dispatch_choice(enum format format, bool grouped, int m)
{
    return measured(format, kind_of(grouped, false))->kernel[size_of(m)];
}

/* "1-7 int8_vnni, 8- int8_amx": the tokens that each answers for. */
static void ranges(const struct choice *c, char *buf, size_t n)
{
    size_t used = 0;
    for (int from = 0, to; from < DISPATCH_SIZES && used < n; from = to) {
        for (to = from + 1; to < DISPATCH_SIZES && c->kernel[to] == c->kernel[from];)
            to++;
        int first = 1 << from, last = (1 << to) - 1;
        used += (size_t)snprintf(buf + used, n - used, "%s%d", from ? ", " : "", first);
        if (to == DISPATCH_SIZES && used < n)
            used += (size_t)snprintf(buf + used, n - used, "-");
        else if (last > first && used < n)
            used += (size_t)snprintf(buf + used, n - used, "-%d", last);
        if (used < n)
            used += (size_t)snprintf(buf + used, n - used, " %s", c->kernel[from]->name);
    }
}

/* With groups or without, where that makes a difference. */
static void describe(enum format format, char *buf, size_t n)
{
    char rows[256], groups[256];
    snprintf(buf, n, "%s", "");
    ranges(measured(format, KIND_ROWS), rows, sizeof rows);
    snprintf(groups, sizeof groups, "%s", rows);
    if (formats[format].qmax)
        ranges(measured(format, KIND_GROUPS), groups, sizeof groups);
    if (strcmp(rows, groups) == 0)
        snprintf(buf, n, "m %s", rows);
    else
        snprintf(buf, n, "m %s; with groups %s", rows, groups);
}

/* Two at least, or there is nothing to choose. */
static enum status ready(enum format format, struct err *e)
{
    const struct kernel *list[CANDIDATES];
    int count = candidates(format, false, list);
    if (count > 1)
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "only %s can run here: nothing to choose from", count ? list[0]->name : "nothing");
}

static void run(enum format format, const struct gemm_args *a)
{
    const struct choice *c = &choices[format][kind_of(a->group != 0, a->shift)];
    c->kernel[size_of(a->m)]->gemm(a);
}

/* Packing comes before running, and outside of what is timed. */
static void prepare(const struct qlinear *q)
{
    bool integer = formats[q->format].qmax != 0;
    measured(q->format, integer ? kind_of(q->plane.group != 0, q->plane.shift != NULL) : KIND_ROWS);
}

#define DISPATCH(name_of, id, columns, activations, layout_size, layout_pack, takes_shift)                   \
    static void name_of##_run(const struct gemm_args *a) { run(id, a); }                                     \
    static enum status name_of##_ready(struct err *e) { return ready(id, e); }                               \
    static void name_of##_describe(char *buf, size_t n) { describe(id, buf, n); }                            \
    static void name_of##_measured_pack(void *dst, const struct qlinear *q)                                  \
    {                                                                                                        \
        prepare(q);                                                                                          \
        layout_pack(dst, q);                                                                                 \
    }                                                                                                        \
    const struct kernel kernel_##name_of##_dispatch = {                                                      \
        .name = #name_of "_dispatch", .title = "for each number of tokens the kernel that was fastest here", \
        .format = id, .act = activations, .n_step = PANEL_ROWS, .k_step = columns, .shift = takes_shift,     \
        .packed_size = layout_size, .pack = name_of##_measured_pack, .gemm = name_of##_run,                  \
        .ready = name_of##_ready, .describe = name_of##_describe}
#define DISPATCH_INTEGER(name_of, id, columns) DISPATCH(name_of, id, columns, ACT_INT8, panel_size, panel_pack, true)

DISPATCH(bf16, FORMAT_BF16, 1, ACT_BF16, bf16_size, bf16_pack, false);
DISPATCH_INTEGER(int8, FORMAT_INT8, 8);
DISPATCH_INTEGER(int4, FORMAT_INT4, 8);
DISPATCH_INTEGER(int3, FORMAT_INT3, 32);
DISPATCH_INTEGER(int2, FORMAT_INT2, 16);
DISPATCH_INTEGER(tern, FORMAT_TERN, 16);
DISPATCH_INTEGER(bin, FORMAT_BIN, 32);
DISPATCH_INTEGER(pot4, FORMAT_POT4, 8);
