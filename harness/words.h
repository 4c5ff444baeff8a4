/* words.h — the nearest valid word to a misspelled one, for error messages. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WORDS_H
#define QBENCH_WORDS_H

#include "base.h"

/* Offer every valid word, then take the hint: ", did you mean 'gemm'?", or "" when nothing is near. */
struct nearest {
    const char *word; /* borrowed: what was typed */
    const char *best; /* borrowed from what was offered */
    int distance;
};
struct nearest nearest_to(const char *word);
void nearest_offer(struct nearest *n, const char *candidate);
const char *nearest_hint(const struct nearest *n, char *buf, size_t size); /* returns buf */

/* Appends to a ", "-separated list in buf; what does not fit is left out. */
void words_append(char *buf, size_t size, const char *word);

bool words_has(const char *blank_separated, const char *word);

#endif
