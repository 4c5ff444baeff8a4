/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixture.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int fixture_open(struct fixture *f)
{
    strcpy(f->root, "/tmp/qbench-test-XXXXXX");
    return mkdtemp(f->root) ? 0 : -1;
}

/* Every folder of path up to its last '/'. */
static int make_parents(char *path)
{
    for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = 0;
        int bad = mkdir(path, 0755) != 0 && errno != EEXIST;
        *p = '/';
        if (bad)
            return -1;
    }
    return 0;
}

int fixture_folder(const struct fixture *f, const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s/", f->root, path);
    return make_parents(full);
}

int fixture_write(const struct fixture *f, const char *path, const char *fmt, ...)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", f->root, path);
    FILE *out = make_parents(full) == 0 ? fopen(full, "w") : NULL;
    if (!out)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    int bad = vfprintf(out, fmt, ap) < 0;
    va_end(ap);
    return fclose(out) != 0 || bad ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) { return remove(path); }

int fixture_remove(const struct fixture *f, const char *path)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s%s", f->root, path);
    return nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
