/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "format.h"

#include <string.h>

const struct format_info formats[FORMAT_COUNT] = {
    [FORMAT_F32] = {"f32", "IEEE single precision, the reference", 32, 0, 0},
    [FORMAT_BF16] = {"bf16", "bfloat16: a float's sign, exponent and 7 bits of its fraction", 16, 0, 0},
    [FORMAT_INT8] = {"int8", "8-bit integers in [-127,127], a scale per row or group", 8, 127, -127},
    [FORMAT_INT4] = {"int4", "4-bit integers in [-8,7], a scale per row or group", 4, 7, -8},
    [FORMAT_INT3] = {"int3", "3-bit integers in [-4,3], a scale per row or group", 3, 3, -4},
    [FORMAT_INT2] = {"int2", "2-bit integers in [-2,1], a scale per row or group", 2, 1, -2},
    [FORMAT_TERN] = {"tern", "ternary: -1, 0, 1 in 2 bits, a scale per row or group", 2, 1, -1},
    [FORMAT_BIN] = {"bin", "binary: -1 and 1 in 1 bit, a scale per row or group", 1, 1, -1},
    [FORMAT_POT4] = {"pot4", "powers of two in 4 bits: 0 and ±1, ±2, … ±64, a scale per row or group", 4, 64, -64},
};

const struct format_info *format_find(const char *name)
{
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

bool format_shifts(enum format format) { return format >= FORMAT_INT8 && format <= FORMAT_INT2; }

bool format_holds(enum format format, int code)
{
    int size = code < 0 ? -code : code;
    if (code < formats[format].qmin || code > formats[format].qmax || formats[format].qmax == 0)
        return false;
    if (format == FORMAT_POT4)
        return (size & (size - 1)) == 0;
    return format != FORMAT_BIN || code != 0;
}

static int8_t nearest_power(float v)
{
    float size = v < 0 ? -v : v, power = size < 0.5f ? 0.0f : 1.0f;
    while (power > 0 && power < 64 && size >= 1.5f * power)
        power *= 2;
    return (int8_t)(v < 0 ? -power : power);
}

int8_t format_nearest(enum format format, float v)
{
    if (format == FORMAT_POT4)
        return nearest_power(v);
    if (format == FORMAT_BIN)
        return v < 0 ? -1 : 1;
    float limit = (float)formats[format].qmax;
    v = v < -limit ? -limit : v > limit ? limit : v;
    return (int8_t)((v + 0x1.8p23f) - 0x1.8p23f);
}

int qlinear_groups(int cols, int group) { return group ? (int)(((int64_t)cols + group - 1) / group) : 1; }

enum status qlinear_alloc(struct qlinear *q, enum format format, int rows, int cols, int group, struct err *e)
{
    *q = (struct qlinear){.format = format, .act_gain = 1.0f};
    if (formats[format].qmax == 0)
        return fail(e, ST_EUSAGE, "format %s has no codes to allocate: a float layer borrows its weights", formats[format].name);
    if (rows <= 0 || cols <= 0)
        return fail(e, ST_EUSAGE, "a layer of %d x %d weights cannot be quantized: both must be at least 1", rows, cols);
    if (group < 0)
        return fail(e, ST_EUSAGE, "group %d: use 0 for one scale a row, or the number of columns a scale", group);
    q->rows = rows;
    q->cols = cols;
    q->plane.format = format;
    q->plane.group = group;
    q->plane.codes = mem_alloc((size_t)rows * (size_t)cols, sizeof *q->plane.codes);
    if (q->plane.codes)
        q->plane.scale = mem_alloc((size_t)rows * (size_t)qlinear_groups(cols, group), sizeof *q->plane.scale);
    if (q->plane.scale)
        return ST_OK;
    qlinear_free(q);
    return fail(e, ST_ENOMEM, "no memory for the codes of a %d x %d layer in %s", rows, cols, formats[format].name);
}

enum status qlinear_alloc_shift(struct qlinear *q, struct err *e)
{
    q->plane.shift = mem_alloc((size_t)q->rows * (size_t)qlinear_groups(q->cols, q->plane.group), sizeof *q->plane.shift);
    return q->plane.shift ? ST_OK : fail(e, ST_ENOMEM, "no memory for the shifts of a %d x %d layer", q->rows, q->cols);
}

void qlinear_free(struct qlinear *q)
{
    mem_free(q->plane.codes);
    mem_free(q->plane.scale);
    mem_free(q->plane.shift);
    *q = (struct qlinear){0};
}

static void dequantize_row(const struct qlinear *q, int r, float *w)
{
    int groups = qlinear_groups(q->cols, q->plane.group), group = q->plane.group ? q->plane.group : q->cols;
    const int8_t *codes = q->plane.codes + (size_t)r * (size_t)q->cols;
    for (int g = 0; g < groups; g++) {
        size_t slot = (size_t)r * (size_t)groups + (size_t)g;
        float scale = q->plane.scale[slot], shift = q->plane.shift ? q->plane.shift[slot] : 0.0f;
        for (int c = g * group; c < min_int((g + 1) * group, q->cols); c++)
            w[c] = scale * (float)codes[c] + shift;
    }
}

static void round_row(const struct qlinear *q, int r, float *w)
{
    const float *dense = q->dense + (size_t)r * (size_t)q->cols;
    for (int c = 0; c < q->cols; c++)
        w[c] = q->format == FORMAT_BF16 ? bf16_round(dense[c]) : dense[c];
}

void qlinear_dequantize_rows(const struct qlinear *q, int begin, int end, float *w)
{
    for (int r = begin; r < end; r++, w += q->cols)
        if (formats[q->format].qmax)
            dequantize_row(q, r, w);
        else
            round_row(q, r, w);
}

void qlinear_dequantize(const struct qlinear *q, float *w) { qlinear_dequantize_rows(q, 0, q->rows, w); }

size_t qlinear_bytes(const struct qlinear *q)
{
    size_t rows = (size_t)q->rows, row_bits = (size_t)q->cols * (size_t)formats[q->format].bits;
    size_t bytes = rows * ((row_bits + 7) / 8); /* every row starts on a byte */
    if (formats[q->format].qmax)
        bytes += rows * (size_t)qlinear_groups(q->cols, q->plane.group) * (q->plane.group ? sizeof(uint16_t) : sizeof(float)) *
                 (q->plane.shift ? 2 : 1);
    return bytes;
}
