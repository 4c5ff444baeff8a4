/* base.h — what every other file uses: status and error text, aligned memory, a seeded generator, fp16, time, folders. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BASE_H
#define QBENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Errors: what can fail returns enum status and takes a struct err * last. The first failure fills it with one line
 * that says what, where and what to do; callers pass it up untouched.
 */
enum status {
    ST_OK = 0,
    ST_EUSAGE,       /* the user asked for something that does not exist or does not fit together */
    ST_EFORMAT,      /* a file or a message is not what it should be */
    ST_EIO,          /* the operating system refused: disk full, no permission, no network */
    ST_ENOMEM,
    ST_ENOENT,       /* nothing of that name */
    ST_EUNSUPPORTED, /* this machine or this build cannot do it */
    ST_EWRONG,       /* a result failed its check */
    ST_EINTERRUPTED, /* SIGINT or SIGTERM was obeyed */
};

struct err {
    enum status status;
    char text[1024];
};

/* Fills e (NULL is fine) unless it already holds a failure, and returns s. */
enum status fail(struct err *e, enum status s, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* 64-byte aligned, zeroed; NULL when there is no memory or count * size overflows. Freed by mem_free (NULL is fine). */
void *mem_alloc(size_t count, size_t size);
void mem_free(void *p);

static inline size_t round_up(size_t x, size_t step) { return (x + step - 1) / step * step; }
static inline int min_int(int a, int b) { return a < b ? a : b; }
static inline int max_int(int a, int b) { return a > b ? a : b; }

/* xoshiro256** (Blackman and Vigna 2018), seeded through splitmix64. The state is plain data: save it to resume. */
struct rng {
    uint64_t s[4];
};
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_u64(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n); /* [0,n), n > 0, without bias */
float rng_uniform(struct rng *r);              /* [0,1) */
float rng_normal(struct rng *r);               /* mean 0, variance 1 (Box-Muller; keeps no spare value) */

/* IEEE binary16, round to nearest even; overflow saturates to 65504 so that a stored scale is never infinite. */
uint16_t fp16_from_float(float x);
float fp16_to_float(uint16_t h);
static inline float fp16_round(float x) { return fp16_to_float(fp16_from_float(x)); }

/* bfloat16: the upper half of a float, round to nearest even; a NaN stays one. Beyond the largest finite value it becomes infinite. */
static inline float bf16_to_float(uint16_t h)
{
    union { uint32_t bits; float value; } u = {.bits = (uint32_t)h << 16};
    return u.value;
}
static inline uint16_t bf16_from_float(float x)
{
    union { float value; uint32_t bits; } u = {.value = x};
    if ((u.bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u.bits >> 16 | 0x40);
    return (uint16_t)((u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16);
}
static inline float bf16_round(float x) { return bf16_to_float(bf16_from_float(x)); }

/* mkdir -p. ST_EIO names the part that cannot be made. */
enum status make_folder(const char *path, struct err *e);

/* CLOCK_MONOTONIC_RAW in seconds. */
double now_seconds(void);

#endif
