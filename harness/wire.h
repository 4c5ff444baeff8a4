/* wire.h — the messages between a runner and its child: framed, typed, same binary on both ends. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WIRE_H
#define QBENCH_WIRE_H

#include "case.h"
#include "result.h"

/* What a child is given, one a case, on its standard input. Pointers do not cross an exec, so a case travels as its key. */
struct wire_case {
    char key[CASE_KEY_MAX], section[64];
    struct settings settings;
};

enum wire_type {
    WIRE_AT,      /* payload: the phase in words; this case is being worked on from now */
    WIRE_SAMPLE,  /* struct sample */
    WIRE_READING, /* struct wire_reading */
    WIRE_VALUE,   /* struct value */
    WIRE_BLOB,    /* struct wire_blob, then the data */
    WIRE_OUTCOME, /* struct wire_outcome: the case is done, all of it was sent */
};
struct wire_header {
    uint32_t type;
    int32_t index; /* of the case in the group */
    uint64_t bytes;
};
struct wire_reading {
    struct reading reading; /* its string pointers are replaced by … */
    char meter[32], metric[48], unit[16];
};
struct wire_blob {
    char name[48], type[8];
};
struct wire_outcome {
    int32_t outcome;
    double wall_seconds;
    char reason[512];
};

/* Both return false at end of file or on an error. */
bool wire_read(int fd, void *buf, size_t bytes);
bool wire_write(int fd, const void *buf, size_t bytes);
bool wire_send(int fd, enum wire_type type, int index, const void *head, size_t head_bytes, const void *body, size_t body_bytes);

#endif
