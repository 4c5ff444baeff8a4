/* fma_avx512.h — the vectors of fma_loops.h, 16 floats wide, and how integer codes become such floats. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FMA_AVX512_H
#define QBENCH_FMA_AVX512_H

#ifdef __AVX512DQ__
#include <immintrin.h>
#include <stdint.h>

/* 12 tokens x 2 vectors of rows are 24 of the 32 registers. */
enum { FMA_LANES = 16, FMA_TOKENS = 12 };
typedef __m512 floats;
typedef __m512i ints;

static inline __mmask16 lanes(int left) { return left >= FMA_LANES ? 0xffff : (__mmask16)((1u << left) - 1); }

static inline floats all(float x) { return _mm512_set1_ps(x); }
static inline floats add(floats a, floats b) { return _mm512_add_ps(a, b); }
static inline floats muladd(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
static inline float total(floats v) { return _mm512_reduce_add_ps(v); }
static inline floats load_full(const float *p) { return _mm512_loadu_ps(p); }
static inline floats load(const float *p, int left) { return _mm512_maskz_loadu_ps(lanes(left), p); }
static inline void store_full(float *p, floats v) { _mm512_storeu_ps(p, v); }
static inline void store(float *p, int left, floats v) { _mm512_mask_storeu_ps(p, lanes(left), v); }
static inline ints load_ints(const void *p) { return _mm512_loadu_si512(p); }

/* Sixteen values of 16 bits. */
static inline floats load_fp16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline floats load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}

/* Of a pair of bf16 in every lane. */
static inline floats pair_low(ints v) { return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16)); }
static inline floats pair_high(ints v) { return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32(-65536))); }
static inline ints all_pairs(const uint16_t *p)
{
    int32_t pair;
    __builtin_memcpy(&pair, p, sizeof pair);
    return _mm512_set1_epi32(pair);
}

/* The bits of mask, as a float whose last place is worth 1 at the mask's lowest bit; less zero, the number that stands for 0. */
static inline floats bits_from(ints v, int mask, float zero)
{
    ints magic = _mm512_castps_si512(_mm512_set1_ps(0x1p23f / (float)(mask & -mask)));
    floats number = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(v, _mm512_set1_epi32(mask), magic, 0xea)); /* v & mask | magic */
    return _mm512_sub_ps(number, _mm512_set1_ps(0x1p23f / (float)(mask & -mask) + zero));
}
static inline ints upper(ints v) { return _mm512_srli_epi32(v, 16); }

/*
 * An int4 step: c[j] = column j of 16 rows. VPERMPS looks a lane up by its low four bits and ignores the others, so the four low
 * nibbles of a lane need no masking: they are loads, each a byte further, that the load ports do. (The last reads three bytes of
 * the panel's scales.)
 */
static inline __attribute__((always_inline)) void int4_codes(const uint8_t *step, int half, floats c[8])
{
    const floats code = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    ints v = load_ints(step), up = load_ints(step + 2);
    __asm__("" : "+v"(v), "+v"(up)); /* loaded once, not once a use */
    c[0] = _mm512_permutexvar_ps(v, code);
    c[1] = _mm512_permutexvar_ps(load_ints(step + 1), code);
    c[2] = _mm512_permutexvar_ps(up, code);
    c[3] = _mm512_permutexvar_ps(load_ints(step + 3), code);
    c[4] = bits_from(v, 0xf0, 8);
    c[5] = bits_from(v, 0xf000, 8);
    c[6] = bits_from(up, 0xf0, 8);
    c[7] = bits_from(up, 0xf000, 8);
}

/* Rows become columns: v[i] lane j <-> v[j] lane i. */
static inline __attribute__((always_inline)) void transpose(floats v[16])
{
    floats a[16];
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* 4 x 4 blocks of a 128-bit lane */
        floats p = _mm512_unpacklo_ps(v[i], v[i + 1]), q = _mm512_unpackhi_ps(v[i], v[i + 1]);
        floats r = _mm512_unpacklo_ps(v[i + 2], v[i + 3]), s = _mm512_unpackhi_ps(v[i + 2], v[i + 3]);
        a[i] = _mm512_shuffle_ps(p, r, 0x44);
        a[i + 1] = _mm512_shuffle_ps(p, r, 0xee);
        a[i + 2] = _mm512_shuffle_ps(q, s, 0x44);
        a[i + 3] = _mm512_shuffle_ps(q, s, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* then the blocks themselves */
        floats p = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), q = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
        floats r = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88), s = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(p, r, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(q, s, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(p, r, 0xdd);
        v[i + 12] = _mm512_shuffle_f32x4(q, s, 0xdd);
    }
}

#endif
#endif
