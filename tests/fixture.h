/* fixture.h — a temporary folder that stands for / where tests point sysroot. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FIXTURE_H
#define QBENCH_FIXTURE_H

#include <stddef.h>

struct fixture {
    char root[64];
};
/* All return 0, or -1 with errno. */
int fixture_open(struct fixture *f);
int fixture_write(const struct fixture *f, const char *path, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int fixture_folder(const struct fixture *f, const char *path); /* with its parents */
int fixture_remove(const struct fixture *f, const char *path); /* with all that is below; "" removes the root */

#endif
