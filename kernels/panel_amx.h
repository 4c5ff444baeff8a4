/* panel_amx.h — gemm over panels with AMX tiles; a kernel file adds how it unpacks its codes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PANEL_AMX_H
#define QBENCH_PANEL_AMX_H

#include "cpu.h"
#include "kernel.h"
#include "panel.h"
#include "tile.h"

/*
 * Signed codes of steps [0,steps) of a panel, as a tile wants them: lines (columns / 4, 16 rows, 4 columns). One or two cycles
 * a line, once for each block of tokens, while the products of a line take 1/16 cycle a token at best.
 */
typedef void amx_unpack(const uint8_t *step, int steps, int8_t *lines);

struct amx_codes {
    enum format format;
    amx_unpack *unpack;
    bool ready; /* what is packed are such lines already, but unsigned: where groups are long, it is multiplied as it stands */
};

void amx_gemm(const struct gemm_args *a, const struct amx_codes *codes);

#define AMX_DESCRIPTION(format_name, format_id, columns)                                        \
    .name = #format_name "_amx", .title = "AMX tiles, 16384 products an instruction",           \
    .format = format_id, .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI | ISA_AMX_INT8,        \
    .act = ACT_INT8, .n_step = PANEL_ROWS, .k_step = columns, .shift = true, .many = true

/* The whole descriptor; columns = the format's columns a step. */
#if TILE
#define AMX_KERNEL(format_name, format_id, columns, is_ready)                                              \
    static void format_name##_gemm(const struct gemm_args *a)                                              \
    {                                                                                                      \
        static const struct amx_codes codes = {format_id, format_name##_unpack, is_ready};                 \
        amx_gemm(a, &codes);                                                                               \
    }                                                                                                      \
    const struct kernel kernel_##format_name##_amx = {AMX_DESCRIPTION(format_name, format_id, columns),    \
                                                      .packed_size = panel_size, .pack = panel_pack, .gemm = format_name##_gemm}
#else
#define AMX_KERNEL(format_name, format_id, columns, is_ready)                                           \
    const struct kernel kernel_##format_name##_amx = {AMX_DESCRIPTION(format_name, format_id, columns), \
                                                      .absent = "this build has no AMX code (not x86-64)"}
#endif

#endif
