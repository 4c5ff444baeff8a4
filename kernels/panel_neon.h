/* panel_neon.h — gemm over panels with NEON's dot products; a kernel file adds how it reads its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_NEON_H
#define QBENCH_PANEL_NEON_H

#include "panel.h"

#ifdef __ARM_FEATURE_DOTPROD
#include <arm_neon.h>

/*
 * A quad of a panel (16 rows x 4 columns) is four 128-bit registers. SDOT multiplies such a register by four activations of one token;
 * SMMLA multiplies two rows of eight columns by two tokens of eight columns, and two quads zipped by 32-bit lanes are just that. Both
 * want signed bytes: codes come as code + offset, at most 127, with the offset taken back through the sums of x.
 * Up to four tokens x 16 rows are 16 of the 32 registers.
 */
enum { NEON_TOKENS = 4, NEON_REGISTERS = 4, NEON_QUADS = 8, NEON_X_BYTES = 1 << 17 };

#define NEON_INLINE static inline __attribute__((always_inline))

/* w (quads, 4) = the codes of one step, plus the kernel's offset. */
typedef void neon_read(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS]);

/* acc (T, 16) += one step * x (T, ldx). quads and T are constants wherever this is inlined. */
typedef void neon_multiply(const int8x16_t w[NEON_QUADS][NEON_REGISTERS], int quads, const int8_t *x, size_t ldx, int T,
                           int32x4_t acc[NEON_TOKENS][NEON_REGISTERS]);

NEON_INLINE void neon_dot(const int8x16_t w[NEON_QUADS][NEON_REGISTERS], int quads, const int8_t *x, size_t ldx, int T,
                          int32x4_t acc[NEON_TOKENS][NEON_REGISTERS])
{
    PANEL_UNROLL
    for (int q = 0; q < quads; q++)
        PANEL_UNROLL
        for (int t = 0; t < T; t++) {
            int8x16_t four = vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t *)(const void *)(x + (size_t)t * ldx + PANEL_QUAD * q)));
            PANEL_UNROLL
            for (int b = 0; b < NEON_REGISTERS; b++)
                acc[t][b] = vdotq_s32(acc[t][b], w[q][b], four);
        }
}

#ifdef __ARM_FEATURE_MATMUL_INT8
/* Between calls acc[2 p + h][b] holds, of token pair p, rows 4 b + 2 h and the next: (r, t0), (r, t1), (r + 1, t0), (r + 1, t1). */
NEON_INLINE void neon_matrix(const int8x16_t w[NEON_QUADS][NEON_REGISTERS], int quads, const int8_t *x, size_t ldx, int T,
                             int32x4_t acc[NEON_TOKENS][NEON_REGISTERS])
{
    PANEL_UNROLL
    for (int q = 0; q < quads; q += 2) {
        int8x16_t pair[NEON_TOKENS / 2];
        PANEL_UNROLL
        for (int p = 0; p < T / 2; p++) {
            const int8_t *x0 = x + (size_t)(2 * p) * ldx + PANEL_QUAD * q;
            pair[p] = vcombine_s8(vld1_s8(x0), vld1_s8(x0 + ldx));
        }
        PANEL_UNROLL
        for (int b = 0; b < NEON_REGISTERS; b++) {
            int32x4_t left = vreinterpretq_s32_s8(w[q][b]), right = vreinterpretq_s32_s8(w[q + 1][b]);
            int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32(left, right)), high = vreinterpretq_s8_s32(vzip2q_s32(left, right));
            PANEL_UNROLL
            for (int p = 0; p < T / 2; p++) {
                acc[2 * p][b] = vmmlaq_s32(acc[2 * p][b], low, pair[p]);
                acc[2 * p + 1][b] = vmmlaq_s32(acc[2 * p + 1][b], high, pair[p]);
            }
        }
    }
}

/* Back to acc[t][b] = rows 4 b … 4 b + 3 of token t. */
NEON_INLINE void neon_untangle(int T, int32x4_t acc[NEON_TOKENS][NEON_REGISTERS])
{
    PANEL_UNROLL
    for (int p = 0; p < T / 2; p++)
        PANEL_UNROLL
        for (int b = 0; b < NEON_REGISTERS; b++) {
            int32x4_t low = acc[2 * p][b], high = acc[2 * p + 1][b];
            acc[2 * p][b] = vuzp1q_s32(low, high);
            acc[2 * p + 1][b] = vuzp2q_s32(low, high);
        }
}
#endif

