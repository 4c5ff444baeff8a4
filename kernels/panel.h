/* panel.h — the packed weights that every integer kernel reads: panels of 16 rows, contiguous, in the order of use. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_H
#define QBENCH_PANEL_H

#include "format.h"
#include "kernel.h"

/*
 * A matrix is cut into panels of 16 rows (lanes), a panel into steps of 8 to 32 columns, then come the panel's scales:
 *
 *     panel  | step 0 | step 1 | … | scales of group 0, shifts of group 0 | of group 1 | … | padding to 64 bytes |
 *     scales   16 x fp16 a group; 16 x f32 when there is one a row; shifts, if there are any, the same
 *
 * A step is made of quads: four columns of a row in one 32-bit lane, 16 lanes, are what VPDPBUSD (and an AMX tile) eats
 * against four broadcast activations. What is stored is u = code + offset, because that instruction wants one unsigned
 * side: sum u x = sum w x + offset * sum x, and the sum of x comes with the activations. A byte holds its column of several quads:
 *
 *              columns  bytes  offset  64-byte lines of a step; byte c of lane r (at 4 r + c) holds of row r …
 *     int8        8      128    128    line j: column 4 j + c
 *     int4        8       64      8    low nibble column c, high nibble column 4 + c
 *     pot4        8       64     64    the same; a nibble is the index of its code in panel_pot4
 *     int2       16       64      2    bits 2 j, 2 j + 1: column 4 j + c
 *     tern       16       64      1    the same
 *     int3       32      192      4    lines 0, 1: low two bits of u, as int2, columns 0..15, 16..31; line 2: bit j: the high one
 *                                      of column 4 j + c
 *     bin        32       64      1    bit j: column 4 j + c, 1 for code 1; u = 0 or 2
 *
 * Columns are padded to whole steps with any codes (activations there are 0) and rows to 16, those with scale and shift
 * 0; results of padding rows are never stored.
 */
enum { PANEL_ROWS = 16, PANEL_QUAD = 4 };

struct panel {
    int groups;
    int group;           /* columns per scale, = the padded columns when there is one a row */
    int columns;         /* padded to whole steps */
    int step_columns;
    size_t step_bytes;
    size_t scale_offset; /* from the panel's begin */
    size_t scale_bytes;  /* of one group, shifts included */
    size_t shift_offset; /* from a group's scales to its shifts */
    size_t bytes;        /* from one panel to the next */
};

static inline int panel_step_columns(enum format format)
{
    switch (format) {
    case FORMAT_INT2:
    case FORMAT_TERN: return 16;
    case FORMAT_INT3:
    case FORMAT_BIN: return 32;
    default: return 8;
    }
}

/* What is added to a code to make it unsigned. */
static inline int panel_offset(enum format format)
{
    return format == FORMAT_INT8 ? 128 : -formats[format].qmin;
}

/* pot4's codes by nibble; nibble 8 is never written. */
extern const int8_t panel_pot4[16];

static inline struct panel panel_layout(enum format format, int k, int group, bool shift)
{
    struct panel p;
    p.step_columns = panel_step_columns(format);
    p.columns = (int)round_up((size_t)k, (size_t)p.step_columns);
    p.groups = qlinear_groups(k, group);
    p.group = group ? group : p.columns;
    p.step_bytes = (size_t)(PANEL_ROWS * p.step_columns * formats[format].bits / 8);
    p.scale_offset = (size_t)(p.columns / p.step_columns) * p.step_bytes;
    p.shift_offset = PANEL_ROWS * (group ? sizeof(uint16_t) : sizeof(float));
    p.scale_bytes = p.shift_offset * (shift ? 2 : 1);
    p.bytes = round_up(p.scale_offset + (size_t)p.groups * p.scale_bytes, 64);
    return p;
}

/* Steps in group g: the last one may be short. */
static inline int panel_steps(const struct panel *p, int g)
{
    return min_int(p->group, p->columns - g * p->group) / p->step_columns;
}

/* The panel that holds row n, n a multiple of PANEL_ROWS. */
static inline const uint8_t *panel_at(const struct panel *p, const void *w, int n)
{
    return (const uint8_t *)w + (size_t)(n / PANEL_ROWS) * p->bytes;
}

/* The first step of group g, and its scales; its shifts stand shift_offset behind them. */
static inline const uint8_t *panel_step(const struct panel *p, const uint8_t *panel, int g)
{
    return panel + (size_t)g * (size_t)(p->group / p->step_columns) * p->step_bytes;
}
static inline const uint8_t *panel_scale(const struct panel *p, const uint8_t *panel, int g)
{
    return panel + p->scale_offset + (size_t)g * p->scale_bytes;
}

/* Ahead of a loop over an array of accumulators: only unrolled whole, and early, does the array become registers. */
#ifdef __clang__
#define PANEL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PANEL_UNROLL _Pragma("GCC unroll 12")
#endif

/* packed_size and pack of every integer kernel. */
size_t panel_size(const struct qlinear *q);
void panel_pack(void *dst, const struct qlinear *q);

#endif
