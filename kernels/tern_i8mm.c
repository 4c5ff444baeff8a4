/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_MATMUL_INT8
const struct kernel kernel_tern_i8mm = {I8MM_DESCRIPTION("tern_i8mm", FORMAT_TERN, 16), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_int2, FORMAT_TERN, 4, 1, true)

const struct kernel kernel_tern_i8mm = {I8MM_DESCRIPTION("tern_i8mm", FORMAT_TERN, 16), NEON_FUNCTIONS};
#endif
