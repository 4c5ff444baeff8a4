/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_avx2.h"

AVX2_KERNEL(bin, BIN, 32, 64);
