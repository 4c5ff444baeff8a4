/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_DOTPROD
const struct kernel kernel_bin_dotprod = {DOTPROD_DESCRIPTION("bin_dotprod", FORMAT_BIN, 32), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_bin, FORMAT_BIN, 8, 1, false)

const struct kernel kernel_bin_dotprod = {DOTPROD_DESCRIPTION("bin_dotprod", FORMAT_BIN, 32), NEON_FUNCTIONS};
#endif
