/* panel_ymm.h — gemm over panels with 256-bit registers; an instruction set adds its products, a kernel file names its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_YMM_H
#define QBENCH_PANEL_YMM_H

#include "panel.h"

#ifdef __AVX2__
#include <immintrin.h>
#include <string.h>

/*
 * The 16 rows of a panel are the two halves of two ymm registers. One token (decoding) is a stream through memory: codes go from
 * the panel to the products in registers, with prefetches (into L2, whose queue is the longer one) across the page ends at which
 * the hardware's own stop. Many tokens are arithmetic: YMM_COLUMNS of a panel are unpacked once, to bytes in the L1 cache, and then
 * multiply every token of a block whose x stays in the L2 cache, six tokens at a time: 6 x 2 sums and what they are fed from are
 * the 16 registers, and 12 sums cover the latency of two multipliers.
 */
enum { YMM_TOKENS = 6, YMM_COLUMNS = 1024, YMM_GROUPS = YMM_COLUMNS / 8, YMM_BLOCK_TOKENS = 96, YMM_X_BYTES = 1 << 19, YMM_AHEAD = 4096,
       YMM_SMALL = 256 /* columns whose sum of products, 127 * 127 each at most, stays below 2^22 */ };
enum { YMM_QUAD = PANEL_ROWS * PANEL_QUAD }; /* bytes of a quad's codes */

#define YMM_INLINE static inline __attribute__((always_inline))

/* An opaque value: gcc reassociates sums of vectors into trees, and keeps second copies of accumulators as other vector types; both
 * cost more registers than there are. clang does neither. */
#ifdef __clang__
#define YMM_SETTLE(v) ((void)0)
#else
#define YMM_SETTLE(v) __asm__("" : "+x"(v))
#endif

/* The unsigned codes of a step: rows 0..7 (half 0) or 8..15 of columns 4 quad .. 4 quad + 3. Below, one of them a format, with the
 * step's quads and lines, constants for loops to be unrolled by, and the offset in its codes. */
typedef __m256i ymm_read(const uint8_t *step, int half, int quad);
enum {
    YMM_INT8_QUADS = 2, YMM_INT8_LINES = 2, YMM_INT8_OFFSET = 128,
    YMM_INT4_QUADS = 2, YMM_INT4_LINES = 1, YMM_INT4_OFFSET = 8,
    YMM_INT3_QUADS = 8, YMM_INT3_LINES = 3, YMM_INT3_OFFSET = 4,
    YMM_INT2_QUADS = 4, YMM_INT2_LINES = 1, YMM_INT2_OFFSET = 2,
    YMM_TERN_QUADS = 4, YMM_TERN_LINES = 1, YMM_TERN_OFFSET = 1,
    YMM_BIN_QUADS = 8, YMM_BIN_LINES = 1, YMM_BIN_OFFSET = 1,
    YMM_POT4_QUADS = 2, YMM_POT4_LINES = 1, YMM_POT4_OFFSET = 64,
};

YMM_INLINE __m256i ymm_load(const void *at) { return _mm256_load_si256(at); }
YMM_INLINE __m256i ymm_bits(__m256i v, int mask) { return _mm256_and_si256(v, _mm256_set1_epi8((char)mask)); }

YMM_INLINE __m256i ymm_int8(const uint8_t *step, int half, int quad) { return ymm_load(step + 32 * half + YMM_QUAD * quad); }

YMM_INLINE __m256i ymm_int4(const uint8_t *step, int half, int quad)
{
    __m256i both = ymm_load(step + 32 * half);
    return ymm_bits(quad ? _mm256_srli_epi16(both, 4) : both, 15);
}

/* A nibble selects a power; VPSHUFB looks 32 of them up. */
YMM_INLINE __m256i ymm_pot4(const uint8_t *step, int half, int quad)
{
    __m256i powers = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)panel_pot4));
    return _mm256_shuffle_epi8(_mm256_add_epi8(powers, _mm256_set1_epi8(64)), ymm_int4(step, half, quad));
}