/* tile (T, 16) = one group of one panel times T tokens. */
NEON_INLINE void neon_tile(const uint8_t *step, size_t bytes, int steps, int quads, const int8_t *x, size_t ldx, int T, bool matrix,
                           neon_read *read, int32_t *tile)
{
    int32x4_t acc[NEON_TOKENS][NEON_REGISTERS];
    int8x16_t w[NEON_QUADS][NEON_REGISTERS];
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int b = 0; b < NEON_REGISTERS; b++)
            acc[t][b] = vdupq_n_s32(0);
    for (; steps > 0; steps--, step += bytes, x += PANEL_QUAD * quads) {
        read(step, w);
#ifdef __ARM_FEATURE_MATMUL_INT8
        if (matrix) {
            neon_matrix(w, quads, x, ldx, T, acc);
            continue;
        }
#endif
        neon_dot(w, quads, x, ldx, T, acc);
    }
#ifdef __ARM_FEATURE_MATMUL_INT8
    if (matrix)
        neon_untangle(T, acc);
#endif
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int b = 0; b < NEON_REGISTERS; b++)
            vst1q_s32(tile + t * PANEL_ROWS + 4 * b, acc[t][b]);
}

/* A function of its own for each number of tokens; pairs of tokens go through SMMLA where there is one. */
typedef void neon_tile_fn(const uint8_t *step, size_t bytes, int steps, const int8_t *x, size_t ldx, int32_t *tile);
#define NEON_TILE(read, quads, T, matrix)                                                                                   \
    static void read##_##T(const uint8_t *step, size_t bytes, int steps, const int8_t *x, size_t ldx, int32_t *tile)        \
    {                                                                                                                       \
        neon_tile(step, bytes, steps, quads, x, ldx, T, matrix, read, tile);                                                \
    }
#define NEON_TABLE(read, quads, matrix)                                                                                     \
    NEON_TILE(read, quads, 1, false) NEON_TILE(read, quads, 2, matrix) NEON_TILE(read, quads, 3, false)                     \
    NEON_TILE(read, quads, 4, matrix)                                                                                       \
    static neon_tile_fn *const neon_tiles_##read[NEON_TOKENS] = {read##_1, read##_2, read##_3, read##_4}

NEON_INLINE float32x4_t neon_value(const uint8_t *at, bool grouped, int b)
{
    return grouped ? vcvt_f32_f16(vld1_f16((const float16_t *)(const void *)(at + 8 * b))) : vld1q_f32((const float *)(const void *)(at + 16 * b));
}

/* s (T, 16): one group folded in, by the contract. */
static inline void neon_fold(const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int g, int i, int T, int offset,
                             const int32_t *tile, float *s)
{
    const uint8_t *scale = panel_scale(p, panel, g), *shift = scale + p->shift_offset;
    for (int b = 0; b < NEON_REGISTERS; b++) {
        float32x4_t v = neon_value(scale, a->group != 0, b);
        for (int t = 0; t < T; t++) {
            int32_t x_sum = a->x_sum[(size_t)(i + t) * (size_t)a->groups + (size_t)g];
            int at = t * PANEL_ROWS + 4 * b;
            int32x4_t acc = vsubq_s32(vld1q_s32(tile + at), vdupq_n_s32(offset * x_sum));
            float32x4_t sum = vfmaq_f32(vld1q_f32(s + at), v, vcvtq_f32_s32(acc));
            if (a->shift)
                sum = vfmaq_f32(sum, neon_value(shift, a->group != 0, b), vdupq_n_f32((float)x_sum));
            vst1q_f32(s + at, sum);
        }
    }
}

/* Tokens i .. i+T-1 against the panel at n. */
static inline void neon_block(const struct gemm_args *a, const struct panel *p, int n, int i, int T, int offset, neon_tile_fn *tile_fn)
{
    int32_t tile[NEON_TOKENS * PANEL_ROWS];
    float s[NEON_TOKENS * PANEL_ROWS] = {0};
    const uint8_t *panel = panel_at(p, a->w, n);
    const int8_t *x = a->xq + (size_t)i * (size_t)a->ldx;
    for (int g = 0; g < p->groups; g++) {
        tile_fn(panel_step(p, panel, g), p->step_bytes, panel_steps(p, g), x + (size_t)g * (size_t)p->group, (size_t)a->ldx, tile);
        neon_fold(a, p, panel, g, i, T, offset, tile, s);
    }
    for (int t = 0; t < T; t++) {
        float *y = a->y + (size_t)(i + t) * (size_t)a->ldy + (size_t)n;
        for (int lane = 0; lane < min_int(PANEL_ROWS, a->n1 - n); lane++)
            y[lane] = s[t * PANEL_ROWS + lane] * a->x_scale[i + t];
    }
}

