/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "stream.h"

#ifdef __AVX512F__

#include <immintrin.h>

/* Eight independent sums hide the additions; the hardware prefetcher does the rest (software prefetch gained nothing). */
static uint64_t read_avx512(const void *a, size_t bytes)
{
    const __m512i *p = a;
    __m512i s[8];
    for (int j = 0; j < 8; j++)
        s[j] = _mm512_setzero_si512();
    for (size_t i = 0; i < bytes / 64; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] = _mm512_add_epi64(s[j], _mm512_load_si512(p + i + j));
    for (int j = 1; j < 8; j++)
        s[0] = _mm512_add_epi64(s[0], s[j]);
    uint64_t lane[8], sum = 0; /* the sum may wrap: unsigned, which the reducing intrinsic is not */
    _mm512_storeu_si512(lane, s[0]);
    for (int j = 0; j < 8; j++)
        sum += lane[j];
    return sum;
}

static void copy_avx512(void *b, const void *a, size_t bytes)
{
    __m512i *to = b;
    const __m512i *from = a;
    for (size_t i = 0; i < bytes / 64; i += 2) {
        __m512i low = _mm512_load_si512(from + i), high = _mm512_load_si512(from + i + 1);
        _mm512_store_si512(to + i, low);
        _mm512_store_si512(to + i + 1, high);
    }
}

static void triad_avx512(float *c, const float *a, const float *b, size_t bytes)
{
    const __m512 three = _mm512_set1_ps(3.0f);
    for (size_t i = 0; i < bytes / sizeof *c; i += 32) {
        _mm512_store_ps(c + i, _mm512_fmadd_ps(three, _mm512_load_ps(b + i), _mm512_load_ps(a + i)));
        _mm512_store_ps(c + i + 16, _mm512_fmadd_ps(three, _mm512_load_ps(b + i + 16), _mm512_load_ps(a + i + 16)));
    }
}

const struct stream_loops stream_avx512 = {
    .name = "avx512", .needs = ISA_AVX512, .read = read_avx512, .copy = copy_avx512, .triad = triad_avx512};

#else

const struct stream_loops stream_avx512 = {.name = "avx512", .needs = ISA_AVX512};

#endif
