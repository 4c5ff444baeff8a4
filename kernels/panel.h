/* panel.h — the packed weights that every integer kernel reads: panels of 16 rows, contiguous, in the order of use. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_H
#define QBENCH_PANEL_H

#include "format.h"
#include "kernel.h"

/*
 * A matrix is cut into panels of 16 rows (lanes), a panel into steps of 8 columns, then come the panel's scales:
 *
 *     panel  | step 0 | step 1 | … | scales of group 0 | of group 1 | … | padding to 64 bytes |
 *     scales   16 x fp16 a group; 16 x f32 when there is one a row
 *
 *     int8 step, 128 bytes                                  int4 step, 64 bytes
 *              4 bytes: columns          4 bytes: columns            4 bytes: low nibbles columns 0..3,
 *     byte   0 | row  0: 0 1 2 3   64 | row  0: 4 5 6 7    byte   0 | row  0: high nibbles 4..7
 *            4 | row  1: 0 1 2 3   68 | row  1: 4 5 6 7           4 | row  1
 *              | …                    | …                           | …
 *           60 | row 15: 0 1 2 3  124 | row 15: 4 5 6 7          60 | row 15
 *
 * Four columns of a row in one 32-bit lane are what VPDPBUSD (and an AMX tile) eats against four broadcast activations.
 * Stored is code + offset (128 or 8), because that instruction wants one unsigned side: sum (w + offset) x =
 * sum w x + offset * sum x, and the sum of x comes with the activations. Columns are padded to 8 and rows to 16 with
 * zero codes, padding rows with scale 0; results of padding rows are never stored.
 */
enum { PANEL_ROWS = 16, PANEL_COLUMNS = 8 };

struct panel {
    int groups;
    int group;           /* columns per scale, = the padded columns when there is one a row */
    int columns;         /* padded to PANEL_COLUMNS */
    size_t step_bytes;   /* codes of PANEL_COLUMNS columns */
    size_t scale_offset; /* from the panel's begin */
    size_t scale_bytes;  /* of one group */
    size_t bytes;        /* from one panel to the next */
};

static inline int panel_offset(int bits) { return 1 << (bits - 1); }

static inline struct panel panel_layout(int bits, int k, int group)
{
    struct panel p;
    p.columns = (int)round_up((size_t)k, PANEL_COLUMNS);
    p.groups = qlinear_groups(k, group);
    p.group = group ? group : p.columns;
    p.step_bytes = (size_t)(PANEL_ROWS * PANEL_COLUMNS * bits / 8);
    p.scale_offset = (size_t)(p.columns / PANEL_COLUMNS) * p.step_bytes;
    p.scale_bytes = PANEL_ROWS * (group ? sizeof(uint16_t) : sizeof(float));
    p.bytes = round_up(p.scale_offset + (size_t)p.groups * p.scale_bytes, 64);
    return p;
}

/* Steps in group g: the last one may be short. */
static inline int panel_steps(const struct panel *p, int g)
{
    return min_int(p->group, p->columns - g * p->group) / PANEL_COLUMNS;
}

/* The panel that holds row n, n a multiple of PANEL_ROWS. */
static inline const uint8_t *panel_at(const struct panel *p, const void *w, int n)
{
    return (const uint8_t *)w + (size_t)(n / PANEL_ROWS) * p->bytes;
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