/* Tokens in blocks whose x stays in the L2 cache, within them every panel, within that up to four tokens. */
static inline void neon_gemm(const struct gemm_args *a, enum format format, int offset, neon_tile_fn *const tiles[NEON_TOKENS])
{
    struct panel p = panel_layout(format, a->k, a->group, a->shift);
    int most = max_int(NEON_X_BYTES / a->ldx / NEON_TOKENS, 1) * NEON_TOKENS;
    for (int i0 = 0; i0 < a->m; i0 += most)
        for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
            for (int i = i0; i < min_int(a->m, i0 + most); i += NEON_TOKENS) {
                int T = min_int(NEON_TOKENS, min_int(a->m, i0 + most) - i);
                neon_block(a, &p, n, i, T, offset, tiles[T - 1]);
            }
}

/* How each format's codes are read. Those of int8 and pot4 come signed as they are (offset 0), the others as stored. */
NEON_INLINE int8x16_t neon_load(const uint8_t *at) { return vreinterpretq_s8_u8(vld1q_u8(at)); }

NEON_INLINE void neon_int8(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    for (int q = 0; q < 2; q++)
        for (int b = 0; b < NEON_REGISTERS; b++)
            w[q][b] = veorq_s8(neon_load(step + 64 * q + 16 * b), vdupq_n_s8((int8_t)-128));
}

NEON_INLINE void neon_int4(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    for (int b = 0; b < NEON_REGISTERS; b++) {
        uint8x16_t both = vld1q_u8(step + 16 * b);
        w[0][b] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
        w[1][b] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
    }
}

NEON_INLINE void neon_pot4(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    int8x16_t table = vld1q_s8(panel_pot4);
    neon_int4(step, w);
    for (int q = 0; q < 2; q++)
        for (int b = 0; b < NEON_REGISTERS; b++)
            w[q][b] = vqtbl1q_s8(table, vreinterpretq_u8_s8(w[q][b]));
}

/* int2 and tern: four quads of two bits. */
NEON_INLINE void neon_int2(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    for (int b = 0; b < NEON_REGISTERS; b++) {
        uint8x16_t four = vld1q_u8(step + 16 * b), mask = vdupq_n_u8(3);
        w[0][b] = vreinterpretq_s8_u8(vandq_u8(four, mask));
        w[1][b] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(four, 2), mask));
        w[2][b] = vreinterpretq_s8_u8(vandq_u8(vshrq_n_u8(four, 4), mask));
        w[3][b] = vreinterpretq_s8_u8(vshrq_n_u8(four, 6));
    }
}

/* 0 or `value` as bit q of each byte says */
NEON_INLINE uint8x16_t neon_bit(uint8x16_t bits, int q, uint8_t value)
{
    return vandq_u8(vtstq_u8(bits, vdupq_n_u8((uint8_t)(1 << q))), vdupq_n_u8(value));
}

NEON_INLINE void neon_int3(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    neon_int2(step, w);
    neon_int2(step + 64, w + 4);
    for (int b = 0; b < NEON_REGISTERS; b++) {
        uint8x16_t high = vld1q_u8(step + 128 + 16 * b);
        for (int q = 0; q < NEON_QUADS; q++)
            w[q][b] = vorrq_s8(w[q][b], vreinterpretq_s8_u8(neon_bit(high, q, 4)));
    }
}

NEON_INLINE void neon_bin(const uint8_t *step, int8x16_t w[NEON_QUADS][NEON_REGISTERS])
{
    for (int b = 0; b < NEON_REGISTERS; b++) {
        uint8x16_t bits = vld1q_u8(step + 16 * b);
        for (int q = 0; q < NEON_QUADS; q++)
            w[q][b] = vreinterpretq_s8_u8(neon_bit(bits, q, 2));
    }
}

#define NEON_GEMM(read, format, quads, offset, matrix)                                                   \
    NEON_TABLE(read, quads, matrix);                                                                     \
    static void gemm(const struct gemm_args *a) { neon_gemm(a, format, offset, neon_tiles_##read); }
#endif

/* The whole descriptor of <format>_<isa>. */
#define NEON_DESCRIPTION(kernel_name, kernel_title, isa, kernel_format, kstep)                           \
    .name = kernel_name, .title = kernel_title, .format = kernel_format, .needs = isa, .act = ACT_INT8,  \
    .n_step = PANEL_ROWS, .k_step = kstep, .shift = true
#define DOTPROD_DESCRIPTION(name, format, kstep) \
    NEON_DESCRIPTION(name, "NEON SDOT, 16 products an instruction", ISA_NEON | ISA_DOTPROD, format, kstep)
#define I8MM_DESCRIPTION(name, format, kstep) \
    NEON_DESCRIPTION(name, "NEON SMMLA, 32 products an instruction", ISA_NEON | ISA_DOTPROD | ISA_I8MM, format, kstep)
#define NEON_FUNCTIONS .packed_size = panel_size, .pack = panel_pack, .gemm = gemm

#endif
