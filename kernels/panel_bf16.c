/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_bf16.h"

static int panel_count(const struct qlinear *q) { return (q->rows + BF16_ROWS - 1) / BF16_ROWS; }

size_t bf16_size(const struct qlinear *q) { return (size_t)panel_count(q) * bf16_panel_bytes(q->cols); }

void bf16_pack(void *dst, const struct qlinear *q)
{
    uint16_t *w = dst;
    for (int row0 = 0; row0 < q->rows; row0 += BF16_ROWS)
        for (int j = 0; j < bf16_pairs(q->cols); j++)
            for (int lane = 0; lane < BF16_ROWS; lane++)
                for (int c = BF16_PAIR * j; c < BF16_PAIR * (j + 1); c++) {
                    int row = row0 + lane;
                    bool inside = row < q->rows && c < q->cols;
                    *w++ = inside ? bf16_from_float(q->dense[(size_t)row * (size_t)q->cols + (size_t)c]) : 0;
                }
}
