/* format.h — the narrow waist: what a quantized linear layer is, whichever method made it and whichever kernel runs it. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FORMAT_H
#define QBENCH_FORMAT_H

#include "base.h"

enum format { FORMAT_F32, FORMAT_INT8, FORMAT_INT4, FORMAT_COUNT };

struct format_info {
    const char *name;  /* "int4" */
    const char *title; /* one line for `qbench list formats` */
    int bits;          /* per stored code */
    int qmax;          /* codes are -qmax..qmax; 0 for float formats */
};
extern const struct format_info formats[FORMAT_COUNT];
const struct format_info *format_find(const char *name); /* NULL: unknown */

/*
 * One plane of codes with its scales. group = columns per scale; 0 = one scale per row (output channel). The last group
 * may be short. Dequantized weight = scale * code. Scales of groups are stored as fp16 (so every value in scale[] is
 * representable in fp16, and was rounded *before* the codes were chosen); a scale per row is stored as f32.
 * γ on weights is folded into scale after the codes are fixed, never into the step that chose them.
 */
struct qplane {
    enum format format;
    int group;
    int8_t *codes; /* (rows, cols) owned */
    float *scale;  /* (rows, groups) owned */
};

/* One linear layer y = x W^T. */
struct qlinear {
    int rows, cols;      /* outputs, inputs */
    enum format format;
    const float *dense;  /* (rows, cols), borrowed: float formats have only this */
    struct qplane plane; /* integer formats */
    float act_gain;      /* γ on this layer's input activations, folded into their dequantizing scale; 1 = off */
};

int qlinear_groups(int cols, int group); /* scales per row */

/* Allocates codes and scales for an integer format; act_gain = 1. Fails with ST_ENOMEM or ST_EUSAGE (group < 0). */
enum status qlinear_alloc(struct qlinear *q, enum format format, int rows, int cols, int group, struct err *e);
void qlinear_free(struct qlinear *q);

/* w (rows, cols) = the float weights that q stands for. */
void qlinear_dequantize(const struct qlinear *q, float *w);

/* Bytes that a file needs for this layer: packed codes (rows start on a byte) + scales (fp16 for groups, f32 per row), or 4 a
 * weight for f32. */
size_t qlinear_bytes(const struct qlinear *q);

#endif
