/* result.h — everything that running one case produced, on its way from the child through the runner into the database. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_RESULT_H
#define QBENCH_RESULT_H

#include "meter.h"

enum outcome { OUTCOME_OK, OUTCOME_SKIPPED, OUTCOME_UNTRUSTED, OUTCOME_WRONG, OUTCOME_FAILED, OUTCOME_TIMEOUT, OUTCOME_COUNT };
extern const char *const outcome_names[OUTCOME_COUNT];

struct sample {
    double seconds, units;
    long order; /* position among all samples of the group: shows the interleaving */
};
struct value {
    char name[48], unit[16];
    double value, lo, hi;    /* NaN: absent; lo, hi NaN: no interval */
    char text[256];          /* a text value, or the reason why value is absent */
};
struct blob {
    char name[48], type[8];
    void *data; /* owned */
    size_t bytes;
};
struct result {
    enum outcome outcome;
    char reason[512]; /* each outcome but ok has one */
    double wall_seconds;
    struct sample *samples;
    struct reading *readings; /* reading.sample: index of its sample, -1 = the block */
    struct value *values;
    struct blob *blobs;
    size_t n_samples, n_readings, n_values, n_blobs; /* arrays are owned and grown by result_add_* */
};

void result_clear(struct result *r); /* frees everything, leaves an empty ok result */
enum status result_add_sample(struct result *r, const struct sample *s);
enum status result_add_reading(struct result *r, const struct reading *x);
enum status result_add_value(struct result *r, const struct value *v);
enum status result_add_blob(struct result *r, const char *name, const char *type, const void *data, size_t bytes);

#endif
