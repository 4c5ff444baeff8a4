/* Decode: greedy generation, one token at a time, after a prompt. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_session.h"

/* The prompt is not timed here: a sample rewinds to its end and generates again. */
static double once(struct job *j)
{
    session_rewind(j);
    for (int i = 0; i < j->generate; i++) {
        double start = now_seconds();
        session_step(j);
        session_note_latency(j, now_seconds() - start);
    }
    return (double)j->generate * j->batch;
}

/* Of one token: a step reads the weights once for the whole batch, and each sequence all of its own cache. */
static void amounts(struct job *j, double *ops, double *bytes)
{
    double seen = j->depth + j->prompt + 0.5 * (j->generate + 1);
    *ops = infer_ops(j->session) + infer_attention_ops(j->session, 1, (int)seen - 1) / j->batch;
    *bytes = (double)infer_weight_bytes(j->session) / j->batch + (double)infer_kv_bytes_per_token(j->session) * seen;
}

const struct work work_decode = {
    .name = "decode",
    .unit = "token",
    .title = "cached generation, a token at a time, with first-token time and token latencies (argmax; no text is made)",
    .axes = MODEL_AXES " batch depth prompt generate",
    .resolve = session_resolve,
    .open = session_open_decode,
    .check = session_check,
    .begin = session_begin,
    .once = once,
    .amounts = amounts,
    .results = session_results,
    .close = session_close,
    .needs_blas = true,
};
