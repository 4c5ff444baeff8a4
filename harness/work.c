/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work.h"

#include <string.h>

#define WORK(name) extern const struct work work_##name;
#include "works.def"
#undef WORK

const struct work *const works[] = {
#define WORK(name) &work_##name,
#include "works.def"
#undef WORK
    NULL,
};

const struct work *work_find(const char *name)
{
    for (int i = 0; works[i]; i++)
        if (strcmp(works[i]->name, name) == 0)
            return works[i];
    return NULL;
}
