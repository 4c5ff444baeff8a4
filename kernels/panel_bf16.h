/* panel_bf16.h — the packed bf16 weights that every bf16 kernel reads: panels of 16 rows, pairs of columns side by side. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_BF16_H
#define QBENCH_PANEL_BF16_H

#include "kernel.h"

/*
 *     panel  | pair 0 | pair 1 | …          pair, 64 bytes: columns 2 j, 2 j + 1 of row 0 | of row 1 | … | of row 15
 *
 * Two columns of a row in one 32-bit lane are what VDPBF16PS (and an AMX tile) eats against two broadcast activations.
 * Columns are padded to pairs and rows to 16 with zeros.
 */
enum { BF16_ROWS = 16, BF16_PAIR = 2 };

static inline int bf16_pairs(int k) { return (k + BF16_PAIR - 1) / BF16_PAIR; }
static inline size_t bf16_panel_bytes(int k) { return (size_t)bf16_pairs(k) * BF16_ROWS * BF16_PAIR * sizeof(uint16_t); }

/* The panel that holds row n, n a multiple of BF16_ROWS. */
static inline const uint16_t *bf16_panel(const struct gemm_args *a, int n)
{
    return (const uint16_t *)((const uint8_t *)a->w + (size_t)(n / BF16_ROWS) * bf16_panel_bytes(a->k));
}

/* packed_size and pack of every bf16 kernel. */
size_t bf16_size(const struct qlinear *q);
void bf16_pack(void *dst, const struct qlinear *q);

#endif
