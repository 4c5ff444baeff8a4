/* gguf_types.h — the element types of GGUF tensors: their blocks, dequantized as the format defines, and as integer codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_TYPES_H
#define QBENCH_GGUF_TYPES_H

#include "base.h"

/* The numbers stand in files. A type that is missing here has no known size, and a tensor of it is refused when a file is opened. */
enum gtype {
    GTYPE_F32 = 0, GTYPE_F16 = 1, GTYPE_Q4_0 = 2, GTYPE_Q4_1 = 3, GTYPE_Q5_0 = 6, GTYPE_Q5_1 = 7, GTYPE_Q8_0 = 8,
    GTYPE_Q4_K = 12, GTYPE_Q5_K = 13, GTYPE_Q6_K = 14, GTYPE_BF16 = 30,
};
enum { GTYPE_COUNT = 36, GGUF_BLOCK = 32 }; /* weights in a block of Q8_0, Q4_0, Q4_1 */

struct gtype_info {
    const char *name; /* "Q4_0"; NULL: no such type */
    int weights;      /* in one block */
    int bytes;        /* of one block */
    /* w (blocks * weights); NULL: a type that qbench knows by its size alone */
    void (*dequantize)(float *w, const uint8_t *block, size_t blocks);
};
const struct gtype_info *gtype_info(uint32_t type); /* NULL: unknown */
const struct gtype_info *gtype_find(const char *name, enum gtype *type); /* by name, in either case; NULL: unknown */

/* Bytes of a row; 0 when cols is no multiple of the block. */
size_t gtype_row_bytes(const struct gtype_info *t, size_t cols);

/* ---- floats to blocks: n values; F16 is rounded to nearest even, BF16 too; ST_EWRONG when F16 cannot hold a finite value */
enum status gtype_from_float(enum gtype type, uint8_t *dst, const float *w, size_t n, struct err *e);

/*
 * ---- codes to blocks of 32 and back; all arrays end to end, block after block.
 *
 * scale is stored as fp16: a value that fp16 does not hold exactly is refused, so that a file means what the codes meant.
 * Q8_0: w = scale * code.
 * Q4_0: w = scale * code, code -8..7, stored as code + 8.
 * Q4_1: w = scale * code + shift; stored are code + 8, scale and m = shift - 8 * scale. Accepted only if some fp16 m fulfils
 *       m + 8 * scale == shift exactly (compared in double, where both sides are exact).
 * A failure is ST_EUNSUPPORTED or ST_EWRONG and names the block, counted from 0.
 */
enum status gtype_pack_q8_0(uint8_t *dst, const int8_t *codes, const float *scale, size_t blocks, struct err *e);
enum status gtype_pack_q4_0(uint8_t *dst, const int8_t *codes, const float *scale, size_t blocks, struct err *e);
enum status gtype_pack_q4_1(uint8_t *dst, const int8_t *codes, const float *scale, const float *shift, size_t blocks, struct err *e);

/*
 * Q8_0: ST_EUNSUPPORTED for a code of -128, which kernels cannot take. Q4_0, Q4_1: codes -8..7. Q4_1: ST_EUNSUPPORTED where
 * m + 8 * scale is no float. All: ST_EFORMAT for a scale that is not finite. The weights can still be read as floats then.
 */
enum status gtype_unpack_q8_0(int8_t *codes, float *scale, const uint8_t *src, size_t blocks, struct err *e);
enum status gtype_unpack_q4_0(int8_t *codes, float *scale, const uint8_t *src, size_t blocks, struct err *e);
enum status gtype_unpack_q4_1(int8_t *codes, float *scale, float *shift, const uint8_t *src, size_t blocks, struct err *e);

#endif