YMM_INLINE __m256i ymm_int2(const uint8_t *step, int half, int quad)
{
    return ymm_bits(_mm256_srli_epi16(ymm_load(step + 32 * half), 2 * quad), 3);
}

YMM_INLINE __m256i ymm_tern(const uint8_t *step, int half, int quad) { return ymm_int2(step, half, quad); }

YMM_INLINE __m256i ymm_int3(const uint8_t *step, int half, int quad)
{
    __m256i high = ymm_load(step + 2 * YMM_QUAD + 32 * half);
    high = quad < 2 ? _mm256_slli_epi16(high, 2 - quad) : _mm256_srli_epi16(high, quad - 2);
    return _mm256_or_si256(ymm_int2(step + quad / 4 * YMM_QUAD, half, quad % 4), ymm_bits(high, 4));
}

YMM_INLINE __m256i ymm_bin(const uint8_t *step, int half, int quad)
{
    __m256i all = ymm_load(step + 32 * half);
    return ymm_bits(quad ? _mm256_srli_epi16(all, quad - 1) : _mm256_slli_epi16(all, 1), 2);
}

/* Four columns of a token, for all rows. */
YMM_INLINE __m256i ymm_x(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Scales, or shifts, of half a panel. */
YMM_INLINE __m256 ymm_values(const uint8_t *at, bool grouped, int half)
{
    return grouped ? _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)at + half)) : _mm256_loadu_ps((const float *)at + 8 * half);
}

YMM_INLINE void ymm_prefetch(const uint8_t *step, int lines)
{
    PANEL_UNROLL
    for (int line = 0; line < lines; line++)
        _mm_prefetch((const char *)step + YMM_AHEAD + 64 * line, _MM_HINT_T1);
}

/* y (rows of the panel at n that exist) = s (16) * x_scale */
static inline void ymm_store(const struct gemm_args *a, int i, int n, const float *s)
{
    float *y = a->y + (size_t)i * (size_t)a->ldy + (size_t)n;
    const __m256 x_scale = _mm256_set1_ps(a->x_scale[i]);
    if (a->n1 - n >= PANEL_ROWS) {
        _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_load_ps(s), x_scale));
        _mm256_storeu_ps(y + 8, _mm256_mul_ps(_mm256_load_ps(s + 8), x_scale));
        return;
    }
    for (int lane = 0; lane < a->n1 - n; lane++)
        y[lane] = s[lane] * a->x_scale[i];
}

/* Some columns of one panel, unpacked. */
struct ymm_block {
    _Alignas(64) uint8_t codes[2 * YMM_QUAD * YMM_COLUMNS / PANEL_QUAD];
    _Alignas(64) int32_t bias[YMM_GROUPS][PANEL_ROWS]; /* what a group's sums of products begin with */
    _Alignas(64) float scale[YMM_GROUPS][PANEL_ROWS];
    _Alignas(64) float shift[YMM_GROUPS][PANEL_ROWS];
    int quads, group_quads; /* all; in each group but perhaps the last */
    int group;              /* the first */
    bool begins, ends;      /* no: columns of the only group are in the block before, or in the next one */
    bool shifts;
};

/* T tokens */
struct ymm_tokens {
    const int8_t *x; /* (T, ldx) from the block's first column on */
    size_t ldx;
    const int32_t *x_sum; /* (T, groups) from the block's first group on */
    size_t groups;
    int32_t *acc; /* (T, 16) sums of a group that goes on in the next block */
    float *s;     /* (T, 16) */
};

/* acc (T, 2) = codes (quads) * x (T, ldx); T is a constant wherever this is inlined, so that acc is registers. */
typedef void ymm_multiply(const uint8_t *codes, int quads, const int8_t *x, size_t ldx, __m256i acc[YMM_TOKENS][2], const int T);

