/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_MATMUL_INT8
const struct kernel kernel_bin_i8mm = {I8MM_DESCRIPTION("bin_i8mm", FORMAT_BIN, 32), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_bin, FORMAT_BIN, 8, 1, true)

const struct kernel kernel_bin_i8mm = {I8MM_DESCRIPTION("bin_i8mm", FORMAT_BIN, 32), NEON_FUNCTIONS};
#endif
