/* format.h — the narrow waist: what a quantized linear layer is, whichever method made it and whichever kernel runs it. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FORMAT_H
#define QBENCH_FORMAT_H

#include "base.h"

enum format {
    FORMAT_F32,
    FORMAT_BF16,
    FORMAT_INT8,
    FORMAT_INT4,
    FORMAT_INT3,
    FORMAT_INT2,
    FORMAT_TERN,
    FORMAT_BIN,
    FORMAT_POT4,
    FORMAT_COUNT
};

struct format_info {
    const char *name;  /* "int4" */
    const char *title; /* one line for `qbench list formats` */
    int bits;          /* per stored code */
    int qmax;          /* the largest code; 0 for float formats */
    int qmin;          /* the smallest. Symmetric methods use -qmax..qmax; the one code more is for zero points and imports */
};
extern const struct format_info formats[FORMAT_COUNT];
const struct format_info *format_find(const char *name); /* NULL: unknown */

/* Can it have a zero point? Integers can; tern, bin and pot4 are symmetric by definition. */
bool format_shifts(enum format format);

/* Is it a code of this format? Between qmin and qmax, and for bin not 0, for pot4 0 or a power of two with a sign. */
bool format_holds(enum format format, int code);

/* The code nearest to v: integers half to even between -qmax and qmax; pot4 by value, not by exponent, halfway to the larger;
 * bin by sign, 0 to 1. NaN gives some code. */
int8_t format_nearest(enum format format, float v);

/*
 * One plane of codes with its scales. group = columns per scale; 0 = one scale per row (output channel). The last group
 * may be short. Dequantized weight = scale * code + shift. A shift is how a zero point z is stored: -scale * z, so that z need
 * not be whole; symmetric planes have none. Scales and shifts of groups are stored as fp16 (so every value in them is
 * representable in fp16, and was rounded *before* the codes were chosen); those of rows are stored as f32.
 * γ on weights is folded into scale after the codes are fixed, never into the step that chose them.
 */
struct qplane {
    enum format format;
    int group;
    int8_t *codes; /* (rows, cols) owned; for pot4 the power itself: 0, ±1, ±2, … ±64 */
    float *scale;  /* (rows, groups) owned */
    float *shift;  /* (rows, groups) owned; NULL: symmetric */
};

/* One linear layer y = x W^T. */
struct qlinear {
    int rows, cols;      /* outputs, inputs */
    enum format format;
    const float *dense;  /* (rows, cols), borrowed: float formats have only this; bf16 kernels round it when they pack */
    struct qplane plane; /* integer formats */
    float act_gain;      /* γ on this layer's input activations, folded into their dequantizing scale; 1 = off */
};

int qlinear_groups(int cols, int group); /* scales per row */

/* Allocates codes and scales for an integer format; act_gain = 1. Fails with ST_ENOMEM or ST_EUSAGE (group < 0). */
enum status qlinear_alloc(struct qlinear *q, enum format format, int rows, int cols, int group, struct err *e);
/* Adds a shift (0) to every scale of an integer layer. */
enum status qlinear_alloc_shift(struct qlinear *q, struct err *e);
void qlinear_free(struct qlinear *q);

/* w (rows, cols) = the float weights that q stands for. */
void qlinear_dequantize(const struct qlinear *q, float *w);
/* Rows [begin,end) of them: w (end - begin, cols). */
void qlinear_dequantize_rows(const struct qlinear *q, int begin, int end, float *w);

/* Bytes that a file needs for this layer: packed codes (rows start on a byte) + scales and shifts (fp16 for groups, f32 per row),
 * or 4 a weight for f32, 2 for bf16. */
size_t qlinear_bytes(const struct qlinear *q);

#endif
