/* panel_vnni.h — gemm over panels with AVX-512 VNNI; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_VNNI_H
#define QBENCH_PANEL_VNNI_H

#include "cpu.h"
#include "panel.h"

/*
 * A zmm register holds a quad of the 16 rows of a panel: 64 products an instruction (VPDPBUSD) with four broadcast activations.
 *
 * One token (decoding) is a stream through memory, and must keep up with it: a line has about 11 cycles. So codes narrower than
 * a byte are masked but not shifted into place: their products are 2^shift times too large, are summed by shift, and the sums are
 * shifted, once a group.
 *
 * Many tokens (panel_vnni.c) are arithmetic: codes are unpacked to bytes once for all of them, by the same description.
 */
enum { VNNI_LINE = 64, VNNI_QUADS = 8, VNNI_TERMS = 16 };

/* How a step is read. Term t holds 2^shift times (a part of) the unsigned codes of quad t % quads; a code is the sum of its parts. */
struct vnni_code {
    int lines, quads, terms; /* of a step */
    int8_t shift[VNNI_TERMS]; /* -2 to 6 */
};

#ifdef __AVX512VNNI__
#include <immintrin.h>

#define VNNI_INLINE static inline __attribute__((always_inline))

/* A kernel's own part: the terms of one step. */
typedef void vnni_read(const uint8_t *step, __m512i term[VNNI_TERMS]);

/* Unpacks steps of one panel: quads of unsigned codes, stride bytes apart. Meanwhile fetches as many lines from ahead, unless NULL. */
typedef void vnni_unpack(const uint8_t *step, int steps, const uint8_t *ahead, uint8_t *quad, size_t stride);

/* Two tokens or more. */
void vnni_prefill(const struct gemm_args *a, enum format format, vnni_unpack *unpack);

/* The instruction itself: gcc 12 surrounds the intrinsic with register copies, and does not let it broadcast from memory. */
VNNI_INLINE __m512i vnni_dot(__m512i sum, __m512i w, __m512i x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

VNNI_INLINE __m512i vnni_dot_quad(__m512i sum, __m512i w, const int8_t *x)
{
    typedef int8_t four[PANEL_QUAD];
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*(const four *)x));
    return sum;
}

/* Whole bytes or bits of one byte, so that nothing crosses from one byte to the next. */
VNNI_INLINE __m512i vnni_unshift(__m512i v, int shift)
{
    return shift < 0 ? _mm512_slli_epi32(v, (unsigned)-shift) : shift > 0 ? _mm512_srli_epi32(v, (unsigned)shift) : v;
}

/* The terms of a line whose bytes hold 8 / bits columns. */
VNNI_INLINE void vnni_bits(__m512i line, int bits, __m512i *term)
{
    PANEL_UNROLL
    for (int t = 0; t < 8 / bits; t++)
        term[t] = _mm512_and_si512(line, _mm512_set1_epi8((char)(((1 << bits) - 1) << bits * t)));
}

VNNI_INLINE __m512 vnni_values(const uint8_t *at, bool grouped)
{
    return grouped ? _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)at)) : _mm512_loadu_ps(at);
}

/* Rows of the panel at n that exist. */
VNNI_INLINE __mmask16 vnni_rows(const struct gemm_args *a, int n)
{
    return a->n1 - n >= PANEL_ROWS ? 0xffff : (__mmask16)((1u << (a->n1 - n)) - 1);
}

/* Into L2 early, for its queue is the longer one and memory is far; into L1 in time, so that loads never fill its short queue. */
enum { VNNI_FAR = 8192, VNNI_NEAR = 2048 };
VNNI_INLINE void vnni_fetch(const uint8_t *line, size_t far)
{
    _mm_prefetch((const char *)line + far, _MM_HINT_T1);
    _mm_prefetch((const char *)line + VNNI_NEAR, _MM_HINT_T0);
}

/* How far ahead of a group's codes to fetch: beyond the panel's last one lie its scales, which are fetched elsewhere. */
VNNI_INLINE size_t vnni_far(const struct panel *p, const uint8_t *panel, const uint8_t *step)
{
    return panel + p->scale_offset > step + VNNI_FAR ? VNNI_FAR : VNNI_FAR + p->bytes - p->scale_offset;
}

