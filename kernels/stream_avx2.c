/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "stream.h"

#ifdef __AVX2__

#include <immintrin.h>

/* Four independent sums hide the additions; the hardware prefetcher does the rest (software prefetch gained nothing). */
static uint64_t read_avx2(const void *a, size_t bytes)
{
    const __m256i *p = a;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;
    for (size_t i = 0; i < bytes / 32; i += 4) {
        s0 = _mm256_add_epi64(s0, _mm256_load_si256(p + i));
        s1 = _mm256_add_epi64(s1, _mm256_load_si256(p + i + 1));
        s2 = _mm256_add_epi64(s2, _mm256_load_si256(p + i + 2));
        s3 = _mm256_add_epi64(s3, _mm256_load_si256(p + i + 3));
    }
    s0 = _mm256_add_epi64(_mm256_add_epi64(s0, s1), _mm256_add_epi64(s2, s3));
    uint64_t lane[4];
    _mm256_storeu_si256((__m256i *)lane, s0);
    return lane[0] + lane[1] + lane[2] + lane[3];
}

static void copy_avx2(void *b, const void *a, size_t bytes)
{
    __m256i *to = b;
    const __m256i *from = a;
    for (size_t i = 0; i < bytes / 32; i += 2) {
        __m256i low = _mm256_load_si256(from + i), high = _mm256_load_si256(from + i + 1);
        _mm256_store_si256(to + i, low);
        _mm256_store_si256(to + i + 1, high);
    }
}

static void triad_avx2(float *c, const float *a, const float *b, size_t bytes)
{
    const __m256 three = _mm256_set1_ps(3.0f);
    for (size_t i = 0; i < bytes / sizeof *c; i += 16) {
        _mm256_store_ps(c + i, _mm256_fmadd_ps(three, _mm256_load_ps(b + i), _mm256_load_ps(a + i)));
        _mm256_store_ps(c + i + 8, _mm256_fmadd_ps(three, _mm256_load_ps(b + i + 8), _mm256_load_ps(a + i + 8)));
    }
}

const struct stream_loops stream_avx2 = {
    .name = "avx2", .needs = ISA_AVX2, .read = read_avx2, .copy = copy_avx2, .triad = triad_avx2};

#else

const struct stream_loops stream_avx2 = {.name = "avx2", .needs = ISA_AVX2};

#endif
