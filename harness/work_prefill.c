/* Prefill: all tokens of a prompt at once, logits of the last one. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "work_session.h"

static double once(struct job *j)
{
    session_prefill(j);
    return j->prompt;
}

static void amounts(struct job *j, double *ops, double *bytes)
{
    /* Per token: the head runs on the last token only; attention is not counted. */
    double head = 2.0 * j->model.base.weights->config.vocab * j->model.base.weights->config.dim;
    *ops = infer_ops(j->session) - head + head / j->prompt;
    *bytes = (double)infer_weight_bytes(j->session) / j->prompt;
}

const struct work work_prefill = {
    .name = "prefill",
    .unit = "token",
    .title = "prompt processing: every token of a prompt at once (linear layers, attention, last logits; no sampling)",
    .axes = MODEL_AXES " prompt",
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
