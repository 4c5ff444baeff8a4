/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                                    \
    .name = "f32_avx512", .title = "AVX-512: fused multiply-adds of 16, weights where they lie", .format = FORMAT_F32, \
    .needs = ISA_AVX2 | ISA_AVX512, .act = ACT_F32, .n_step = 16, .k_step = 1

#ifndef __AVX512DQ__
const struct kernel kernel_f32_avx512 = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include "fma_avx512.h"

#include "f32_loops.h"

const struct kernel kernel_f32_avx512 = {DESCRIPTION, .packed_size = f32_size, .pack = f32_pack, .gemm = f32_gemm};
#endif
