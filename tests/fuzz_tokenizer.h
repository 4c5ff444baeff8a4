/* fuzz_tokenizer.h — hostile bytes for the readers of tokenizer files and for encoding: checks what must hold whatever they are. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_FUZZ_TOKENIZER_H
#define QBENCH_FUZZ_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

/*
 * The first byte chooses: a text for a small vocabulary of each kind and every pre-tokenizer; tokenizer.bin; tokenizer.json;
 * tokenizer_config.json; encoder.json; merges.txt; a file of any kind, such as GGUF. Aborts when an error is no single line, an id is out of range, or a text does not come
 * back. As a program: libFuzzer's entry calls it.
 */
void fuzz_tokenizer(const uint8_t *data, size_t size);

#endif
