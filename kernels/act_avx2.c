/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "act.h"
#include "cpu.h"

#ifndef __AVX2__
const struct act_row act_row_avx2 = {.name = "avx2", .needs = ISA_AVX2};
#else
#include <immintrin.h>
#include <string.h>

static inline uint32_t hmax(__m256i v)
{
    __m128i h = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0x4e));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(h);
}

static inline int32_t hsum(__m256i v)
{
    __m128i h = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    h = _mm_add_epi32(h, _mm_shuffle_epi32(h, 0xb1));
    return _mm_cvtsi128_si32(h);
}

/* The largest bit pattern without sign orders finite values by size and puts every NaN above infinity. */
static uint32_t max_bits(const float *x, int k)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i max = _mm256_setzero_si256();
    int j = 0;
    for (; j + 8 <= k; j += 8)
        max = _mm256_max_epu32(max, _mm256_and_si256(magnitude, _mm256_loadu_si256((const __m256i *)(x + j))));
    uint32_t m = hmax(max);
    for (; j < k; j++) {
        uint32_t bits;
        memcpy(&bits, x + j, sizeof bits);
        bits &= 0x7fffffffu;
        m = bits > m ? bits : m;
    }
    return m;
}

static inline __m256i rounded(const float *x, __m256 scale)
{
    return _mm256_cvtps_epi32(_mm256_div_ps(_mm256_loadu_ps(x), scale));
}

static float quantize(const float *x, int k, int8_t *codes)
{
    float scale = act_scale(max_bits(x, k));
    if (!(scale > 0.0f)) {
        memset(codes, 0, (size_t)k);
        return scale;
    }
    const __m256 s = _mm256_set1_ps(scale);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* packs work within 128-bit halves */
    int j = 0;
    for (; j + 32 <= k; j += 32) {
        __m256i a = _mm256_packs_epi32(rounded(x + j, s), rounded(x + j + 8, s));
        __m256i b = _mm256_packs_epi32(rounded(x + j + 16, s), rounded(x + j + 24, s));
        __m256i q = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
        _mm256_storeu_si256((__m256i *)(codes + j), _mm256_max_epi8(q, _mm256_set1_epi8(-127)));
    }
    for (; j < k; j++)
        codes[j] = act_code(x[j], scale);
    return scale;
}

static int32_t sum_codes(const int8_t *q, int n)
{
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    int j = 0;
    for (; j + 32 <= n; j += 32) {
        __m256i pairs = _mm256_maddubs_epi16(ones8, _mm256_loadu_si256((const __m256i *)(q + j)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones16));
    }
    int32_t s = hsum(sum);
    for (; j < n; j++)
        s += q[j];
    return s;
}

static void sums(const int8_t *codes, int k, int group, int32_t *sum)
{
    int step = group ? group : k;
    for (int j = 0; j < k; j += step)
        *sum++ = sum_codes(codes + j, min_int(step, k - j));
}

static void bf16(const float *x, int k, uint16_t *codes)
{
    for (int j = 0; j < k; j++)
        codes[j] = bf16_from_float(x[j]);
}

const struct act_row act_row_avx2 = {.name = "avx2", .needs = ISA_AVX2, .quantize = quantize, .sums = sums, .bf16 = bf16};
#endif
