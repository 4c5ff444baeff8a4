/* panel_vnni_few.h — a few tokens over panels with AVX-512 VNNI: codes go from the panel straight into the products. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_VNNI_FEW_H
#define QBENCH_PANEL_VNNI_FEW_H

#include "panel_vnni.h"

#ifdef __AVX512VNNI__

/* Up to so many tokens, unpacking codes into memory first (panel_vnni.c) costs more than it saves. Sums of so many tokens x 2
 * panels are half of the registers. */
enum { VNNI_FEW_TOKENS = 8, VNNI_FEW_PANELS = 2 };

/* All tokens of the call against the P panels at n; T = a->m and P are constants wherever this is inlined. */
VNNI_INLINE void vnni_few_tile(const struct gemm_args *a, enum format format, int n, const int T, const int P,
                               const struct vnni_code *code, vnni_read *read)
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    const uint8_t *panel = panel_at(&p, a->w, n);
    __m512 s[VNNI_FEW_TOKENS][VNNI_FEW_PANELS];
    for (int t = 0; t < T; t++)
        for (int b = 0; b < P; b++)
            s[t][b] = _mm512_setzero_ps();
    for (int g = 0; g < p.groups; g++) {
        __m512i acc[VNNI_FEW_TOKENS][VNNI_FEW_PANELS], u[VNNI_FEW_PANELS][VNNI_QUADS];
        const uint8_t *step = panel_step(&p, panel, g);
        const int8_t *x = a->xq + (size_t)g * (size_t)p.group;
        const int32_t *x_sum = a->x_sum + g;
        PANEL_UNROLL
        for (int t = 0; t < T; t++)
            PANEL_UNROLL
            for (int b = 0; b < P; b++)
                acc[t][b] = _mm512_set1_epi32(-panel_offset(format) * x_sum[(size_t)t * (size_t)a->groups]);
        for (int j = panel_steps(&p, g); j > 0; j--, step += p.step_bytes, x += p.step_columns) {
            PANEL_UNROLL
            for (int b = 0; b < P; b++)
                vnni_bytes(step + (size_t)b * p.bytes, 1, step + (size_t)b * p.bytes + 2048, (uint8_t *)u[b], VNNI_LINE, code, read);
            PANEL_UNROLL
            for (int q = 0; q < code->quads; q++)
                PANEL_UNROLL
                for (int t = 0; t < T; t++)
                    PANEL_UNROLL
                    for (int b = 0; b < P; b++)
                        acc[t][b] = vnni_dot_quad(acc[t][b], u[b][q], x + (size_t)t * (size_t)a->ldx + PANEL_QUAD * q);
        }
        PANEL_UNROLL
        for (int b = 0; b < P; b++) {
            const uint8_t *scale = panel_scale(&p, panel + (size_t)b * p.bytes, g);
            __m512 v = vnni_values(scale, a->group != 0);
            PANEL_UNROLL
            for (int t = 0; t < T; t++) {
                s[t][b] = _mm512_fmadd_ps(v, _mm512_cvtepi32_ps(acc[t][b]), s[t][b]);
                if (a->shift)
                    s[t][b] = _mm512_fmadd_ps(vnni_values(scale + p.shift_offset, a->group != 0),
                                              _mm512_set1_ps((float)x_sum[(size_t)t * (size_t)a->groups]), s[t][b]);
            }
        }
    }
    for (int t = 0; t < T; t++)
        for (int b = 0; b < P; b++) {
            int row = n + b * PANEL_ROWS;
            __m512 y = _mm512_mul_ps(s[t][b], _mm512_set1_ps(a->x_scale[t]));
            _mm512_mask_storeu_ps(a->y + (size_t)t * (size_t)a->ldy + (size_t)row, vnni_rows(a, row), y);
        }
}

/* A function of its own for each number of tokens. */
#define VNNI_FEW_CASE(T, format, code, read)                                                                          \
    static void few_##T(const struct gemm_args *a)                                                                    \
    {                                                                                                                 \
        int n = a->n0;                                                                                                \
        for (; n + PANEL_ROWS < a->n1; n += 2 * PANEL_ROWS)                                                           \
            vnni_few_tile(a, format, n, T, 2, &code, read);                                                           \
        if (n < a->n1)                                                                                                \
            vnni_few_tile(a, format, n, T, 1, &code, read);                                                           \
    }
#define VNNI_FEW(format, code, read)                                                                                  \
    VNNI_FEW_CASE(2, format, code, read) VNNI_FEW_CASE(3, format, code, read) VNNI_FEW_CASE(4, format, code, read)    \
    VNNI_FEW_CASE(5, format, code, read) VNNI_FEW_CASE(6, format, code, read) VNNI_FEW_CASE(7, format, code, read)    \
    VNNI_FEW_CASE(8, format, code, read)                                                                              \
    static void (*const few[])(const struct gemm_args *) = {few_2, few_3, few_4, few_5, few_6, few_7, few_8};

/* A kernel's functions, from how it reads its codes. */
#define VNNI_GEMM(format, code, read)                                                                                 \
    static void unpack(const uint8_t *step, int steps, const uint8_t *ahead, uint8_t *quad, size_t stride)            \
    {                                                                                                                 \
        vnni_bytes(step, steps, ahead, quad, stride, &code, read);                                                    \
    }                                                                                                                 \
    VNNI_FEW(format, code, read)                                                                                      \
    static void gemm(const struct gemm_args *a)                                                                       \
    {                                                                                                                 \
        if (a->m > 1 && a->m <= VNNI_FEW_TOKENS)                                                                      \
            few[a->m - 2](a);                                                                                         \
        else if (a->m > 1)                                                                                            \
            vnni_prefill(a, format, unpack);                                                                          \
        else                                                                                                          \
            vnni_decode(a, format, &code, read);                                                                      \
    }

#endif
#endif
