/* fma_avx2.h — the vectors of fma_loops.h, 8 floats wide, and how integer codes become such floats. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FMA_AVX2_H
#define QBENCH_FMA_AVX2_H

#ifdef __AVX2__
#include <immintrin.h>
#include <stdint.h>

/* 6 tokens x 2 vectors of rows are 12 of the 16 registers. */
enum { FMA_LANES = 8, FMA_TOKENS = 6 };
typedef __m256 floats;
typedef __m256i ints;

static inline ints lanes(int left) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }

static inline floats all(float x) { return _mm256_set1_ps(x); }
static inline floats add(floats a, floats b) { return _mm256_add_ps(a, b); }
static inline floats muladd(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
static inline float total(floats v)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
static inline floats load_full(const float *p) { return _mm256_loadu_ps(p); }
static inline floats load(const float *p, int left)
{
    return left >= FMA_LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, lanes(left));
}
static inline void store_full(float *p, floats v) { _mm256_storeu_ps(p, v); }
static inline void store(float *p, int left, floats v)
{
    if (left >= FMA_LANES)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, lanes(left), v);
}
static inline ints load_ints(const void *p) { return _mm256_loadu_si256(p); }

/* Eight values of 16 bits. */
static inline floats load_fp16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline floats load_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

/* Of a pair of bf16 in every lane. */
static inline floats pair_low(ints v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
static inline floats pair_high(ints v) { return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(-65536))); }
static inline ints all_pairs(const uint16_t *p)
{
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* The bits of mask, as a float whose last place is worth 1 at the mask's lowest bit; less zero, the number that stands for 0. */
static inline floats bits_from(ints v, int mask, float zero)
{
    ints magic = _mm256_castps_si256(_mm256_set1_ps(0x1p23f / (float)(mask & -mask)));
    floats number = _mm256_castsi256_ps(_mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(mask)), magic));
    return _mm256_sub_ps(number, _mm256_set1_ps(0x1p23f / (float)(mask & -mask) + zero));
}
static inline ints upper(ints v) { return _mm256_srli_epi32(v, 16); }

/* An int4 step: c[j] = column j of rows 8 half .. */
static inline __attribute__((always_inline)) void int4_codes(const uint8_t *step, int half, floats c[8])
{
    ints v = load_ints(step + 32 * half), up = upper(v);
    c[0] = bits_from(v, 0xf, 8);
    c[1] = bits_from(v, 0xf00, 8);
    c[2] = bits_from(up, 0xf, 8);
    c[3] = bits_from(up, 0xf00, 8);
    c[4] = bits_from(v, 0xf0, 8);
    c[5] = bits_from(v, 0xf000, 8);
    c[6] = bits_from(up, 0xf0, 8);
    c[7] = bits_from(up, 0xf000, 8);
}

/* Rows become columns: v[i] lane j <-> v[j] lane i. */
static inline __attribute__((always_inline)) void transpose(floats v[8])
{
    floats a[8];
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) { /* 4 x 4 blocks of a 128-bit lane */
        floats p = _mm256_unpacklo_ps(v[i], v[i + 1]), q = _mm256_unpackhi_ps(v[i], v[i + 1]);
        floats r = _mm256_unpacklo_ps(v[i + 2], v[i + 3]), s = _mm256_unpackhi_ps(v[i + 2], v[i + 3]);
        a[i] = _mm256_shuffle_ps(p, r, 0x44);
        a[i + 1] = _mm256_shuffle_ps(p, r, 0xee);
        a[i + 2] = _mm256_shuffle_ps(q, s, 0x44);
        a[i + 3] = _mm256_shuffle_ps(q, s, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* then the blocks themselves */
        v[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
}

#endif
#endif
