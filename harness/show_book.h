/* show_book.h — the results of one run with their axes and named values, as the tables of show look them up. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_SHOW_BOOK_H
#define QBENCH_SHOW_BOOK_H

#include "store.h"

struct book {
    struct table *results; /* owned: rows of result_axes, in the order of the run's cases */
    struct table *values;  /* owned: ordered by result_id and name */
};

/* works: "'gemm', 'peak'": SQL literals. */
enum status book_open(struct book *b, struct store *s, int64_t run, const char *works, struct err *e);
void book_close(struct book *b);

size_t book_size(const struct book *b);
const char *book_text(const struct book *b, size_t row, const char *axis); /* "" where the case has no such axis */
long long book_int(const struct book *b, size_t row, const char *axis);    /* 0 there */
bool book_is(const struct book *b, size_t row, const char *axis, const char *value);
bool book_measured(const struct book *b, size_t row);                      /* ok or untrusted: it has numbers */
bool book_varies(const struct book *b, const char *axis);

struct named {
    double value, lo, hi; /* NaN: absent */
    const char *unit;
    const char *reason;   /* why value is absent; NULL when it is there */
};
struct named book_value(const struct book *b, size_t row, const char *name);

/* Into the last row of t: the axis as it is; a named value times scale, with its interval, or its reason. */
void book_put_axis(const struct book *b, size_t row, const char *axis, struct table *t, int column);
void book_put(const struct book *b, size_t row, const char *name, double scale, struct table *t, int column);

#endif
