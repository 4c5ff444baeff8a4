/* work_session.h — what prefill and decode share: a session with seeded prompts, its check, its latencies, its phases. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_WORK_SESSION_H
#define QBENCH_WORK_SESSION_H

#include "work_model.h"

struct job {
    struct model_job model;
    struct infer *session;
    int32_t *ids;            /* (batch, prompt) seeded random tokens: speed does not depend on which */
    float *logits, *kept;    /* (batch, vocab): now, and those that the check saw */
    int batch, depth;        /* depth: tokens in the cache before the prompt, never forgotten */
    int prompt, generate;    /* generate = 0: prefill */
    int32_t *next, *first;   /* (batch): tokens to feed; those that the prompts led to */
    double open_seconds;
    double peak_bytes;       /* that loading and the first prefill added to the process */
    float *latencies;        /* ring of the latest steps */
    size_t n_latencies;
};

enum status session_resolve(struct bench_case *c, struct err *e);
enum status session_open_prefill(struct job **out, const struct bench_case *c, struct err *e);
enum status session_open_decode(struct job **out, const struct bench_case *c, struct err *e);
enum status session_check(struct job *j, struct err *e);
enum status session_results(struct job *j, struct emitter *m, struct err *e);
void session_close(struct job *j);
void session_begin(struct job *j); /* forgets the latencies of warming up */

void session_prefill(struct job *j); /* behind the depth */
void session_rewind(struct job *j); /* to the end of the prompt, whose cache is kept */
void session_step(struct job *j);
void session_note_latency(struct job *j, double seconds);

#endif
