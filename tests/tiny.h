/* tiny.h — small models and texts for tests. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_TINY_H
#define QBENCH_TINY_H

#include "tokenizer.h"
#include "weights.h"

/* Two layers whose widths no group divides: dim 48, ffn 52, 4 heads over 2 kv heads, vocab 300, context 32. */
struct model_config tiny_config(bool tied);
struct weights *tiny_weights(bool tied, uint64_t seed); /* with spread that makes logits differ; asserts on failure */

/* qbench's own byte pairs, learned from text; asserts on failure. */
struct tokenizer *tiny_tokenizer(const uint8_t *text, size_t bytes, int vocab);

void tiny_normal(float *x, size_t n, uint64_t seed);

#endif
