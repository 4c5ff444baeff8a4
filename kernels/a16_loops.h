/* a16_loops.h — integer weights as floats, and a stream of them against few tokens; included after fma_<isa>.h. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_A16_LOOPS_H
#define QBENCH_A16_LOOPS_H

#include "fma_loops.h"
#include "panel.h"

#ifdef __AVX2__

enum { A16_STEP = 8 };

/* c[j] = codes, exact, of column j of a step's rows part * FMA_LANES .. */
typedef void a16_codes(const uint8_t *step, int part, floats c[A16_STEP]);

FMA_INLINE void int8_codes(const uint8_t *step, int part, floats c[A16_STEP])
{
    FMA_UNROLL
    for (int line = 0; line < 2; line++) {
        ints v = load_ints(step + 64 * line + 4 * FMA_LANES * part), up = upper(v);
        c[4 * line] = bits_from(v, 0xff, 128);
        c[4 * line + 1] = bits_from(v, 0xff00, 128);
        c[4 * line + 2] = bits_from(up, 0xff, 128);
        c[4 * line + 3] = bits_from(up, 0xff00, 128);
    }
}

/* Scales, or shifts, of rows part * FMA_LANES .. */
FMA_INLINE floats a16_values(const uint8_t *at, bool grouped, int part)
{
    return grouped ? load_fp16(at + 2 * FMA_LANES * part) : load_full((const float *)at + FMA_LANES * part);
}

/* As panel_layout has it, but a constant where format is one. */
FMA_INLINE size_t a16_step_bytes(enum format format) { return format == FORMAT_INT8 ? 128 : 64; }

FMA_INLINE void a16_ahead(const uint8_t *step, size_t bytes)
{
    for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)step + FMA_AHEAD + line, _MM_HINT_T0);
}

/* w (columns, FMA_ROWS): one part of one panel, dequantized. k0 is the first column of a step. */
FMA_INLINE void a16_part(const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int part, int k0, int columns,
                         float *w, enum format format, a16_codes *codes)
{
    const size_t bytes = a16_step_bytes(format);
    const uint8_t *step = panel + (size_t)(k0 / A16_STEP) * bytes;
    floats c[A16_STEP];
    for (int j = k0, end = k0 + columns; j < end;) {
        const uint8_t *at = panel_scale(p, panel, j / p->group);
        floats scale = a16_values(at, a->group, part), shift = a->shift ? a16_values(at + p->shift_offset, a->group, part) : all(0);
        int stop = min_int(end, (j / p->group + 1) * p->group);
        for (; j < stop; j += A16_STEP, step += bytes, w += A16_STEP * FMA_ROWS) {
            a16_ahead(step, bytes);
            codes(step, part, c);
            FMA_UNROLL
            for (int i = 0; i < A16_STEP; i++)
                store_full(w + i * FMA_ROWS, muladd(scale, c[i], shift));
        }
    }
}

FMA_INLINE void a16_weights(const struct gemm_args *a, int n, int k0, int columns, float *w, enum format format, a16_codes *codes)
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    for (int v = 0; v < FMA_VECTORS && n + v * FMA_LANES < a->n1; v++) {
        int row = n + v * FMA_LANES, lane = row % PANEL_ROWS;
        a16_part(a, &p, panel_at(&p, a->w, row - lane), lane / FMA_LANES, k0, columns, w + v * FMA_LANES, format, codes);
    }
}

/* acc (T, parts, sums) += steps * x; a row's columns go to its sums in turn. */
FMA_INLINE void a16_steps(const uint8_t *step, size_t bytes, int steps, const float *x, a16_codes *codes,
                          floats acc[FMA_TOKENS][FMA_PARTS][4], const int T, const int sums)
{
    floats c[A16_STEP];
    for (; steps > 0; steps--, step += bytes, x += A16_STEP * T) {
        a16_ahead(step, bytes);
        FMA_UNROLL
        for (int v = 0; v < FMA_PARTS; v++) {
            codes(step, v, c);
            FMA_UNROLL
            for (int j = 0; j < A16_STEP; j++)
                FMA_UNROLL
                for (int t = 0; t < T; t++)
                    acc[t][v][j % sums] = muladd(all(x[j * T + t]), c[j], acc[t][v][j % sums]);
        }
    }
}

