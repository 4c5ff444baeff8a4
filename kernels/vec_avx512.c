/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "vec.h"

#ifdef __AVX512F__

#include <immintrin.h>

#define VEC_LANES 16
#define VEC_TILE_ROWS 6
#define VEC_TILE_VECTORS 4
#define VEC_TILE_COLUMN(P, V) P(1, V) P(2, V) P(3, V) P(4, V) P(5, V) P(6, V)
#define VEC_TILES(P) VEC_TILE_COLUMN(P, 1) VEC_TILE_COLUMN(P, 2) VEC_TILE_COLUMN(P, 3) VEC_TILE_COLUMN(P, 4)
typedef __m512 floats;
typedef __m512d doubles;
typedef __m512i ints;

static inline __mmask16 lanes(int left) { return (__mmask16)((1u << left) - 1); } /* left < VEC_LANES */

static inline floats load_full(const float *p) { return _mm512_loadu_ps(p); }

/* A branch that is nearly always taken costs less than making a mask for every register. */
static inline floats load(const float *p, int left)
{
    return left >= VEC_LANES ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes(left), p);
}

static inline floats load_or(const float *p, int left, floats fill)
{
    return left >= VEC_LANES ? _mm512_loadu_ps(p) : _mm512_mask_loadu_ps(fill, lanes(left), p);
}

static inline void store(float *p, int left, floats v)
{
    if (left >= VEC_LANES)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, lanes(left), v);
}

static inline floats all(float x) { return _mm512_set1_ps(x); }
static inline floats muladd(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline floats mulsub(floats a, floats b, floats c) { return _mm512_fmsub_ps(a, b, c); }
static inline floats negmuladd(floats a, floats b, floats c) { return _mm512_fnmadd_ps(a, b, c); }
static inline doubles muladd_double(doubles a, doubles b, doubles c) { return _mm512_fmadd_pd(a, b, c); }
static inline floats max(floats a, floats b) { return _mm512_max_ps(a, b); }
static inline floats min(floats a, floats b) { return _mm512_min_ps(a, b); }
static inline floats nearest(floats v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline floats root(floats v) { return _mm512_sqrt_ps(v); }
static inline floats times_power(floats p, floats n) { return _mm512_scalef_ps(p, n); }
static inline doubles low_double(floats v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
static inline doubles high_double(floats v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }

static inline float sum(floats v) { return _mm512_reduce_add_ps(v); }
static inline double sum_double(doubles v) { return _mm512_reduce_add_pd(v); }
static inline float greatest(floats v) { return _mm512_reduce_max_ps(v); }

static inline ints max_magnitude(ints m, floats v)
{
    return _mm512_max_epi32(m, _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)));
}

static inline float greatest_magnitude(ints m)
{
    return _mm512_cvtss_f32(_mm512_castsi512_ps(_mm512_set1_epi32(_mm512_reduce_max_epi32(m))));
}

static inline __m256i load_halves(const uint16_t *p, int left)
{
    return left >= VEC_LANES ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi16(lanes(left), p);
}

static inline __m128i load_bytes(const void *p, int left)
{
    return left >= VEC_LANES ? _mm_loadu_si128((const __m128i *)p) : _mm_maskz_loadu_epi8(lanes(left), p);
}

static inline floats load_fp16(const uint16_t *p, int left) { return _mm512_cvtph_ps(load_halves(p, left)); }

static inline floats load_bf16(const uint16_t *p, int left)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load_halves(p, left)), 16));
}

static inline floats load_int8(const int8_t *p, int left) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load_bytes(p, left))); }

static inline void load_int4(const uint8_t *p, int left, floats *low, floats *high)
{
    const __m512i eight = _mm512_set1_epi32(8);
    __m512i codes = _mm512_cvtepu8_epi32(load_bytes(p, left));
    *low = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_and_si512(codes, _mm512_set1_epi32(15)), eight));
    *high = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_srli_epi32(codes, 4), eight));
}

#include "vec_loops.h"

const struct vec vec_avx512 = {.name = "avx512", .needs = ISA_AVX512, VEC_LOOPS};

#else /* not this architecture: vec_get passes it by */

const struct vec vec_avx512 = {.name = "avx512", .needs = ISA_AVX512};

#endif
