/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf_types.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <strings.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian numbers are copied out of the file as they stand there");

static float load_f16(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return fp16_to_float(h);
}

static void store_f16(uint8_t *p, float x)
{
    uint16_t h = fp16_from_float(x);
    memcpy(p, &h, sizeof h);
}

static uint32_t load_u32(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* ---- floats */

static void from_f32(float *w, const uint8_t *p, size_t n) { memcpy(w, p, n * sizeof *w); }

static void from_f16(float *w, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w[i] = load_f16(p + 2 * i);
}

static void from_bf16(float *w, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)p[2 * i] << 16 | (uint32_t)p[2 * i + 1] << 24;
        memcpy(&w[i], &bits, sizeof bits);
    }
}

/*
 * ---- blocks of 32: a scale d in fp16, for the _1 types a minimum m in fp16, for the 5-bit types the high bits in 32, then codes.
 *
 *   Q8_0  d, 32 bytes                      Q4_0  d, 16 bytes of two nibbles           Q4_1  d, m, 16 bytes
 *                                          Q5_0  d, 4 bytes of high bits, 16 bytes    Q5_1  d, m, 4 bytes, 16 bytes
 *
 * The low nibble of byte j belongs to weight j, the high nibble to weight 16 + j; bit i of the high bits to weight i.
 */
enum { HALF = GGUF_BLOCK / 2, Q8_0_BYTES = 34, Q4_0_BYTES = 18, Q4_1_BYTES = 20, Q5_0_BYTES = 22, Q5_1_BYTES = 24 };

static int nibble(const uint8_t *q, int i) { return i < HALF ? q[i] & 15 : q[i - HALF] >> 4; }

static void from_q8_0(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q8_0_BYTES, w += GGUF_BLOCK)
        for (int i = 0; i < GGUF_BLOCK; i++)
            w[i] = (float)(int8_t)p[2 + i] * load_f16(p);
}

static void from_q4_0(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q4_0_BYTES, w += GGUF_BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < GGUF_BLOCK; i++)
            w[i] = (float)(nibble(p + 2, i) - 8) * d;
    }
}

static void from_q4_1(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q4_1_BYTES, w += GGUF_BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        for (int i = 0; i < GGUF_BLOCK; i++)
            w[i] = (float)nibble(p + 4, i) * d + m;
    }
}

static int five_bits(const uint8_t *q, uint32_t high, int i) { return nibble(q, i) | (int)(high >> i & 1) << 4; }

static void from_q5_0(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q5_0_BYTES, w += GGUF_BLOCK) {
        float d = load_f16(p);
        for (int i = 0; i < GGUF_BLOCK; i++)
            w[i] = (float)(five_bits(p + 6, load_u32(p + 2), i) - 16) * d;
    }
}

static void from_q5_1(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q5_1_BYTES, w += GGUF_BLOCK) {
        float d = load_f16(p), m = load_f16(p + 2);
        for (int i = 0; i < GGUF_BLOCK; i++)
            w[i] = (float)five_bits(p + 8, load_u32(p + 4), i) * d + m;
    }
}

/*
 * ---- super-blocks of 256.
 *
 *   Q4_K  d, dmin, 12 bytes of 6-bit scales and minima of 8 groups of 32, 128 bytes of nibbles
 *   Q5_K  the same, with 32 bytes of fifth bits before the nibbles
 *   Q6_K  128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales of groups of 16, d
 *
 * Nibbles of Q4_K, Q5_K: 32 bytes hold group 2j (low) and group 2j + 1 (high). Bit g of high byte i: weight i of group g.
 * Groups 0..3 have scale and minimum in the low 6 bits of bytes g and g + 4; groups 4..7 the low 4 bits in byte g + 4, scale low
 * and minimum high, and the upper 2 bits on top of bytes g - 4 (scale) and g (minimum).
 */
enum { SUPER = 256, GROUPS = 8, K_SCALES = 12, Q4_K_BYTES = 144, Q5_K_BYTES = 176, Q6_K_BYTES = 210 };

static int k_scale(const uint8_t *s, int g) { return g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4; }
static int k_minimum(const uint8_t *s, int g) { return g < 4 ? s[g + 4] & 63 : s[g + 4] >> 4 | (s[g] >> 6) << 4; }

/* high: NULL for Q4_K. */
static void k_block(float *w, const uint8_t *p, const uint8_t *high, const uint8_t *low)
{
    for (int g = 0; g < GROUPS; g++) {
        float d = load_f16(p) * (float)k_scale(p + 4, g), m = load_f16(p + 2) * (float)k_minimum(p + 4, g);
        const uint8_t *q = low + 32 * (g / 2);
        for (int i = 0; i < 32; i++) {
            int code = g % 2 ? q[i] >> 4 : q[i] & 15;
            if (high)
                code |= (high[i] >> g & 1) << 4;
            w[32 * g + i] = d * (float)code - m;
        }
    }
}

static void from_q4_k(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q4_K_BYTES, w += SUPER)
        k_block(w, p, NULL, p + 4 + K_SCALES);
}

