/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf_bytes.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void put(struct bytes *b, const void *data, size_t n)
{
    assert(n <= BYTES_ROOM - b->n);
    memcpy(b->p + b->n, data, n);
    b->n += n;
}

void put_int(struct bytes *b, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++)
        put(b, &(uint8_t){(uint8_t)(x >> 8 * i)}, 1);
}

void put_f32(struct bytes *b, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    put_int(b, bits, 4);
}

void put_text(struct bytes *b, const char *text)
{
    put_int(b, strlen(text), 8);
    put(b, text, strlen(text));
}

void put_head(struct bytes *b, uint32_t version, uint64_t tensors, uint64_t keys)
{
    b->n = 0;
    put(b, "GGUF", 4);
    put_int(b, version, 4);
    put_int(b, tensors, 8);
    put_int(b, keys, 8);
}

void put_key(struct bytes *b, const char *key, uint32_t type)
{
    put_text(b, key);
    put_int(b, type, 4);
}

void put_u32_key(struct bytes *b, const char *key, uint32_t x)
{
    put_key(b, key, 4);
    put_int(b, x, 4);
}

void put_text_key(struct bytes *b, const char *key, const char *x)
{
    put_key(b, key, 8);
    put_text(b, x);
}

void put_tensor(struct bytes *b, const char *name, uint32_t type, uint32_t rank, const uint64_t *shape, uint64_t offset)
{
    put_text(b, name);
    put_int(b, rank, 4);
    for (uint32_t i = 0; i < rank; i++)
        put_int(b, shape[i], 8);
    put_int(b, type, 4);
    put_int(b, offset, 8);
}

void put_zeros_to(struct bytes *b, size_t multiple)
{
    while (b->n % multiple)
        put_int(b, 0, 1);
}

bool bytes_save(const struct bytes *b, const char *path, size_t n)
{
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(b->p, 1, n, f) == n;
    return f && fclose(f) == 0 && ok;
}
