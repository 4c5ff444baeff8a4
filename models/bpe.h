/* bpe.h — byte-level byte-pair encoding: trained here, lossless on any bytes, deterministic. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_BPE_H
#define QBENCH_BPE_H

#include "base.h"

/*
 * Ids 0..255 are the bytes, id 256 is the document boundary (never produced by encoding text), ids from 257 are merges
 * in the order in which they were learned (Sennrich et al. 2016; byte level as in GPT-2). Text is first cut into words
 * (a run of letters, of digits, of spaces, of anything else, with one leading space kept; bytes >= 0x80 count as letters; at
 * most 256 bytes), and merges never cross words.
 */
enum { BPE_EOT = 256, BPE_FIRST_MERGE = 257, BPE_WORD = 256, BPE_MAX_VOCAB = 1 << 20 };

struct bpe;

/* Learns vocab - 257 merges from text; ties go to the smaller pair. ST_EUSAGE when the text has too few distinct pairs. */
enum status bpe_train(struct bpe **b, const uint8_t *text, size_t bytes, int vocab, struct err *e);
void bpe_free(struct bpe *b);
int bpe_vocab(const struct bpe *b);

/* Appends ids of text to out (room for at least `bytes` ids); returns how many. Merges lowest rank first. */
size_t bpe_encode(const struct bpe *b, const uint8_t *text, size_t bytes, int32_t *out);

/* The bytes of one id (EOT and what is no id have none). Pointer lives as long as b. */
const uint8_t *bpe_token(const struct bpe *b, int32_t id, int *bytes);

/* As text, one merge a line "left right\n": what is saved with the model. Parsing checks every id (ST_EFORMAT with the line). */
char *bpe_save(const struct bpe *b); /* NULL without memory; caller frees with free() */
enum status bpe_load(struct bpe **b, const char *text, struct err *e);

#endif