/* codes (quads of a step) and, where that is the way, what it adds to bias (16) */
typedef void ymm_unpack(const uint8_t *step, uint8_t *codes, int32_t *bias);

/* acc (T, 2) += from (t_step, 16) */
YMM_INLINE void ymm_add(__m256i acc[YMM_TOKENS][2], const int32_t *from, size_t t_step, const int T)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int half = 0; half < 2; half++)
            acc[t][half] = _mm256_add_epi32(acc[t][half], ymm_load(from + (size_t)t * t_step + 8 * half));
}

YMM_INLINE void ymm_keep(int32_t *to, __m256i acc[YMM_TOKENS][2], const int T)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++)
        PANEL_UNROLL
        for (int half = 0; half < 2; half++)
            _mm256_store_si256((__m256i *)(to + t * PANEL_ROWS + 8 * half), acc[t][half]);
}

/* s = scale * (acc - offset * sum of x) + s. A small sum added to the bits of 1.5 * 2^23 is that float plus the sum: so it is converted
 * by additions, which do not compete with the products for ports. */
YMM_INLINE __m256 ymm_fold(__m256 s, __m256i acc, __m256i x_sum, int offset, bool small, __m256 scale)
{
    const __m256 base = _mm256_set1_ps(0x1.8p23f);
    __m256i less = offset ? _mm256_slli_epi32(x_sum, __builtin_ctz((unsigned)offset)) : _mm256_setzero_si256();
    if (!small)
        return _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(_mm256_sub_epi32(acc, less)), s);
    acc = _mm256_add_epi32(acc, _mm256_sub_epi32(_mm256_castps_si256(base), less));
    return _mm256_fmadd_ps(scale, _mm256_sub_ps(_mm256_castsi256_ps(acc), base), s);
}

YMM_INLINE void ymm_scale(const struct ymm_block *b, const struct ymm_tokens *v, int g, int offset, bool small,
                          __m256i acc[YMM_TOKENS][2], const int T)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++) {
        const __m256i x_sum = _mm256_set1_epi32(v->x_sum[(size_t)t * v->groups + (size_t)g]);
        PANEL_UNROLL
        for (int half = 0; half < 2; half++) {
            float *s = v->s + t * PANEL_ROWS + 8 * half;
            _mm256_store_ps(s, ymm_fold(_mm256_load_ps(s), acc[t][half], x_sum, offset, small, _mm256_load_ps(b->scale[g] + 8 * half)));
        }
    }
}

/* s = shift * sum of x + s */
YMM_INLINE void ymm_shift(const struct ymm_block *b, const struct ymm_tokens *v, int g, const int T)
{
    PANEL_UNROLL
    for (int t = 0; t < T; t++) {
        const __m256 x_sum = _mm256_set1_ps((float)v->x_sum[(size_t)t * v->groups + (size_t)g]);
        PANEL_UNROLL
        for (int half = 0; half < 2; half++) {
            float *s = v->s + t * PANEL_ROWS + 8 * half;
            _mm256_store_ps(s, _mm256_fmadd_ps(_mm256_load_ps(b->shift[g] + 8 * half), x_sum, _mm256_load_ps(s)));
        }
    }
}

