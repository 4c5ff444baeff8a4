/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

#define DESCRIPTION                                                                                                    \
    .name = "f32_avx2", .title = "AVX2: fused multiply-adds of 8, weights where they lie", .format = FORMAT_F32, \
    .needs = ISA_AVX2, .act = ACT_F32, .n_step = 16, .k_step = 1

#ifndef __AVX2__
const struct kernel kernel_f32_avx2 = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include "fma_avx2.h"

#include "f32_loops.h"

const struct kernel kernel_f32_avx2 = {DESCRIPTION, .packed_size = f32_size, .pack = f32_pack, .gemm = f32_gemm};
#endif
