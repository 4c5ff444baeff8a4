/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel.h"

#include <string.h>

static int panel_count(const struct qlinear *q) { return (q->rows + PANEL_ROWS - 1) / PANEL_ROWS; }

size_t panel_size(const struct qlinear *q)
{
    return (size_t)panel_count(q) * panel_layout(formats[q->format].bits, q->cols, q->plane.group).bytes;
}

/* One row's codes of one step, as columns stand: 4 bytes here, 4 bytes at +64; or 4 bytes of two nibbles. */
static void put_codes(uint8_t *dst, const uint8_t code[PANEL_COLUMNS], int bits)
{
    for (int c = 0; c < 4; c++)
        if (bits == 4) {
            dst[c] = (uint8_t)(code[c] | code[c + 4] << 4);
        } else {
            dst[c] = code[c];
            dst[c + 64] = code[c + 4];
        }
}

static void pack_codes(uint8_t *dst, const struct qlinear *q, const struct panel *p, int row0, int bits)
{
    int offset = panel_offset(bits);
    for (int lane = 0; lane < PANEL_ROWS; lane++) {
        int row = row0 + lane;
        const int8_t *codes = row < q->rows ? q->plane.codes + (size_t)row * (size_t)q->cols : NULL;
        for (int col = 0; col < p->columns; col += PANEL_COLUMNS) {
            uint8_t code[PANEL_COLUMNS];
            for (int c = 0; c < PANEL_COLUMNS; c++)
                code[c] = (uint8_t)(codes && col + c < q->cols ? codes[col + c] + offset : offset);
            put_codes(dst + (size_t)(col / PANEL_COLUMNS) * p->step_bytes + 4 * lane, code, bits);
        }
    }
}

static void pack_scales(uint8_t *dst, const struct qlinear *q, const struct panel *p, int row0)
{
    for (int g = 0; g < p->groups; g++)
        for (int lane = 0; lane < PANEL_ROWS; lane++) {
            int row = row0 + lane;
            float scale = row < q->rows ? q->plane.scale[(size_t)row * (size_t)p->groups + (size_t)g] : 0.0f;
            uint16_t half = fp16_from_float(scale);
            uint8_t *at = dst + (size_t)g * p->scale_bytes;
            if (q->plane.group)
                memcpy(at + 2 * lane, &half, sizeof half);
            else
                memcpy(at + 4 * lane, &scale, sizeof scale);
        }
}

void panel_pack(void *dst, const struct qlinear *q)
{
    int bits = formats[q->format].bits;
    struct panel p = panel_layout(bits, q->cols, q->plane.group);
    for (int i = 0; i < panel_count(q); i++) {
        uint8_t *panel = (uint8_t *)dst + (size_t)i * p.bytes;
        memset(panel + p.scale_offset, 0, p.bytes - p.scale_offset);
        pack_codes(panel, q, &p, i * PANEL_ROWS, bits);
        pack_scales(panel + p.scale_offset, q, &p, i * PANEL_ROWS);
    }
}
