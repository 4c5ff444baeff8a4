/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "peak.h"

#include <stdio.h>
#include <string.h>

#include "cpu.h"

#define PEAK(name) extern const struct peak peak_##name;
#include "peaks.def"
#undef PEAK

const struct peak *const peaks[] = {
#define PEAK(name) &peak_##name,
#include "peaks.def"
#undef PEAK
    NULL,
};

const struct peak *peak_find(const char *name)
{
    for (int i = 0; peaks[i]; i++)
        if (strcmp(peaks[i]->name, name) == 0)
            return peaks[i];
    return NULL;
}

void peak_reason(const struct peak *p, char *buf, size_t n)
{
    if (p->run)
        cpu_missing(p->needs, buf, n);
    else
        snprintf(buf, n, "%s", p->absent);
}
