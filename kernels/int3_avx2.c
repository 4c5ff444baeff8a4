/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_avx2.h"

AVX2_KERNEL(int3, INT3, 32, 18);
