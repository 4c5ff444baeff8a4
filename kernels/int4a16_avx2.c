/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                                     \
    .name = "int4a16_avx2", .title = "AVX2: codes to f32, fused multiply-adds of 8", .format = FORMAT_INT4, \
    .needs = ISA_AVX2, .act = ACT_BF16, .n_step = 16, .k_step = 8, .shift = true

#ifndef __AVX2__
const struct kernel kernel_int4a16_avx2 = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include "fma_avx2.h"

#include "a16_loops.h"

A16_GEMM(int4, FORMAT_INT4)

const struct kernel kernel_int4a16_avx2 = {DESCRIPTION, .packed_size = panel_size, .pack = panel_pack, .gemm = gemm};
#endif
