/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_avx2.h"

AVX2_KERNEL(int8, INT8, 8, AVX2_SIGNED);
