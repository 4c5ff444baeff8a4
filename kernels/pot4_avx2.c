/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_avx2.h"

AVX2_KERNEL(pot4, POT4, 8, 1);