static void from_q5_k(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q5_K_BYTES, w += SUPER)
        k_block(w, p, p + 4 + K_SCALES, p + 4 + K_SCALES + 32);
}

/* Of each half of 128, four runs of 32 share 32 high bytes (a bit pair a run); runs 0, 2 and 1, 3 share 32 low bytes each. */
static void from_q6_k(float *w, const uint8_t *p, size_t blocks)
{
    for (; blocks; blocks--, p += Q6_K_BYTES, w += SUPER) {
        float d = load_f16(p + 208);
        for (int i = 0; i < SUPER; i++) {
            int half = i / 128, run = i / 32 % 4, at = i % 32;
            int low = p[64 * half + 32 * (run % 2) + at], high = p[128 + 32 * half + at];
            int code = ((run < 2 ? low & 15 : low >> 4) | (high >> 2 * run & 3) << 4) - 32;
            w[i] = d * (float)(int8_t)p[192 + i / 16] * (float)code;
        }
    }
}

/* ---- the table */

static const struct gtype_info types[GTYPE_COUNT] = {
    [GTYPE_F32] = {"F32", 1, 4, from_f32},
    [GTYPE_F16] = {"F16", 1, 2, from_f16},
    [GTYPE_BF16] = {"BF16", 1, 2, from_bf16},
    [GTYPE_Q4_0] = {"Q4_0", GGUF_BLOCK, Q4_0_BYTES, from_q4_0},
    [GTYPE_Q4_1] = {"Q4_1", GGUF_BLOCK, Q4_1_BYTES, from_q4_1},
    [GTYPE_Q5_0] = {"Q5_0", GGUF_BLOCK, Q5_0_BYTES, from_q5_0},
    [GTYPE_Q5_1] = {"Q5_1", GGUF_BLOCK, Q5_1_BYTES, from_q5_1},
    [GTYPE_Q8_0] = {"Q8_0", GGUF_BLOCK, Q8_0_BYTES, from_q8_0},
    [GTYPE_Q4_K] = {"Q4_K", SUPER, Q4_K_BYTES, from_q4_k},
    [GTYPE_Q5_K] = {"Q5_K", SUPER, Q5_K_BYTES, from_q5_k},
    [GTYPE_Q6_K] = {"Q6_K", SUPER, Q6_K_BYTES, from_q6_k},
    /* of known size only, so that a file holding them can be described */
    [9] = {"Q8_1", 32, 36, NULL},      [10] = {"Q2_K", SUPER, 84, NULL},    [11] = {"Q3_K", SUPER, 110, NULL},
    [15] = {"Q8_K", SUPER, 292, NULL}, [16] = {"IQ2_XXS", SUPER, 66, NULL}, [17] = {"IQ2_XS", SUPER, 74, NULL},
    [18] = {"IQ3_XXS", SUPER, 98, NULL}, [19] = {"IQ1_S", SUPER, 50, NULL}, [20] = {"IQ4_NL", 32, 18, NULL},
    [21] = {"IQ3_S", SUPER, 110, NULL}, [22] = {"IQ2_S", SUPER, 82, NULL},  [23] = {"IQ4_XS", SUPER, 136, NULL},
    [24] = {"I8", 1, 1, NULL},         [25] = {"I16", 1, 2, NULL},          [26] = {"I32", 1, 4, NULL},
    [27] = {"I64", 1, 8, NULL},        [28] = {"F64", 1, 8, NULL},          [29] = {"IQ1_M", SUPER, 56, NULL},
    [34] = {"TQ1_0", SUPER, 54, NULL}, [35] = {"TQ2_0", SUPER, 66, NULL},
};

const struct gtype_info *gtype_info(uint32_t type) { return type < GTYPE_COUNT && types[type].name ? &types[type] : NULL; }

const struct gtype_info *gtype_find(const char *name, enum gtype *type)
{
    for (int i = 0; i < GTYPE_COUNT; i++)
        if (types[i].name && !strcasecmp(types[i].name, name)) {
            *type = (enum gtype)i;
            return &types[i];
        }
    return NULL;
}

size_t gtype_row_bytes(const struct gtype_info *t, size_t cols)
{
    return cols % (size_t)t->weights ? 0 : cols / (size_t)t->weights * (size_t)t->bytes;
}

/* ---- floats to F32, F16, BF16 */

enum status gtype_from_float(enum gtype type, uint8_t *dst, const float *w, size_t n, struct err *e)
{
    const float largest = type == GTYPE_F16 ? 0x1.ffdffep15f : type == GTYPE_BF16 ? 0x1.fefffep127f : FLT_MAX; /* that stays finite */
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(w[i]) <= largest))
            return fail(e, ST_EWRONG, "weight %zu is %g: %s cannot hold it", i, (double)w[i], types[type].name);
        uint16_t half = type == GTYPE_F16 ? fp16_from_float(w[i]) : bf16_from_float(w[i]);
        if (type == GTYPE_F32)
            memcpy(dst + 4 * i, &w[i], 4);
        else
            memcpy(dst + 2 * i, &half, 2);
    }
    return ST_OK;
}

