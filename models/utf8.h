/* utf8.h — one character of UTF-8: what is well-formed (Unicode 15, table 3-7), its code point, its bytes. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_UTF8_H
#define QBENCH_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of the well-formed character at s, n > 0 bytes being there, and its code point; 0 when there is none. */
static inline size_t utf8_decode(const uint8_t *s, size_t n, uint32_t *code)
{
    uint8_t c = s[0], low = 0x80, high = 0xbf;
    *code = c;
    if (c < 0x80)
        return 1;
    size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || n < length)
        return 0;
    if (c == 0xe0)
        low = 0xa0; /* overlong */
    else if (c == 0xed)
        high = 0x9f; /* surrogates */
    else if (c == 0xf0)
        low = 0x90; /* overlong */
    else if (c == 0xf4)
        high = 0x8f; /* past U+10FFFF */
    if (s[1] < low || s[1] > high)
        return 0;
    uint32_t x = c & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        x = x << 6 | (s[i] & 0x3fu);
    }
    *code = x;
    return length;
}

/* code <= U+10FFFF; returns how many bytes it took. */
static inline size_t utf8_encode(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3f));
    out[0] = (uint8_t)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | code);
    return n;
}

/* How many bytes at s are well-formed characters without a break; 0 when the first byte is none's. */
static inline size_t utf8_run(const uint8_t *s, size_t n)
{
    size_t at = 0, length = 1;
    uint32_t code;
    for (; at < n && length; at += length)
        length = utf8_decode(s + at, n - at, &code);
    return at;
}

#endif