/* One block times T tokens. A group's sums are kept in memory between what multiply takes at a time, and between blocks. */
YMM_INLINE void ymm_tile(const struct ymm_block *b, const struct ymm_tokens *tokens, int offset, int quad_bytes, int most, bool small,
                         ymm_multiply *multiply, const int T)
{
    __m256i acc[YMM_TOKENS][2];
    const struct ymm_tokens v = *tokens; /* copies, which no store can change */
    const int all = b->quads, group_quads = b->group_quads;
    const bool ends = b->ends, shifts = b->shifts;
    const uint8_t *codes = b->codes;
    const int8_t *x = v.x;
    bool kept = !b->begins;
    for (int g = 0, left = all; left > 0; g++) {
        int rest = min_int(left, group_quads);
        left -= rest;
        bool first = true;
        do {
            int quads = min_int(rest, most);
            multiply(codes, quads, x, v.ldx, acc, T);
            rest -= quads;
            codes += (size_t)quads * (size_t)quad_bytes;
            x += quads * PANEL_QUAD;
            if (first && offset == 0)
                ymm_add(acc, b->bias[g], 0, T);
            if (kept)
                ymm_add(acc, v.acc, PANEL_ROWS, T);
            kept = rest > 0 || (left == 0 && !ends);
            if (kept)
                ymm_keep(v.acc, acc, T);
            first = false;
        } while (rest > 0);
        if (!kept)
            ymm_scale(b, &v, g, offset, small, acc, T);
        if (!kept && shifts)
            ymm_shift(b, &v, g, T);
    }
}

/* Where the block that begins at this column ends: whole groups, or part of one. */
static inline int ymm_block_end(const struct panel *p, int begin)
{
    int groups = YMM_COLUMNS / p->group, group_end = (begin / p->group + 1) * p->group;
    int end = groups ? begin + groups * p->group : min_int(begin + YMM_COLUMNS, group_end);
    return min_int(end, p->columns);
}

YMM_INLINE void ymm_block_open(struct ymm_block *b, const struct gemm_args *a, const struct panel *p, const uint8_t *panel, int begin,
                               int end, int quad_bytes, ymm_unpack *unpack)
{
    const int step_quads = p->step_columns / PANEL_QUAD;
    uint8_t *codes = b->codes;
    b->group = begin / p->group;
    b->begins = begin % p->group == 0;
    b->ends = end % p->group == 0 || end == p->columns;
    b->shifts = a->shift;
    b->quads = (end - begin) / PANEL_QUAD;
    b->group_quads = min_int(p->group, YMM_COLUMNS) / PANEL_QUAD;
    for (int g = 0, column = begin; column < end; g++) {
        int group_end = min_int((b->group + g + 1) * p->group, end), done = column - (b->group + g) * p->group;
        const uint8_t *step = panel_step(p, panel, b->group + g) + (size_t)(done / p->step_columns) * p->step_bytes;
        const uint8_t *scale = panel_scale(p, panel, b->group + g);
        for (int half = 0; half < 2; half++) {
            _mm256_store_ps(b->scale[g] + 8 * half, ymm_values(scale, a->group != 0, half));
            if (a->shift)
                _mm256_store_ps(b->shift[g] + 8 * half, ymm_values(scale + p->shift_offset, a->group != 0, half));
        }
        memset(b->bias[g], 0, sizeof b->bias[g]);
        for (; column < group_end; column += p->step_columns, step += p->step_bytes, codes += step_quads * quad_bytes) {
            unpack(step, codes, b->bias[g]);
        }
    }
}

/* A function of its own for each number of tokens. */
typedef void ymm_tile_fn(const struct ymm_block *b, const struct ymm_tokens *v);
struct ymm_tiles {
    int tokens; /* at most */
    ymm_tile_fn *tile[YMM_TOKENS]; /* [tokens - 1] */
};

