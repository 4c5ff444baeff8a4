/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "vec.h"

#ifdef __AVX2__

#include <immintrin.h>
#include <string.h>

#define VEC_LANES 8
#define VEC_TILE_ROWS 6
#define VEC_TILE_VECTORS 2
#define VEC_TILE_COLUMN(P, V) P(1, V) P(2, V) P(3, V) P(4, V) P(5, V) P(6, V)
#define VEC_TILES(P) VEC_TILE_COLUMN(P, 1) VEC_TILE_COLUMN(P, 2)
typedef __m256 floats;
typedef __m256d doubles;
typedef __m256i ints;

static inline __m256i tail_mask(int left)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline floats load_full(const float *p) { return _mm256_loadu_ps(p); }

static inline floats load(const float *p, int left)
{
    return left >= VEC_LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, tail_mask(left));
}

static inline floats load_or(const float *p, int left, floats fill)
{
    if (left >= VEC_LANES)
        return _mm256_loadu_ps(p);
    return _mm256_blendv_ps(fill, _mm256_maskload_ps(p, tail_mask(left)), _mm256_castsi256_ps(tail_mask(left)));
}

static inline void store(float *p, int left, floats v)
{
    if (left >= VEC_LANES)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, tail_mask(left), v);
}

static inline floats all(float x) { return _mm256_set1_ps(x); }
static inline floats muladd(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
static inline floats mulsub(floats a, floats b, floats c) { return _mm256_fmsub_ps(a, b, c); }
static inline floats negmuladd(floats a, floats b, floats c) { return _mm256_fnmadd_ps(a, b, c); }
static inline doubles muladd_double(doubles a, doubles b, doubles c) { return _mm256_fmadd_pd(a, b, c); }
static inline floats max(floats a, floats b) { return _mm256_max_ps(a, b); }
static inline floats min(floats a, floats b) { return _mm256_min_ps(a, b); }
static inline floats nearest(floats v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline floats root(floats v) { return _mm256_sqrt_ps(v); }
static inline doubles low_double(floats v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
static inline doubles high_double(floats v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }

/* 2^n in two factors, each within range: results below 2^-126 round once, results beyond 2^128 are infinite. */
static inline floats times_power(floats p, floats n)
{
    __m256i k = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(k, 1), bias = _mm256_set1_epi32(127);
    __m256i a = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i b = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(k, half), bias), 23);
    return p * _mm256_castsi256_ps(a) * _mm256_castsi256_ps(b);
}

static inline float sum(floats v)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static inline double sum_double(doubles v)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

static inline float greatest(floats v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static inline ints max_magnitude(ints m, floats v)
{
    return _mm256_max_epi32(m, _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)));
}

static inline float greatest_magnitude(ints m)
{
    __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
    h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(h));
}

/* Loads have no masks for less than 32 bits: a tail is copied first. */
static inline __m128i load_halves(const uint16_t *p, int left)
{
    __m128i v = _mm_setzero_si128();
    if (left >= VEC_LANES)
        return _mm_loadu_si128((const __m128i *)p);
    memcpy(&v, p, (size_t)left * sizeof *p);
    return v;
}

static inline __m128i load_bytes(const void *p, int left)
{
    __m128i v = _mm_setzero_si128();
    if (left >= VEC_LANES)
        return _mm_loadl_epi64((const __m128i *)p);
    memcpy(&v, p, (size_t)left);
    return v;
}

static inline floats load_fp16(const uint16_t *p, int left) { return _mm256_cvtph_ps(load_halves(p, left)); }

static inline floats load_bf16(const uint16_t *p, int left)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(p, left)), 16));
}

static inline floats load_int8(const int8_t *p, int left) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load_bytes(p, left))); }

static inline void load_int4(const uint8_t *p, int left, floats *low, floats *high)
{
    const __m256i eight = _mm256_set1_epi32(8);
    __m256i codes = _mm256_cvtepu8_epi32(load_bytes(p, left));
    *low = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(15)), eight));
    *high = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(codes, 4), eight));
}

#include "vec_loops.h"

const struct vec vec_avx2 = {.name = "avx2", .needs = ISA_AVX2, VEC_LOOPS};

#else /* not this architecture: vec_get passes it by */

const struct vec vec_avx2 = {.name = "avx2", .needs = ISA_AVX2};

#endif
