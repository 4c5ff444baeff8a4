/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "panel_neon.h"

#ifndef __ARM_FEATURE_DOTPROD
const struct kernel kernel_pot4_dotprod = {DOTPROD_DESCRIPTION("pot4_dotprod", FORMAT_POT4, 8), .absent = "not an arm64 build"};
#else
NEON_GEMM(neon_pot4, FORMAT_POT4, 2, 0, false)

const struct kernel kernel_pot4_dotprod = {DOTPROD_DESCRIPTION("pot4_dotprod", FORMAT_POT4, 8), NEON_FUNCTIONS};
#endif
