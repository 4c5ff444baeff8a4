/* gguf_bytes.h — GGUF files put together byte by byte, for tests of the reader; shares no code with the writer. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_GGUF_BYTES_H
#define QBENCH_GGUF_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BYTES_ROOM = 1 << 20 };
struct bytes {
    size_t n;
    uint8_t p[BYTES_ROOM];
};
/* Numbers are put in little-endian order, one byte after the other. */
void put(struct bytes *b, const void *data, size_t n);
void put_int(struct bytes *b, uint64_t x, int bytes);
void put_f32(struct bytes *b, float x);
void put_text(struct bytes *b, const char *text);
void put_head(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t keys); /* empties b first */
void put_key(struct bytes *b, const char *key, uint32_t type);
void put_u32_key(struct bytes *b, const char *key, uint32_t x);
void put_text_key(struct bytes *b, const char *key, const char *x);
void put_tensor(struct bytes *b, const char *name, uint32_t type, uint32_t rank, const uint64_t *shape, uint64_t offset);
void put_zeros_to(struct bytes *b, size_t multiple);
bool bytes_save(const struct bytes *b, const char *path, size_t n); /* the first n */

#endif
