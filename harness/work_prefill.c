/* Prefill: all tokens of a prompt at once, logits of the last one. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_session.h"

static double once(struct job *j)
{
    session_prefill(j);
    return (double)j->prompt * j->batch;
}

/* Of one token: the head runs on the last token of each prompt only; weights are read once, and each sequence's cache. */
static void amounts(struct job *j, double *ops, double *bytes)
{
    double head = 2.0 * j->model.base.weights->config.vocab * j->model.base.weights->config.dim, units = (double)j->prompt * j->batch;
    *ops = infer_ops(j->session) - head + head / j->prompt + infer_attention_ops(j->session, j->prompt, j->depth) / units;
    *bytes = (double)infer_weight_bytes(j->session) / units +
             (double)infer_kv_bytes_per_token(j->session) * (j->depth + j->prompt) / j->prompt;
}

const struct work work_prefill = {
    .name = "prefill",
    .unit = "token",
    .title = "prompt processing: every token of a prompt at once (linear layers, attention, last logits; no sampling)",
    .axes = MODEL_AXES " batch depth prompt",
    .resolve = session_resolve,
    .open = session_open_prefill,
    .check = session_check,
    .begin = session_begin,
    .once = once,
    .amounts = amounts,
    .results = session_results,
    .close = session_close,
    .needs_blas = true,
};
