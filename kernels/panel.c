/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel.h"

#include <string.h>

const int8_t panel_pot4[16] = {0, 1, 2, 4, 8, 16, 32, 64, 0, -1, -2, -4, -8, -16, -32, -64};

enum { STEP_MAX = 32, LINE = 64 };

static int panel_count(const struct qlinear *q) { return (q->rows + PANEL_ROWS - 1) / PANEL_ROWS; }

static struct panel layout(const struct qlinear *q) { return panel_layout(q->format, q->cols, q->plane.group, q->plane.shift); }

size_t panel_size(const struct qlinear *q) { return (size_t)panel_count(q) * layout(q).bytes; }

/* What is stored of a code, in the format's bits. */
static unsigned stored(enum format format, int code)
{
    unsigned power = 0;
    if (format == FORMAT_BIN)
        return code > 0;
    if (format != FORMAT_POT4)
        return (unsigned)(code + panel_offset(format));
    for (int size = code < 0 ? -code : code; size; size /= 2)
        power++;
    return code < 0 ? 8 + power : power;
}

/* One row's step; dst is the row's lane in its first line. Bits are added to zeroed memory. */
static void put_step(uint8_t *dst, const unsigned *u, enum format format)
{
    int columns = panel_step_columns(format), bits = formats[format].bits;
    for (int c = 0; c < columns; c++) {
        int byte = c % PANEL_QUAD, quad = c / PANEL_QUAD;
        if (format == FORMAT_INT3) {
            dst[quad / 4 * LINE + byte] |= (uint8_t)((u[c] & 3) << 2 * (quad % 4));
            dst[2 * LINE + byte] |= (uint8_t)((u[c] >> 2) << quad);
        } else {
            int per_byte = 8 / bits;
            dst[quad / per_byte * LINE + byte] |= (uint8_t)(u[c] << bits * (quad % per_byte));
        }
    }
}

static void pack_codes(uint8_t *dst, const struct qlinear *q, const struct panel *p, int row0)
{
    unsigned u[STEP_MAX];
    for (int lane = 0; lane < PANEL_ROWS; lane++) {
        int row = row0 + lane;
        const int8_t *codes = row < q->rows ? q->plane.codes + (size_t)row * (size_t)q->cols : NULL;
        for (int col = 0; col < p->columns; col += p->step_columns) {
            for (int c = 0; c < p->step_columns; c++)
                u[c] = stored(q->format, codes && col + c < q->cols ? codes[col + c] : 0);
            put_step(dst + (size_t)(col / p->step_columns) * p->step_bytes + PANEL_QUAD * lane, u, q->format);
        }
    }
}

/* values (rows, groups), as fp16 or float, a group's 16 together. */
static void pack_values(uint8_t *dst, const struct qlinear *q, const struct panel *p, int row0, const float *values)
{
    for (int g = 0; g < p->groups; g++)
        for (int lane = 0; lane < PANEL_ROWS; lane++) {
            int row = row0 + lane;
            float value = row < q->rows ? values[(size_t)row * (size_t)p->groups + (size_t)g] : 0.0f;
            uint16_t half = fp16_from_float(value);
            uint8_t *at = dst + (size_t)g * p->scale_bytes;
            if (q->plane.group)
                memcpy(at + sizeof half * (size_t)lane, &half, sizeof half);
            else
                memcpy(at + sizeof value * (size_t)lane, &value, sizeof value);
        }
}

void panel_pack(void *dst, const struct qlinear *q)
{
    struct panel p = layout(q);
    for (int i = 0; i < panel_count(q); i++) {
        uint8_t *panel = (uint8_t *)dst + (size_t)i * p.bytes;
        memset(panel, 0, p.bytes);
        pack_codes(panel, q, &p, i * PANEL_ROWS);
        pack_values(panel + p.scale_offset, q, &p, i * PANEL_ROWS, q->plane.scale);
        if (q->plane.shift)
            pack_values(panel + p.scale_offset + p.shift_offset, q, &p, i * PANEL_ROWS, q->plane.shift);
    }
}