/* One group of one panel for one token: sum of unsigned codes * x. */
VNNI_INLINE __m512i vnni_stream(const uint8_t *step, int steps, size_t far, const int8_t *x, const struct vnni_code *code, vnni_read *read)
{
    enum { LEAST = -2, SHIFTS = 9 };
    __m512i term[VNNI_TERMS], sum[SHIFTS], total = _mm512_setzero_si512();
    PANEL_UNROLL
    for (int i = 0; i < SHIFTS; i++)
        sum[i] = total;
    for (; steps > 0; steps--, step += code->lines * VNNI_LINE, x += code->quads * PANEL_QUAD) {
        PANEL_UNROLL
        for (int line = 0; line < code->lines; line++)
            vnni_fetch(step + line * VNNI_LINE, far);
        read(step, term);
        PANEL_UNROLL
        for (int t = 0; t < code->terms; t++) {
            __m512i *at = &sum[code->shift[t] - LEAST];
            *at = vnni_dot_quad(*at, term[t], x + t % code->quads * PANEL_QUAD);
        }
    }
    PANEL_UNROLL
    for (int i = 0; i < SHIFTS; i++)
        total = _mm512_add_epi32(total, i + LEAST < 0 ? _mm512_slli_epi32(sum[i], (unsigned)(-LEAST - i))
                                                      : _mm512_srai_epi32(sum[i], (unsigned)(i + LEAST)));
    return total;
}

VNNI_INLINE void vnni_decode(const struct gemm_args *a, enum format format, const struct vnni_code *code, vnni_read *read)
{
    const struct panel p = panel_layout(format, a->k, a->group, a->shift);
    const bool grouped = a->group != 0;
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS) {
        const uint8_t *panel = panel_at(&p, a->w, n);
        __m512 s = _mm512_setzero_ps();
        for (int g = 0; g < p.groups; g++) {
            const uint8_t *step = panel_step(&p, panel, g), *scale = panel_scale(&p, panel, g);
            _mm_prefetch((const char *)scale + p.bytes, _MM_HINT_T1);
            __m512i sum = vnni_stream(step, panel_steps(&p, g), vnni_far(&p, panel, step), a->xq + (size_t)g * (size_t)p.group, code, read);
            sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(panel_offset(format) * a->x_sum[g]));
            s = _mm512_fmadd_ps(vnni_values(scale, grouped), _mm512_cvtepi32_ps(sum), s);
            if (a->shift)
                s = _mm512_fmadd_ps(vnni_values(scale + p.shift_offset, grouped), _mm512_set1_ps((float)a->x_sum[g]), s);
        }
        _mm512_mask_storeu_ps(a->y + n, vnni_rows(a, n), _mm512_mul_ps(s, _mm512_set1_ps(a->x_scale[0])));
    }
}

VNNI_INLINE void vnni_bytes(const uint8_t *step, int steps, const uint8_t *ahead, uint8_t *quad, size_t stride,
                            const struct vnni_code *code, vnni_read *read)
{
    __m512i term[VNNI_TERMS];
    for (; steps > 0; steps--, step += code->lines * VNNI_LINE) {
        read(step, term);
        PANEL_UNROLL
        for (int q = 0; q < code->quads; q++, quad += stride) {
            __m512i u = vnni_unshift(term[q], code->shift[q]);
            PANEL_UNROLL
            for (int t = q + code->quads; t < code->terms; t += code->quads)
                u = _mm512_or_si512(u, vnni_unshift(term[t], code->shift[t]));
            _mm512_store_si512(quad, u);
        }
        for (int line = 0; ahead && line < code->lines; line++, ahead += VNNI_LINE)
            _mm_prefetch((const char *)ahead, _MM_HINT_T1);
    }
}

#define VNNI_PARTS .packed_size = panel_size, .pack = panel_pack, .gemm = gemm

#else
#define VNNI_PARTS .absent = "not an x86-64 build"
#endif

/* Kernel <name>_vnni; columns: those of a step. */
#define VNNI_KERNEL(format_name, format_id, columns)                                                                  \
    const struct kernel kernel_##format_name##_vnni = {                                                               \
        .name = #format_name "_vnni",                                                                                 \
        .title = "AVX-512 VNNI, 64 products an instruction",                                                          \
        .format = format_id,                                                                                          \
        .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI,                                                              \
        .act = ACT_INT8,                                                                                              \
        .n_step = PANEL_ROWS,                                                                                         \
        .k_step = columns,                                                                                            \
        .shift = true,                                                                                                \
        VNNI_PARTS,                                                                                                   \
    }

#endif
