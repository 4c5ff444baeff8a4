/* prepare.h — the progress line of training, for whoever trains. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_PREPARE_H
#define QBENCH_PREPARE_H

#include "train.h"

struct trainer_line {
    bool quiet, terminal;
    double printed; /* when */
};

/* train_spec.progress with a struct trainer_line: a line every half second on a terminal, every ten seconds in a log. */
void show_training(void *line, const struct train_progress *p);

#endif
