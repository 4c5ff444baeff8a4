/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "act.h"
#include "cpu.h"

#if !defined __AVX512BW__ || !defined __AVX512DQ__
const struct act_row act_row_avx512 = {.name = "avx512", .needs = ISA_AVX2 | ISA_AVX512};
#else
#include <immintrin.h>
#include <string.h>

static inline __mmask16 first16(int n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1); }
static inline __mmask64 first64(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

/* The largest bit pattern without sign orders finite values by size and puts every NaN above infinity. */
static uint32_t max_bits(const float *x, int k)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i max0 = _mm512_setzero_si512(), max1 = max0;
    int j = 0;
    for (; j + 32 <= k; j += 32) {
        max0 = _mm512_max_epu32(max0, _mm512_and_si512(magnitude, _mm512_loadu_si512(x + j)));
        max1 = _mm512_max_epu32(max1, _mm512_and_si512(magnitude, _mm512_loadu_si512(x + j + 16)));
    }
    for (; j < k; j += 16)
        max0 = _mm512_max_epu32(max0, _mm512_and_si512(magnitude, _mm512_maskz_loadu_epi32(first16(k - j), x + j)));
    return (uint32_t)_mm512_reduce_max_epu32(_mm512_max_epu32(max0, max1));
}

static float quantize(const float *x, int k, int8_t *codes)
{
    float scale = act_scale(max_bits(x, k));
    if (!(scale > 0.0f)) {
        memset(codes, 0, (size_t)k);
        return scale;
    }
    const __m512 s = _mm512_set1_ps(scale);
    for (int j = 0; j < k; j += 16) {
        __mmask16 mask = first16(k - j);
        __m512i q = _mm512_cvtps_epi32(_mm512_div_ps(_mm512_maskz_loadu_ps(mask, x + j), s));
        _mm512_mask_cvtsepi32_storeu_epi8(codes + j, mask, _mm512_max_epi32(q, _mm512_set1_epi32(-127)));
    }
    return scale;
}

static int32_t sum_codes(const int8_t *q, int n)
{
    const __m512i ones8 = _mm512_set1_epi8(1), ones16 = _mm512_set1_epi16(1);
    __m512i sum = _mm512_setzero_si512();
    for (int j = 0; j < n; j += 64) {
        __m512i pairs = _mm512_maddubs_epi16(ones8, _mm512_maskz_loadu_epi8(first64(n - j), q + j));
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, ones16));
    }
    return _mm512_reduce_add_epi32(sum);
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

const struct act_row act_row_avx512 = {
    .name = "avx512", .needs = ISA_AVX2 | ISA_AVX512, .quantize = quantize, .sums = sums, .bf16 = bf16};
#endif
