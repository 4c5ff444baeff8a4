/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                                     \
    .name = "int8a16_avx512", .title = "AVX-512: codes to f32, fused multiply-adds of 16", .format = FORMAT_INT8, \
    .needs = ISA_AVX2 | ISA_AVX512, .act = ACT_BF16, .n_step = 16, .k_step = 8, .shift = true

#ifndef __AVX512DQ__
const struct kernel kernel_int8a16_avx512 = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include "fma_avx512.h"

#include "a16_loops.h"

A16_GEMM(int8, FORMAT_INT8)

const struct kernel kernel_int8a16_avx512 = {DESCRIPTION, .packed_size = panel_size, .pack = panel_pack, .gemm = gemm};
#endif
