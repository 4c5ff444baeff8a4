/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "panel_avxvnni.h"

AVXVNNI_KERNEL(int4, INT4, 8);
