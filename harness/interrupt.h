/* interrupt.h — SIGINT and SIGTERM as a flag that long work looks at. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_INTERRUPT_H
#define QBENCH_INTERRUPT_H

/* Installs the handlers and returns the flag. The first signal sets it, so that work can stop in order; the second one kills. */
volatile const int *interrupt_flag(void);

#endif
