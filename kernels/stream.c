/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stream.h"

#include <string.h>
#include <sys/mman.h>

#include "cpu.h"

enum { BLOCK = 4096, ARRAYS = 3 };

const char *const stream_names[STREAM_COUNT] = {"read", "copy", "triad"};

struct stream {
    struct par *par;
    const struct stream_loops *loops;
    size_t bytes; /* per array */
    float *array[ARRAYS];
    int arrays;
    void *map;    /* owned: all of them */
    uint64_t want; /* sum of a */
    enum stream_op op;
    _Alignas(64) _Atomic uint64_t sum; /* of this pass; one addition a thread */
};

static uint64_t read_plain(const void *a, size_t bytes)
{
    const uint64_t *p = a;
    uint64_t s[4] = {0};
    for (size_t i = 0; i < bytes / 8; i += 4)
        for (int j = 0; j < 4; j++)
            s[j] += p[i + (size_t)j];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Not memcpy, which is free to pick other instructions than the mask allows. */
static void copy_plain(void *b, const void *a, size_t bytes)
{
    uint64_t *to = b;
    const uint64_t *from = a;
    for (size_t i = 0; i < bytes / 8; i++) {
        to[i] = from[i];
        __asm__ volatile("" : : : "memory"); /* else the compiler makes it memcpy all the same */
    }
}

static void triad_plain(float *restrict c, const float *restrict a, const float *restrict b, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *c; i++)
        c[i] = a[i] + 3.0f * b[i];
}

static const struct stream_loops plain = {.name = "scalar", .read = read_plain, .copy = copy_plain, .triad = triad_plain};

static const struct stream_loops *widest(void)
{
    static const struct stream_loops *const order[] = {&stream_avx512, &stream_avx2};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (order[i]->read && (order[i]->needs & ~cpu_isa()) == 0)
            return order[i];
    return &plain;
}

/* This thread's share in floats, cut at blocks. */
static void share(const struct stream *s, int thread, int threads, size_t *begin, size_t *bytes)
{
    size_t blocks = s->bytes / BLOCK, t = (size_t)thread, n = (size_t)threads;
    size_t from = blocks * t / n, to = blocks * (t + 1) / n;
    *begin = from * BLOCK / sizeof(float);
    *bytes = (to - from) * BLOCK;
}

/* Exact in every operation, never subnormal, and different in neighbouring words. */
static float pattern(size_t i) { return 1.0f + (float)(i * 2654435761u >> 16 & 1023) / 1024.0f; }

static void fill(void *ctx, int thread, int threads)
{
    struct stream *s = ctx;
    size_t begin, bytes;
    share(s, thread, threads, &begin, &bytes);
    float *a = s->array[0] + begin;
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        a[i] = pattern(begin + i);
    for (int i = 1; i < s->arrays; i++)
        memset(s->array[i] + begin, 0, bytes);
    s->sum += read_plain(a, bytes);
}

static void pass(void *ctx, int thread, int threads)
{
    struct stream *s = ctx;
    size_t begin, bytes;
    share(s, thread, threads, &begin, &bytes);
    const float *a = s->array[0] + begin;
    if (s->op == STREAM_READ)
        s->sum += s->loops->read(a, bytes);
    else if (s->op == STREAM_COPY)
        s->loops->copy(s->array[1] + begin, a, bytes);
    else
        s->loops->triad(s->array[2] + begin, a, s->array[1] + begin, bytes);
}

enum status stream_open(struct stream **out, enum stream_op widest_op, size_t bytes, struct par *p, struct err *e)
{
    *out = NULL;
    if (bytes == 0 || bytes > SIZE_MAX / ARRAYS - BLOCK)
        return fail(e, ST_EUSAGE, "stream of %zu bytes: must be 1 byte or more, and three of them must be addressable", bytes);
    struct stream *s = mem_alloc(1, sizeof *s);
    if (!s)
        return fail(e, ST_ENOMEM, "no memory for a stream");
    s->par = p;
    s->loops = widest();
    s->arrays = (int)widest_op + 1;
    s->bytes = round_up(bytes, BLOCK);
    s->map = mmap(NULL, (size_t)s->arrays * s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (s->map == MAP_FAILED) {
        mem_free(s);
        return fail(e, ST_ENOMEM, "no memory for %d arrays of %zu bytes; use a smaller size", (int)widest_op + 1, bytes);
    }
#ifdef MADV_HUGEPAGE
    madvise(s->map, (size_t)s->arrays * s->bytes, MADV_HUGEPAGE);
#endif
    for (int i = 0; i < s->arrays; i++)
        s->array[i] = (float *)((char *)s->map + (size_t)i * s->bytes);
    par_run(p, fill, s);
    s->want = s->sum;
    *out = s;
    return ST_OK;
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    munmap(s->map, (size_t)s->arrays * s->bytes);
    mem_free(s);
}

size_t stream_footprint(const struct stream *s, enum stream_op op) { return ((size_t)op + 1) * s->bytes; }

const char *stream_isa(const struct stream *s) { return s->loops->name; }

double stream_run(struct stream *s, enum stream_op op)
{
    s->op = op;
    s->sum = 0;
    par_run(s->par, pass, s);
    if (op == STREAM_READ && s->sum != s->want)
        return 0;
    return (double)stream_footprint(s, op); /* each array is moved once */
}

static enum status compare(const struct stream *s, enum stream_op op, float factor, struct err *e)
{
    const float *got = s->array[op];
    for (size_t i = 0; i < s->bytes / sizeof(float); i++)
        if (got[i] != factor * pattern(i))
            return fail(e, ST_EWRONG, "stream %s (%s): element %zu is %g, not %g", stream_names[op], s->loops->name, i,
                        (double)got[i], (double)(factor * pattern(i)));
    return ST_OK;
}

enum status stream_check(struct stream *s, struct err *e)
{
    if (stream_run(s, STREAM_READ) == 0)
        return fail(e, ST_EWRONG, "stream read (%s): the sum is wrong", s->loops->name);
    enum status st = compare(s, STREAM_READ, 1, e);
    for (int op = STREAM_COPY; st == ST_OK && op < s->arrays; op++) {
        stream_run(s, (enum stream_op)op);
        st = compare(s, (enum stream_op)op, op == STREAM_TRIAD ? 4 : 1, e);
    }
    return st;
}
