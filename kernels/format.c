/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "format.h"

#include <string.h>

const struct format_info formats[FORMAT_COUNT] = {
    [FORMAT_F32] = {"f32", "IEEE single precision, the reference", 32, 0},
    [FORMAT_INT8] = {"int8", "8-bit symmetric integers in [-127,127], a scale per row or group", 8, 127},
    [FORMAT_INT4] = {"int4", "4-bit symmetric integers in [-7,7], a scale per row or group", 4, 7},
};

const struct format_info *format_find(const char *name)
{
    for (int i = 0; i < FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
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

void qlinear_free(struct qlinear *q)
{
    mem_free(q->plane.codes);
    mem_free(q->plane.scale);
    *q = (struct qlinear){0};
}

void qlinear_dequantize(const struct qlinear *q, float *w)
{
    size_t rows = (size_t)q->rows, cols = (size_t)q->cols;
    if (formats[q->format].qmax == 0) {
        memcpy(w, q->dense, rows * cols * sizeof *w);
        return;
    }
    size_t groups = (size_t)qlinear_groups(q->cols, q->plane.group);
    size_t group = q->plane.group ? (size_t)q->plane.group : cols;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            w[r * cols + c] = q->plane.scale[r * groups + c / group] * (float)q->plane.codes[r * cols + c];
}

size_t qlinear_bytes(const struct qlinear *q)
{
    size_t rows = (size_t)q->rows, row_bits = (size_t)q->cols * (size_t)formats[q->format].bits;
    size_t bytes = rows * ((row_bits + 7) / 8); /* every row starts on a byte */
    if (formats[q->format].qmax)
        bytes += rows * (size_t)qlinear_groups(q->cols, q->plane.group) * (q->plane.group ? sizeof(uint16_t) : sizeof(float));
    return bytes;
}