/* ---- codes to blocks */

static enum status check_half(float x, const char *what, size_t block, struct err *e)
{
    if (fp16_round(x) == x)
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "block %zu: %s %.9g is no fp16 number, and GGUF stores no other", block, what, (double)x);
}

enum status gtype_pack_q8_0(uint8_t *dst, const int8_t *codes, const float *scale, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, dst += Q8_0_BYTES) {
        enum status s = check_half(scale[b], "scale", b, e);
        if (s)
            return s;
        store_f16(dst, scale[b]);
        memcpy(dst + 2, codes + b * GGUF_BLOCK, GGUF_BLOCK);
    }
    return ST_OK;
}

/* q (16 bytes) = codes + 8 as nibbles. */
static enum status pack_nibbles(uint8_t *q, const int8_t *codes, size_t block, struct err *e)
{
    for (int i = 0; i < GGUF_BLOCK; i++)
        if (codes[i] < -8 || codes[i] > 7)
            return fail(e, ST_EWRONG, "block %zu: code %d is outside -8..7", block, codes[i]);
    for (int i = 0; i < HALF; i++)
        q[i] = (uint8_t)((codes[i] + 8) | (codes[i + HALF] + 8) << 4);
    return ST_OK;
}

enum status gtype_pack_q4_0(uint8_t *dst, const int8_t *codes, const float *scale, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, dst += Q4_0_BYTES) {
        enum status s = check_half(scale[b], "scale", b, e);
        if (!s)
            s = pack_nibbles(dst + 2, codes + b * GGUF_BLOCK, b, e);
        if (s)
            return s;
        store_f16(dst, scale[b]);
    }
    return ST_OK;
}

/* The m with m + 8 * scale == shift. A sum of two fp16 numbers needs at most 43 bits, so double compares exactly. */
static enum status find_minimum(float *m, float scale, float shift, size_t block, struct err *e)
{
    *m = fp16_round((float)((double)shift - 8.0 * (double)scale));
    if ((double)*m + 8.0 * (double)scale == (double)shift)
        return ST_OK;
    return fail(e, ST_EUNSUPPORTED, "block %zu: shift %.9g - 8 x scale %.9g is no fp16 number, which Q4_1 stores", block, (double)shift,
                (double)scale);
}

enum status gtype_pack_q4_1(uint8_t *dst, const int8_t *codes, const float *scale, const float *shift, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, dst += Q4_1_BYTES) {
        float m = 0;
        enum status s = check_half(scale[b], "scale", b, e);
        if (!s)
            s = find_minimum(&m, scale[b], shift[b], b, e);
        if (!s)
            s = pack_nibbles(dst + 4, codes + b * GGUF_BLOCK, b, e);
        if (s)
            return s;
        store_f16(dst, scale[b]);
        store_f16(dst + 2, m);
    }
    return ST_OK;
}

/* ---- blocks to codes */

static enum status load_finite(float *x, const uint8_t *p, size_t block, struct err *e)
{
    *x = load_f16(p);
    return isfinite(*x) ? ST_OK : fail(e, ST_EFORMAT, "block %zu: its scale or minimum is infinite or not a number", block);
}

enum status gtype_unpack_q8_0(int8_t *codes, float *scale, const uint8_t *src, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, src += Q8_0_BYTES) {
        enum status s = load_finite(&scale[b], src, b, e);
        if (s)
            return s;
        memcpy(codes + b * GGUF_BLOCK, src + 2, GGUF_BLOCK);
        if (memchr(src + 2, 0x80, GGUF_BLOCK))
            return fail(e, ST_EUNSUPPORTED, "block %zu: a code of -128; codes of int8 are -127..127", b);
    }
    return ST_OK;
}

enum status gtype_unpack_q4_0(int8_t *codes, float *scale, const uint8_t *src, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, src += Q4_0_BYTES) {
        enum status s = load_finite(&scale[b], src, b, e);
        if (s)
            return s;
        for (int i = 0; i < GGUF_BLOCK; i++)
            codes[b * GGUF_BLOCK + (size_t)i] = (int8_t)(nibble(src + 2, i) - 8);
    }
    return ST_OK;
}

enum status gtype_unpack_q4_1(int8_t *codes, float *scale, float *shift, const uint8_t *src, size_t blocks, struct err *e)
{
    for (size_t b = 0; b < blocks; b++, src += Q4_1_BYTES) {
        float m = 0;
        enum status s = load_finite(&scale[b], src, b, e);
        if (!s)
            s = load_finite(&m, src + 2, b, e);
        if (s)
            return s;
        double exact = (double)m + 8.0 * (double)scale[b];
        shift[b] = (float)exact;
        if ((double)shift[b] != exact)
            return fail(e, ST_EUNSUPPORTED, "block %zu: minimum %g + 8 x scale %g is no float", b, (double)m, (double)scale[b]);
        for (int i = 0; i < GGUF_BLOCK; i++)
            codes[b * GGUF_BLOCK + (size_t)i] = (int8_t)(nibble(src + 4, i) - 8);
    }
    return ST_OK;
}
