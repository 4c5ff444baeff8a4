/* eval_protocol.h — the figures of a model on a text file under a published perplexity protocol, printed. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_EVAL_PROTOCOL_H
#define QBENCH_EVAL_PROTOCOL_H

#include "model_verbs.h"

struct eval_protocol {
    const char *protocol, *text;          /* a row of protocols.def; the path of a file */
    const char *separator, *tokenizer;    /* NULL: none; the model's own */
    int context, stride;                  /* 0: the protocol's, else the model's; the protocol's */
    struct quantize_words words;
};

/* The exit code. Quantized weights are compared with the float model too. */
int eval_protocol(const char *model, const struct eval_protocol *p, const struct options *o);

#endif
