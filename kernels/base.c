/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 8 << 20 };

enum status fail(struct err *e, enum status s, const char *fmt, ...)
{
    if (e && e->status == ST_OK) {
        va_list ap;
        va_start(ap, fmt);
        e->status = s;
        vsnprintf(e->text, sizeof e->text, fmt, ap);
        va_end(ap);
    }
    return s;
}

void *mem_alloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 64)
        return NULL;
    size_t align = bytes >= HUGE_FROM ? HUGE_PAGE : 64;
    bytes = round_up(bytes ? bytes : 1, align);
    void *p = aligned_alloc(align, bytes);
    if (!p)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (align == HUGE_PAGE)
        madvise(p, bytes, MADV_HUGEPAGE); /* fewer page faults now, fewer TLB misses for kernels later; refusal does no harm */
#endif
    memset(p, 0, bytes);
    return p;
}

void mem_free(void *p) { free(p); }

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    /* Lemire's multiplication with rejection. */
    uint64_t m = (uint64_t)(uint32_t)rng_u64(r) * n;
    if ((uint32_t)m < n) {
        uint32_t threshold = (0u - n) % n;
        while ((uint32_t)m < threshold)
            m = (uint64_t)(uint32_t)rng_u64(r) * n;
    }
    return (uint32_t)(m >> 32);
}

float rng_uniform(struct rng *r) { return (float)(rng_u64(r) >> 40) * 0x1p-24f; }

float rng_normal(struct rng *r)
{
    double u = ((double)(rng_u64(r) >> 11) + 1.0) * 0x1p-53; /* (0,1] */
    double v = (double)(rng_u64(r) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint16_t fp16_from_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    uint32_t sign = (u >> 16) & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (mag >= 0x477ff000u) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7bffu);
    if (mag < 0x38800000u) { /* subnormal in fp16: let the fp32 adder round at 2^-24 */
        float f;
        memcpy(&f, &mag, 4);
        f += 0.5f;
        uint32_t v;
        memcpy(&v, &f, 4);
        return (uint16_t)(sign | (v - 0x3f000000u));
    }
    mag += 0xfffu + ((mag >> 13) & 1u);
    return (uint16_t)(sign | ((mag >> 13) - (112u << 10)));
}

float fp16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 0x1fu, m = h & 0x3ffu, u;
    if (e == 0) {
        float f = (float)m * 0x1p-24f;
        memcpy(&u, &f, 4);
        u |= sign;
    } else if (e == 31) {
        u = sign | 0x7f800000u | (m << 13);
    } else {
        u = sign | ((e + 112u) << 23) | (m << 13);
    }
    float f;
    memcpy(&f, &u, 4);
    return f;
}

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

enum status make_folder(const char *path, struct err *e)
{
    char part[4096];
    if (!*path || (size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return fail(e, ST_EUSAGE, "%.200s: the path of a folder is %s", path, *path ? "too long" : "empty");
    for (char *slash = part + 1;; slash++) {
        char kept = *slash;
        if (kept && kept != '/')
            continue;
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return fail(e, ST_EIO, "cannot make the folder %s: %s", part, strerror(errno));
        if (!kept)
            return ST_OK;
        *slash = kept;
    }
}