/* Tokens i0 .. i0 + m - 1 times the panel at n. Tiles are of nearly equal size: 13 tokens are 5 + 4 + 4, not 6 + 6 + 1. */
YMM_INLINE void ymm_panel(const struct gemm_args *a, const struct panel *p, int n, int i0, int m, int quad_bytes, ymm_unpack *unpack,
                          const struct ymm_tiles *tiles)
{
    struct ymm_block b;
    _Alignas(64) int32_t acc[YMM_BLOCK_TOKENS][PANEL_ROWS];
    _Alignas(64) float s[YMM_BLOCK_TOKENS][PANEL_ROWS];
    const uint8_t *panel = panel_at(p, a->w, n);
    const int count = (m + tiles->tokens - 1) / tiles->tokens, size = m / count, larger = m % count;
    const size_t ldx = (size_t)a->ldx, groups = (size_t)a->groups;
    memset(s, 0, (size_t)m * sizeof *s);
    for (int begin = 0, end; begin < p->columns; begin = end) {
        end = ymm_block_end(p, begin);
        ymm_block_open(&b, a, p, panel, begin, end, quad_bytes, unpack);
        for (int j = 0, i = 0; j < count; j++) {
            const size_t token = (size_t)(i0 + i);
            const int T = size + (j < larger);
            struct ymm_tokens v = {a->xq + token * ldx + begin, ldx, a->x_sum + token * groups + b.group, groups, acc[i], s[i]};
            tiles->tile[T - 1](&b, &v);
            i += T;
        }
    }
    for (int i = 0; i < m; i++)
        ymm_store(a, i0 + i, n, s[i]);
}

/* Tokens in blocks of nearly equal size, within them every panel. */
YMM_INLINE void ymm_prefill(const struct gemm_args *a, const struct panel *p, int quad_bytes, ymm_unpack *unpack,
                            const struct ymm_tiles *tiles)
{
    const int tokens = tiles->tokens, most = min_int(max_int(YMM_X_BYTES / a->ldx / tokens, 1) * tokens, YMM_BLOCK_TOKENS);
    const int blocks = (a->m + most - 1) / most;
    for (int j = 0; j < blocks; j++) {
        int i0, i1;
        par_span(a->m, tokens, j, blocks, &i0, &i1);
        for (int n = a->n0; n < a->n1; n += PANEL_ROWS)
            ymm_panel(a, p, n, i0, i1 - i0, quad_bytes, unpack, tiles);
    }
}

/* acc (2) += one group's codes * x, for one token */
typedef void ymm_stream(const uint8_t *step, int steps, const int8_t *x, __m256i acc[2]);

YMM_INLINE void ymm_row(const struct gemm_args *a, const struct panel *p, int offset, bool grouped, ymm_stream *stream)
{
    _Alignas(32) float y[PANEL_ROWS];
    for (int n = a->n0; n < a->n1; n += PANEL_ROWS) {
        const uint8_t *panel = panel_at(p, a->w, n);
        __m256 s[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int g = 0; g < p->groups; g++) {
            const uint8_t *scale = panel_scale(p, panel, g);
            const __m256i x_sum = _mm256_set1_epi32(a->x_sum[g]);
            __m256i acc[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
            _mm_prefetch((const char *)scale + p->bytes, _MM_HINT_T1);
            stream(panel_step(p, panel, g), panel_steps(p, g), a->xq + (size_t)g * (size_t)p->group, acc);
            PANEL_UNROLL
            for (int half = 0; half < 2; half++) {
                s[half] = ymm_fold(s[half], acc[half], x_sum, offset, false, ymm_values(scale, grouped, half));
                if (a->shift)
                    s[half] = _mm256_fmadd_ps(ymm_values(scale + p->shift_offset, grouped, half), _mm256_cvtepi32_ps(x_sum), s[half]);
            }
        }
        _mm256_store_ps(y, s[0]);
        _mm256_store_ps(y + 8, s[1]);
        ymm_store(a, 0, n, y);
    }
}

YMM_INLINE void ymm_decode(const struct gemm_args *a, const struct panel *p, int offset, ymm_stream *stream)
{
    if (a->group)
        ymm_row(a, p, offset, true, stream);
    else
        ymm_row(a, p, offset, false, stream);
}

/* Tile name_T for T tokens. quad_bytes: of a quad in a block; quads: what multiply takes at a time. */
#define YMM_TILE(name, offset, quad_bytes, quads, small, multiply, T)                                                 \
    static void name##_##T(const struct ymm_block *b, const struct ymm_tokens *v)                                     \
    {                                                                                                                 \
        ymm_tile(b, v, offset, quad_bytes, quads, small, multiply, T);                                                \
    }

#endif
#endif
