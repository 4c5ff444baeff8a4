/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const outcome_names[OUTCOME_COUNT] = {"ok", "skipped", "untrusted", "wrong", "failed", "timeout"};

void result_clear(struct result *r)
{
    for (size_t i = 0; i < r->n_blobs; i++)
        free(r->blobs[i].data);
    free(r->samples);
    free(r->readings);
    free(r->values);
    free(r->blobs);
    *r = (struct result){.outcome = OUTCOME_OK};
}

/* Room for one more: capacities are the powers of two, so that the count alone says when one is full. */
static enum status grow(void **array, size_t count, size_t size)
{
    if (count & (count - 1))
        return ST_OK;
    size_t bytes;
    if (__builtin_mul_overflow(count ? count * 2 : 1, size, &bytes))
        return ST_ENOMEM;
    void *p = realloc(*array, bytes);
    if (!p)
        return ST_ENOMEM;
    *array = p;
    return ST_OK;
}

#define ADD(array, count, item) \
    do { \
        void *grown = array; \
        if (grow(&grown, count, sizeof *array) != ST_OK) \
            return ST_ENOMEM; \
        array = grown; \
        array[count++] = (item); \
        return ST_OK; \
    } while (0)

enum status result_add_sample(struct result *r, const struct sample *s) { ADD(r->samples, r->n_samples, *s); }
enum status result_add_reading(struct result *r, const struct reading *x) { ADD(r->readings, r->n_readings, *x); }
enum status result_add_value(struct result *r, const struct value *v) { ADD(r->values, r->n_values, *v); }

static enum status add_blob(struct result *r, const struct blob *b) { ADD(r->blobs, r->n_blobs, *b); }

enum status result_add_blob(struct result *r, const char *name, const char *type, const void *data, size_t bytes)
{
    struct blob b = {.data = malloc(bytes ? bytes : 1), .bytes = bytes};
    if (!b.data)
        return ST_ENOMEM;
    memcpy(b.data, data, bytes);
    snprintf(b.name, sizeof b.name, "%s", name);
    snprintf(b.type, sizeof b.type, "%s", type);
    if (add_blob(r, &b) == ST_OK)
        return ST_OK;
    free(b.data);
    return ST_ENOMEM;
}