/* Codes are summed, then scaled. The fewer tokens, the more sums each, against the latency of the additions. */
FMA_INLINE void a16_chunk(const struct fma_stream *s, int n, int j, int columns, const float *x, const float *x_sum, float *y,
                          enum format format, a16_codes *codes, const int T)
{
    const int sums = T * FMA_PARTS <= 2 ? 4 : T * FMA_PARTS <= FMA_TOKENS ? 2 : 1;
    const size_t bytes = a16_step_bytes(format);
    const struct panel *p = s->layout;
    const uint8_t *panel = panel_at(p, s->a->w, n), *at = panel_scale(p, panel, j / p->group);
    floats acc[FMA_TOKENS][FMA_PARTS][4];
    FMA_UNROLL
    for (int t = 0; t < T; t++)
        FMA_UNROLL
        for (int v = 0; v < FMA_PARTS; v++)
            FMA_UNROLL
            for (int i = 0; i < sums; i++)
                acc[t][v][i] = all(0);
    a16_steps(panel + (size_t)(j / A16_STEP) * bytes, bytes, columns / A16_STEP, x, codes, acc, T, sums);
    FMA_UNROLL
    for (int v = 0; v < FMA_PARTS; v++) {
        floats scale = a16_values(at, s->a->group, v);
        FMA_UNROLL
        for (int t = 0; t < T; t++) {
            float *to = y + t * FMA_PANEL + v * FMA_LANES;
            floats sum = acc[t][v][0];
            if (sums == 2)
                sum = add(sum, acc[t][v][1]);
            if (sums == 4)
                sum = add(add(sum, acc[t][v][1]), add(acc[t][v][2], acc[t][v][3]));
            sum = muladd(scale, sum, load_full(to));
            if (s->a->shift)
                sum = muladd(a16_values(at + p->shift_offset, s->a->group, v), all(x_sum[t]), sum);
            store_full(to, sum);
        }
    }
}

/* The gemm of a kernel file. */
#define A16_STREAM_int8(T) \
    static void int8_stream_##T(const struct fma_stream *s) { fma_stream(s, int8_chunk, T); }
#define A16_STREAM_int4(T) \
    static void int4_stream_##T(const struct fma_stream *s) { fma_stream(s, int4_chunk, T); }
#define A16_NAME_int8(T) int8_stream_##T,
#define A16_NAME_int4(T) int4_stream_##T,
#define A16_GEMM(name, format)                                                                                            \
    static void name##_weights(const struct gemm_args *a, int n, int k0, int columns, float *w)                           \
    {                                                                                                                     \
        a16_weights(a, n, k0, columns, w, format, name##_codes);                                                          \
    }                                                                                                                     \
    FMA_INLINE void name##_chunk(const struct fma_stream *s, int n, int j, int columns, const float *x, const float *x_sum, \
                                 float *y, const int T)                                                                   \
    {                                                                                                                     \
        a16_chunk(s, n, j, columns, x, x_sum, y, format, name##_codes, T);                                                \
    }                                                                                                                     \
    FMA_EACH_TOKENS(A16_STREAM_##name)                                                                                    \
    static fma_stream_fn *const name##_streams[FMA_TOKENS] = {FMA_EACH_TOKENS(A16_NAME_##name)};                          \
    static void gemm(const struct gemm_args *a)                                                                           \
    {                                                                                                                     \
        struct panel p = panel_layout(format, a->k, a->group, a->shift);                                                  \
        if (fma_few(a))                                                                                                   \
            fma_streams(a, &p, p.columns, p.group, name##_streams);                                                       \
        else                                                                                                              \
            fma_gemm(a, true, name##_weights);                                                                            \
    }

#endif
#endif
