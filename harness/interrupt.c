/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile int interrupted; /* the one thing that a signal handler can reach */

static void note(int sig) { interrupted = sig; }

volatile const int *interrupt_flag(void)
{
    struct sigaction a = {.sa_handler = note, .sa_flags = SA_RESETHAND};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    return &interrupted;
}
