/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "fixture.h"
#include "gguf.h"
#include "fuzz.h"
#include "gguf_bytes.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static struct fixture folder;
static struct bytes b; /* the file being put together */

static int open_folder(void **state) { return fixture_open(&folder); }
static int remove_folder(void **state) { return fixture_remove(&folder, ""); }

static const char *in_folder(const char *name)
{
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder.root, name);
    return path[turn];
}

static const char *save(const char *name, size_t n)
{
    const char *path = in_folder(name);
    assert_true(bytes_save(&b, path, n));
    return path;
}

static struct gguf *open_saved(const char *name)
{
    struct err e = {0};
    struct gguf *g;
    if (gguf_open(&g, save(name, b.n), &e) != ST_OK)
        fail_msg("%s", e.text);
    return g;
}

/* One line that names the file and holds `word`. */
static void assert_error(enum status s, const struct err *e, const char *path, const char *word)
{
    if (s == ST_OK || e->status != s || !strstr(e->text, path) || !strstr(e->text, word) || strchr(e->text, '\n'))
        fail_msg("status %d, error %d '%s'; wanted '%s'", s, e->status, e->text, word);
}

static void assert_refused(const char *word)
{
    struct err e = {0};
    struct gguf *g;
    const char *path = save("bad.gguf", b.n);
    enum status s = gguf_open(&g, path, &e);
    assert_null(g);
    assert_error(s, &e, path, word);
}

/* ---- metadata */

static void put_array_key(const char *key, uint32_t of, uint64_t n)
{
    put_key(&b, key, 9);
    put_int(&b, of, 4);
    put_int(&b, n, 8);
}

static void put_every_type(uint32_t version)
{
    double pi = 3.141592653589793;
    put_head(&b, version, 0, 16);
    put_key(&b, "u8", 0), put_int(&b, 200, 1);
    put_key(&b, "i8", 1), put_int(&b, 0x100 - 100, 1);
    put_key(&b, "u16", 2), put_int(&b, 60000, 2);
    put_key(&b, "i16", 3), put_int(&b, 0x10000 - 30000, 2);
    put_key(&b, "u32", 4), put_int(&b, 4000000000u, 4);
    put_key(&b, "i32", 5), put_int(&b, 0x100000000 - 2000000000, 4);
    put_key(&b, "f32", 6), put_f32(&b, -0.75f);
    put_key(&b, "bool", 7), put_int(&b, 1, 1);
    put_key(&b, "string", 8), put_text(&b, "Gr\xc3\xbc\xc3\x9f""e \xf0\x9f\x98\x80");
    put_key(&b, "u64", 10), put_int(&b, UINT64_MAX, 8);
    put_key(&b, "i64", 11), put_int(&b, (uint64_t)INT64_MIN, 8);
    put_key(&b, "f64", 12), put(&b, &pi, 8);
    put_array_key("numbers", 5, 3), put_int(&b, 7, 4), put_int(&b, 0xffffffff, 4), put_int(&b, 9, 4);
    put_array_key("words", 8, 3), put_text(&b, "one"), put_text(&b, ""), put_text(&b, "three");
    put_array_key("nested", 9, 2);
    put_int(&b, 0, 4), put_int(&b, 3, 8), put(&b, "\1\2\3", 3); /* an array of three bytes, then one of two strings */
    put_int(&b, 8, 4), put_int(&b, 2, 8), put_text(&b, "a"), put_text(&b, "bc");
    put_array_key("empty", 6, 0);
}

static int64_t int_of(const struct gguf *g, const char *key)
{
    int64_t x = 12345;
    assert_non_null(gguf_find(g, key));
    assert_true(gguf_as_int(gguf_find(g, key), &x));
    return x;
}

static double real_of(const struct gguf *g, const char *key)
{
    double x = NAN;
    assert_true(gguf_as_real(gguf_find(g, key), &x));
    return x;
}

static void assert_scalars(const struct gguf *g)
{
    bool flag = false;
    int64_t none = 5;
    assert_int_equal(int_of(g, "u8"), 200);
    assert_int_equal(int_of(g, "i8"), -100);
    assert_int_equal(int_of(g, "u16"), 60000);
    assert_int_equal(int_of(g, "i16"), -30000);
    assert_int_equal(int_of(g, "u32"), 4000000000);
    assert_int_equal(int_of(g, "i32"), -2000000000);
    assert_int_equal(int_of(g, "i64"), INT64_MIN);
    assert_true(real_of(g, "f32") == -0.75 && real_of(g, "f64") == 3.141592653589793 && real_of(g, "i8") == -100);
    assert_true(real_of(g, "u64") == 18446744073709551616.0);
    assert_false(gguf_as_int(gguf_find(g, "u64"), &none)); /* does not fit */
    assert_false(gguf_as_int(gguf_find(g, "f32"), &none));
    assert_int_equal(none, 5);
    assert_true(gguf_as_bool(gguf_find(g, "bool"), &flag) && flag);
    assert_false(gguf_as_bool(gguf_find(g, "u8"), &flag));
    assert_true(gguf_is(gguf_find(g, "string"), "Gr\xc3\xbc\xc3\x9f""e \xf0\x9f\x98\x80"));
    assert_false(gguf_is(gguf_find(g, "string"), "Gr"));
    assert_false(gguf_is(gguf_find(g, "u8"), "200") || gguf_is(NULL, ""));
}

static void test_show(void **state)
{
    char buf[6];
    const struct gguf_string x = {"a\n\0\xc3\xbc\xe2\x82\xac", 8};
    assert_string_equal(gguf_show(x, buf, 6), "a??\xc3\xbc");
    assert_string_equal(gguf_show(x, buf, 5), "a??"); /* half a character is none */
    assert_string_equal(gguf_show(x, buf, 1), "");
    assert_string_equal(gguf_show((struct gguf_string){"word", 4}, buf, 5), "word");
}

static void assert_arrays(const struct gguf *g)
{
    static const char *const words[] = {"one", "", "three"};
    static const int64_t numbers[] = {7, -1, 9};
    struct gguf_items items, inner;
    struct gguf_value v, w;
    int64_t x = 0;
    assert_int_equal(gguf_array(g, "numbers", GGUF_I32, &items, NULL), ST_OK);
    for (int i = 0; i < 3; i++)
        assert_true(gguf_next(&items, &v) && gguf_as_int(&v, &x) && x == numbers[i]);
    assert_false(gguf_next(&items, &v));
    assert_int_equal(gguf_array(g, "words", GGUF_STRING, &items, NULL), ST_OK);
    assert_int_equal(items.left, 3);
    for (int i = 0; i < 3; i++)
        assert_true(gguf_next(&items, &v) && gguf_is(&v, words[i]));
    assert_int_equal(gguf_array(g, "nested", GGUF_ARRAY, &items, NULL), ST_OK);
    assert_true(gguf_next(&items, &v) && v.of == GGUF_U8 && gguf_items_of(&v, &inner));
    for (int i = 1; i <= 3; i++)
        assert_true(gguf_next(&inner, &w) && gguf_as_int(&w, &x) && x == i);
    assert_true(gguf_next(&items, &v) && v.of == GGUF_STRING && v.count == 2 && gguf_items_of(&v, &inner));
    assert_true(gguf_next(&inner, &w) && gguf_is(&w, "a") && gguf_next(&inner, &w) && gguf_is(&w, "bc") && !gguf_next(&inner, &w));
    assert_false(gguf_next(&items, &v));
    assert_int_equal(gguf_array(g, "empty", GGUF_F32, &items, NULL), ST_OK);
    assert_false(gguf_next(&items, &v));
}

static void test_metadata(void **state)
{
    for (uint32_t version = 2; version <= 3; version++) {
        put_every_type(version);
        struct gguf *g = open_saved("types.gguf");
        struct gguf_string key;
        size_t n = 0;
        assert_int_equal(gguf_version(g), version);
        assert_int_equal(gguf_tensors(g), 0);
        assert_scalars(g);
        assert_arrays(g);
        for (const struct gguf_value *v; (v = gguf_key(g, n, &key)); n++)
            if (n < 13 && n != 12) /* named by its type */
                assert_true(strlen(gguf_type_names[v->type]) == key.bytes && !memcmp(gguf_type_names[v->type], key.text, key.bytes));
        assert_int_equal(n, 16);
        assert_null(gguf_find(g, "u"));
        assert_null(gguf_find(g, "u88"));
        gguf_close(g);
    }
}

static void test_typed_lookup(void **state)
{
    struct err e[6] = {{0}};
    int64_t x = -1;
    double real;
    bool flag;
    struct gguf_string text;
    struct gguf_items items;
    put_every_type(3);
    struct gguf *g = open_saved("types.gguf");
    const char *path = gguf_path(g);
    assert_int_equal(gguf_int(g, "u8", 0, 255, &x, &e[0]), ST_OK);
    assert_int_equal(x, 200);
    assert_error(gguf_int(g, "u8", 0, 199, &x, &e[0]), &e[0], path, "key 'u8' is 200; it must be 0 to 199");
    assert_int_equal(gguf_int(g, "absent", 0, 1, &x, &e[1]), ST_ENOENT);
    assert_int_equal(x, 200);
    assert_error(gguf_real(g, "string", &real, &e[2]), &e[2], path, "key 'string' is string, not a number");
    assert_error(gguf_bool(g, "i8", &flag, &e[3]), &e[3], path, "not a boolean");
    assert_error(gguf_text(g, "words", &text, &e[4]), &e[4], path, "key 'words' is array of string, not a string");
    assert_error(gguf_array(g, "words", GGUF_I32, &items, &e[5]), &e[5], path, "not an array of i32");
    gguf_close(g);
}

/* ---- tensors */

static void put_floats(int n, float first)
{
    for (int i = 0; i < n; i++)
        put_f32(&b, first + (float)i);
}

static void test_tensors(void **state)
{
    float w[12];
    struct err e = {0};
    put_head(&b, 3, 3, 1);
    put_u32_key(&b, "general.alignment", 64);
    put_tensor(&b, "a", 0, 2, (uint64_t[]){4, 3}, 0);
    put_tensor(&b, "half", 1, 1, (uint64_t[]){5}, 64);
    put_tensor(&b, "c", 30, 3, (uint64_t[]){2, 1, 2}, 192); /* a gap before it */
    put_zeros_to(&b, 64);
    put_floats(12, 1);
    put_zeros_to(&b, 64);
    put(&b, "\x00\x3c\x00\xc0\xff\x7b\x01\x00\x00\x80", 10); /* 1, -2, 65504, 2^-24, -0 */
    put_zeros_to(&b, 64);
    put(&b, (char[64]){0}, 64);
    put(&b, "\x80\x3f\x20\xc1\x00\x00\x01\x00", 8); /* 1, -10, 0, 2^-133 */
    struct gguf *g = open_saved("tensors.gguf");
    assert_int_equal(gguf_tensors(g), 3);
    const struct gguf_tensor *a = gguf_find_tensor(g, "a"), *half = gguf_find_tensor(g, "half"), *c = gguf_find_tensor(g, "c");
    assert_true(a == gguf_tensor(g, 0) && half == gguf_tensor(g, 1) && c == gguf_tensor(g, 2) && !gguf_tensor(g, 3) && !gguf_find_tensor(g, "d"));
    assert_true(a->type == GTYPE_F32 && a->rank == 2 && a->shape[0] == 4 && a->shape[1] == 3 && a->shape[2] == 1 && a->bytes == 48);
    assert_int_equal(gguf_read_floats(g, a, 1, 2, w, &e), ST_OK);
    for (int i = 0; i < 8; i++)
        assert_true(w[i] == (float)(5 + i));
    assert_int_equal(gguf_read_floats(g, half, 0, 1, w, &e), ST_OK);
    assert_true(w[0] == 1 && w[1] == -2 && w[2] == 65504 && w[3] == 0x1p-24f && w[4] == 0 && signbit(w[4]));
    assert_int_equal(gguf_tensor_rows(c), 2);
    assert_int_equal(gguf_read_floats(g, c, 0, 2, w, &e), ST_OK);
    assert_true(w[0] == 1 && w[1] == -10 && w[2] == 0 && w[3] == 0x1p-133f);
    assert_int_equal(gguf_read(g, half, 4, w, 7, &e), ST_EUSAGE); /* it ends at 10 */
    gguf_close(g);
}

/* Longer than what is read at a time. */
static void test_long_tensor(void **state)
{
    enum { N = 400000 };
    static float w[N];
    struct err e = {0};
    put_head(&b, 3, 1, 0);
    put_tensor(&b, "long", 1, 2, (uint64_t[]){N / 4, 4}, 0);
    put_zeros_to(&b, 32);
    for (int i = 0; i < N; i++)
        put_int(&b, (uint64_t)(i % 0x7c00), 2); /* every positive finite number */
    struct gguf *g = open_saved("long.gguf");
    assert_int_equal(gguf_read_floats(g, gguf_tensor(g, 0), 0, 4, w, &e), ST_OK);
    for (int i = 0; i < N; i++)
        assert_true(w[i] == fp16_to_float((uint16_t)(i % 0x7c00)));
    gguf_close(g);
}

/* ---- block types */

static void put_half(float x) { put_int(&b, fp16_from_float(x), 2); }

/* code (n): the low four bits, the first half of them in low nibbles, the second in high ones. */
static void put_nibbles(const int *code, int n)
{
    for (int i = 0; i < n / 2; i++)
        put_int(&b, (uint64_t)((code[i] & 15) | (code[i + n / 2] & 15) << 4), 1);
}

static void put_fifth_bits(const int *code)
{
    uint64_t high = 0;
    for (int i = 0; i < 32; i++)
        high |= (uint64_t)(code[i] >> 4 & 1) << i;
    put_int(&b, high, 4);
}

/* One block of 32: weight i has code 7 i mod 2^bits; d = 0.5, m = -3. */
static void test_small_blocks(void **state)
{
    static const struct {
        enum gtype type;
        int bits, offset;
        bool minimum;
    } rows[] = {{GTYPE_Q8_0, 8, 0, false}, {GTYPE_Q4_0, 4, 8, false}, {GTYPE_Q4_1, 4, 0, true}, {GTYPE_Q5_0, 5, 16, false}, {GTYPE_Q5_1, 5, 0, true}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        int code[32];
        float w[32];
        b.n = 0;
        put_half(0.5f);
        if (rows[r].minimum)
            put_half(-3);
        for (int i = 0; i < 32; i++)
            code[i] = 7 * i % (1 << rows[r].bits);
        if (rows[r].bits == 5)
            put_fifth_bits(code);
        for (int i = 0; i < 32 && rows[r].bits == 8; i++)
            put_int(&b, (uint64_t)(code[i] - 100) & 255, 1); /* signed: -100 .. 117 */
        if (rows[r].bits < 8)
            put_nibbles(code, 32);
        const struct gtype_info *t = gtype_info(rows[r].type);
        assert_int_equal(t->bytes, b.n);
        assert_int_equal(t->weights, 32);
        t->dequantize(w, b.p, 1);
        for (int i = 0; i < 32; i++) {
            int signed_code = rows[r].bits == 8 ? code[i] - 100 : code[i] - rows[r].offset;
            float expected = 0.5f * (float)signed_code + (rows[r].minimum ? -3.0f : 0.0f);
            if (w[i] != expected)
                fail_msg("%s: weight %d is %g, not %g", t->name, i, (double)w[i], (double)expected);
        }
    }
}

/* The 6-bit scales and minima of a super-block, as three groups of four bytes. */
static void put_k_scales(const int *scale, const int *minimum)
{
    for (int g = 0; g < 4; g++)
        put_int(&b, (uint64_t)(scale[g] | (scale[g + 4] >> 4) << 6), 1);
    for (int g = 0; g < 4; g++)
        put_int(&b, (uint64_t)(minimum[g] | (minimum[g + 4] >> 4) << 6), 1);
    for (int g = 4; g < 8; g++)
        put_int(&b, (uint64_t)((scale[g] & 15) | (minimum[g] & 15) << 4), 1);
}

static void test_k_blocks(void **state)
{
    static const int scale[8] = {1, 63, 17, 32, 48, 15, 33, 62}, minimum[8] = {63, 0, 31, 16, 9, 47, 50, 5};
    for (int bits = 4; bits <= 5; bits++) {
        int code[256];
        float w[256];
        b.n = 0;
        put_half(0.25f), put_half(-0.5f);
        put_k_scales(scale, minimum);
        for (int i = 0; i < 256; i++)
            code[i] = (i * i + i / 32) % (1 << bits);
        for (int i = 0; i < 32 && bits == 5; i++) {
            int high = 0;
            for (int g = 0; g < 8; g++)
                high |= (code[32 * g + i] >> 4) << g;
            put_int(&b, (uint64_t)high, 1);
        }
        for (int pair = 0; pair < 4; pair++)
            put_nibbles(code + 64 * pair, 64);
        const struct gtype_info *t = gtype_info(bits == 4 ? GTYPE_Q4_K : GTYPE_Q5_K);
        assert_int_equal(t->bytes, b.n);
        t->dequantize(w, b.p, 1);
        for (int i = 0; i < 256; i++)
            assert_true(w[i] == 0.25f * (float)(scale[i / 32] * code[i]) + 0.5f * (float)minimum[i / 32]);
    }
}

static void test_q6_k(void **state)
{
    uint8_t low[128] = {0}, high[64] = {0};
    int code[256];
    float w[256];
    for (int i = 0; i < 256; i++) {
        int half = i / 128, at = i % 128;
        code[i] = (i * 11 + i / 7) % 64;
        low[64 * half + at % 64] |= (uint8_t)((code[i] & 15) << (at < 64 ? 0 : 4));
        high[32 * half + at % 32] |= (uint8_t)((code[i] >> 4) << 2 * (at / 32));
    }
    b.n = 0;
    put(&b, low, sizeof low), put(&b, high, sizeof high);
    for (int g = 0; g < 16; g++)
        put_int(&b, (uint64_t)(g * 13 - 100) & 255, 1);
    put_half(0.125f);
    assert_int_equal(gtype_info(GTYPE_Q6_K)->bytes, b.n);
    gtype_info(GTYPE_Q6_K)->dequantize(w, b.p, 1);
    for (int i = 0; i < 256; i++)
        assert_true(w[i] == 0.125f * (float)((i / 16 * 13 - 100) * (code[i] - 32)));
}

/*
 * What ggml (commit of February 2025) makes of 64 blocks of the bytes of this generator, as XXH64 of the floats: the same bits for every
 * type. Scales and minima have one exponent bit cleared, so that they are finite.
 */
static void test_reference_bits(void **state)
{
    static const struct {
        enum gtype type;
        int half[2];
        uint64_t hash;
    } rows[] = {
        {GTYPE_F16, {0, -1}, 0x8acb8727dce8c796}, {GTYPE_BF16, {0, -1}, 0xb85aa05ec0f4e44c}, {GTYPE_Q4_0, {0, -1}, 0xfef28a94677e3708},
        {GTYPE_Q4_1, {0, 2}, 0x986b683e53f4aeda}, {GTYPE_Q5_0, {0, -1}, 0xabfcd5ee16aeb3f3}, {GTYPE_Q5_1, {0, 2}, 0xc4b813192076e33f},
        {GTYPE_Q8_0, {0, -1}, 0xb82306dfa6337d58}, {GTYPE_Q4_K, {0, 2}, 0x068ed212a2e331b0}, {GTYPE_Q5_K, {0, 2}, 0xad27eba16a392cce},
        {GTYPE_Q6_K, {208, -1}, 0x924ffbdeeadfe30b},
    };
    enum { BLOCKS = 64 };
    static float w[BLOCKS * 256];
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const struct gtype_info *t = gtype_info(rows[r].type);
        uint64_t x = 2025;
        b.n = (size_t)t->bytes * BLOCKS;
        for (size_t i = 0; i < b.n; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            b.p[i] = (uint8_t)(x >> 56);
        }
        for (int i = 0; i < BLOCKS; i++)
            for (int h = 0; h < 2 && rows[r].half[h] >= 0; h++)
                b.p[i * t->bytes + rows[r].half[h] + 1] &= 0xbf;
        t->dequantize(w, b.p, BLOCKS);
        if (XXH64(w, (size_t)(BLOCKS * t->weights) * sizeof *w, 0) != rows[r].hash)
            fail_msg("%s differs from the reference", t->name);
    }
}

static void test_type_names(void **state)
{
    enum gtype type = GTYPE_F32;
    assert_non_null(gtype_find("q4_0", &type));
    assert_int_equal(type, GTYPE_Q4_0);
    assert_null(gtype_find("q4", &type));
    assert_null(gtype_info(4)); /* withdrawn from the format */
    assert_null(gtype_info(GTYPE_COUNT));
    assert_int_equal(gtype_row_bytes(gtype_info(GTYPE_Q4_0), 96), 54);
    assert_int_equal(gtype_row_bytes(gtype_info(GTYPE_Q4_0), 97), 0);
}

/* ---- floats and codes to blocks */

static void test_from_float(void **state)
{
    static const float w[] = {1, -0.0f, 0x1.002p0f, 0x1.006p0f, 65519, 1e-8f};
    uint8_t f16[12], bf16[12], f32[24];
    struct err e[3] = {{0}};
    assert_int_equal(gtype_from_float(GTYPE_F16, f16, w, 6, NULL), ST_OK);
    assert_memory_equal(f16, "\x00\x3c\x00\x80\x00\x3c\x02\x3c\xff\x7b\x00\x00", 12); /* ties to even, down and up */
    assert_int_equal(gtype_from_float(GTYPE_BF16, bf16, w, 4, NULL), ST_OK);
    assert_memory_equal(bf16, "\x80\x3f\x00\x80\x80\x3f\x80\x3f", 8);
    assert_int_equal(gtype_from_float(GTYPE_F32, f32, w, 6, NULL), ST_OK);
    assert_memory_equal(f32, w, 24);
    assert_int_equal(gtype_from_float(GTYPE_F16, f16, (float[]){1, 65520}, 2, &e[0]), ST_EWRONG);
    assert_non_null(strstr(e[0].text, "weight 1"));
    assert_int_equal(gtype_from_float(GTYPE_BF16, f16, (float[]){0x1.fep127f, -0x1.ffp127f}, 2, &e[1]), ST_EWRONG);
    assert_int_equal(gtype_from_float(GTYPE_F32, f32, (float[]){NAN}, 1, &e[2]), ST_EWRONG);
}

/* scale (4), shift (4): fp16 numbers, shift = m + 8 scale for an fp16 m, as Q4_1 can hold it. */
static void make_codes(int8_t *codes, int lo, int hi, float *scale, float *shift)
{
    struct rng r;
    rng_seed(&r, 7);
    for (int i = 0; i < 128; i++)
        codes[i] = (int8_t)(lo + (int)rng_below(&r, (uint32_t)(hi - lo + 1)));
    for (int i = 0; i < 4; i++) {
        scale[i] = fp16_round(0.01f * (float)(i + 1) * rng_normal(&r));
        shift[i] = fp16_round(rng_normal(&r)) + 8 * scale[i];
    }
}

static void test_codes(void **state)
{
    int8_t codes[128], back[128];
    float scale[4], shift[4], back_scale[4], back_shift[4], w[128];
    uint8_t block[4 * 34];
    make_codes(codes, -127, 127, scale, shift);
    assert_int_equal(gtype_pack_q8_0(block, codes, scale, 4, NULL), ST_OK);
    assert_int_equal(gtype_unpack_q8_0(back, back_scale, block, 4, NULL), ST_OK);
    assert_memory_equal(back, codes, 128);
    assert_memory_equal(back_scale, scale, sizeof scale);
    make_codes(codes, -8, 7, scale, shift);
    assert_int_equal(gtype_pack_q4_0(block, codes, scale, 4, NULL), ST_OK);
    assert_int_equal(gtype_unpack_q4_0(back, back_scale, block, 4, NULL), ST_OK);
    assert_memory_equal(back, codes, 128);
    assert_memory_equal(back_scale, scale, sizeof scale);
    gtype_info(GTYPE_Q4_0)->dequantize(w, block, 4);
    for (int i = 0; i < 128; i++)
        assert_true(w[i] == scale[i / 32] * (float)codes[i]);
    assert_int_equal(gtype_pack_q4_1(block, codes, scale, shift, 4, NULL), ST_OK);
    assert_int_equal(gtype_unpack_q4_1(back, back_scale, back_shift, block, 4, NULL), ST_OK);
    assert_memory_equal(back, codes, 128);
    assert_memory_equal(back_shift, shift, sizeof shift);
    gtype_info(GTYPE_Q4_1)->dequantize(w, block, 4);
    for (int i = 0; i < 128; i++)
        assert_true(w[i] == scale[i / 32] * (float)codes[i] + shift[i / 32]);
}

static void test_codes_refused(void **state)
{
    int8_t codes[64] = {0};
    uint8_t block[2 * 34] = {0};
    float scale[2] = {0.5f, 0.1f}, shift[2] = {1, 1}, half[2] = {0.5f, 0.25f};
    struct err e[7] = {{0}};
    assert_int_equal(gtype_pack_q8_0(block, codes, scale, 2, &e[0]), ST_EUNSUPPORTED); /* 0.1 is no fp16 number */
    assert_non_null(strstr(e[0].text, "block 1: scale 0.1"));
    shift[1] = 1 + 0x1p-12f; /* m would be 1 + 2^-12 - 2, which needs 13 bits */
    assert_int_equal(gtype_pack_q4_1(block, codes, half, shift, 2, &e[1]), ST_EUNSUPPORTED);
    assert_non_null(strstr(e[1].text, "block 1"));
    codes[63] = 8;
    assert_int_equal(gtype_pack_q4_0(block, codes, half, 2, &e[2]), ST_EWRONG);
    assert_non_null(strstr(e[2].text, "block 1: code 8"));
    codes[63] = -128;
    assert_int_equal(gtype_pack_q8_0(block, codes, half, 2, &e[3]), ST_OK);
    assert_int_equal(gtype_unpack_q8_0(codes, scale, block, 2, &e[3]), ST_EUNSUPPORTED);
    assert_non_null(strstr(e[3].text, "block 1: a code of -128"));
    b.n = 0;
    put_half(1000), put_int(&b, 1, 2), put(&b, (char[16]){0}, 16); /* m = 2^-24 beside 8 d = 8000: 37 bits */
    assert_int_equal(gtype_unpack_q4_1(codes, scale, shift, b.p, 1, &e[4]), ST_EUNSUPPORTED);
    b.n = 0;
    put_int(&b, 0x7c00, 2), put(&b, (char[32]){0}, 32); /* d is infinite */
    assert_int_equal(gtype_unpack_q4_0(codes, scale, b.p, 1, &e[5]), ST_EFORMAT);
    assert_int_equal(gtype_unpack_q8_0(codes, scale, b.p, 1, &e[6]), ST_EFORMAT);
}

/* ---- splits */

/* Split i of 3 holds i + 1 tensors of one weight, "t<i><k>" = 10 i + k. */
static const char *save_split(int i, uint32_t says_no, uint32_t says_count, uint32_t says_tensors)
{
    char name[64];
    put_head(&b, 3, (uint64_t)i + 1, i ? 3 : 4);
    put_key(&b, "split.no", 2), put_int(&b, says_no, 2);
    put_key(&b, "split.count", 2), put_int(&b, says_count, 2);
    put_key(&b, "split.tensors.count", 5), put_int(&b, says_tensors, 4);
    if (!i)
        put_text_key(&b, "general.name", "whole");
    for (int k = 0; k <= i; k++) {
        snprintf(name, sizeof name, "t%d%d", i, k);
        put_tensor(&b, name, 0, 1, (uint64_t[]){1}, 32 * (uint64_t)k);
    }
    for (int k = 0; k <= i; k++) {
        put_zeros_to(&b, 32);
        put_f32(&b, (float)(10 * i + k));
    }
    snprintf(name, sizeof name, "m-%05d-of-00003.gguf", i + 1);
    return save(name, b.n);
}

static void test_splits(void **state)
{
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (uint32_t i = 0; i < 3; i++)
        save_split((int)i, i, 3, 6);
    for (int given = 0; given < 3; given++) {
        struct gguf *g;
        struct err e = {0};
        float w = -1;
        if (gguf_open(&g, in_folder(names[given]), &e) != ST_OK)
            fail_msg("%s", e.text);
        assert_int_equal(gguf_parts(g), 3);
        assert_int_equal(gguf_tensors(g), 6);
        assert_string_equal(gguf_path(g), in_folder(names[0]));
        assert_true(gguf_is(gguf_find(g, "general.name"), "whole"));
        assert_string_equal(gguf_tensor(g, 4)->name, "t21");
        assert_int_equal(gguf_read_floats(g, gguf_find_tensor(g, "t21"), 0, 1, &w, &e), ST_OK);
        assert_true(w == 21);
        assert_int_equal(gguf_read_floats(g, gguf_find_tensor(g, "t00"), 0, 1, &w, &e), ST_OK);
        assert_true(w == 0);
        gguf_close(g);
    }
}

static void assert_split_error(const char *given, const char *at, const char *word)
{
    struct gguf *g;
    struct err e = {0};
    enum status s = gguf_open(&g, in_folder(given), &e);
    assert_null(g);
    assert_error(s, &e, in_folder(at), word);
}

static void test_bad_splits(void **state)
{
    static const char first[] = "m-00001-of-00003.gguf", second[] = "m-00002-of-00003.gguf";
    for (uint32_t i = 0; i < 3; i++)
        save_split((int)i, i, 3, 6);
    assert_int_equal(rename(in_folder(second), in_folder("other.gguf")), 0);
    assert_split_error(first, second, "split 2 of 3");
    assert_split_error("other.gguf", "other.gguf", "its name must end in -00002-of-00003.gguf");
    save_split(1, 2, 3, 6);
    assert_split_error(first, second, "its metadata says split 3 of 3, its name says 2 of 3");
    save_split(1, 1, 4, 6);
    assert_split_error(first, second, "split 2 of 4");
    save_split(1, 1, 3, 6);
    save_split(0, 0, 3, 7);
    assert_split_error(second, first, "split.tensors.count says otherwise");
    save_split(0, 3, 3, 6);
    assert_split_error(first, first, "split.no");
    save_split(0, 0, 600, 6);
    assert_split_error(first, first, "split.count");
}

/* ---- bad files */

/* Two keys, one of them an array of strings, and two tensors. */
static void put_good(void)
{
    put_head(&b, 3, 2, 2);
    put_array_key("words", 8, 2), put_text(&b, "one"), put_text(&b, "two");
    put_u32_key(&b, "number", 5);
    put_tensor(&b, "first", 0, 2, (uint64_t[]){3, 2}, 0);
    put_tensor(&b, "second", 8, 1, (uint64_t[]){32}, 32);
    put_zeros_to(&b, 32);
    put_floats(6, 1);
    put_zeros_to(&b, 32);
    put(&b, (char[34]){0}, 34);
}

static void test_truncated(void **state)
{
    put_good();
    gguf_close(open_saved("good.gguf"));
    for (size_t n = 0; n < b.n; n++) {
        struct gguf *g;
        struct err e = {0};
        const char *path = save("cut.gguf", n);
        enum status s = gguf_open(&g, path, &e);
        assert_null(g);
        assert_int_equal(s, ST_EFORMAT);
        assert_error(s, &e, path, n < 4 ? "not a GGUF file" : "");
    }
}

static void test_bad_header(void **state)
{
    put_head(&b, 1, 0, 0);
    assert_refused("GGUF version 1");
    put_head(&b, 4, 0, 0);
    assert_refused("GGUF version 4");
    put_head(&b, 0x03000000, 0, 0);
    assert_refused("big-endian");
    put_head(&b, 3, UINT64_MAX, 0);
    assert_refused("more than its 24 bytes can hold");
    put_head(&b, 3, 0, 1ull << 40);
    assert_refused("more than its 24 bytes can hold");
    b.n = 0;
    put(&b, "GGML0000000000000000000000", 26);
    assert_refused("not a GGUF file");
}

static void put_one_key(const char *key, uint32_t type)
{
    put_head(&b, 3, 0, 1);
    put_key(&b, key, type);
}

static void test_bad_metadata(void **state)
{
    put_one_key("k", 13), put(&b, (char[16]){0}, 16);
    assert_refused("key 'k': unknown type 13");
    put_one_key("k", 8), put_int(&b, UINT64_MAX, 8);
    assert_refused("key 'k' wants 18446744073709551615 bytes");
    put_one_key("k", 9), put_int(&b, 10, 4), put_int(&b, 1ull << 61, 8);
    assert_refused("key 'k': 2305843009213693952 elements are impossible");
    put_one_key("k", 9), put_int(&b, 8, 4), put_int(&b, 1ull << 61, 8);
    assert_refused("key 'k' wants");
    put_one_key("k", 7), put_int(&b, 2, 1);
    assert_refused("key 'k': a boolean of value 2");
    put_one_key("", 0), put(&b, (char[16]){0}, 16);
    assert_refused("a key before byte 32 has 0 bytes");
    put_one_key("a\nb", 0), put(&b, (char[16]){0}, 16);
    assert_refused("control character");
    put_head(&b, 3, 0, 2);
    put_u32_key(&b, "twice", 1), put_u32_key(&b, "twice", 1);
    assert_refused("key 'twice' comes twice");
    put_one_key("general.alignment", 4), put_int(&b, 48, 4);
    assert_refused("power of two");
    put_one_key("general.alignment", 4), put_int(&b, 0, 4);
    assert_refused("power of two");
    put_one_key("deep", 9);
    for (int i = 0; i < 20; i++)
        put_int(&b, 9, 4), put_int(&b, 1, 8);
    assert_refused("nested more than 8 deep");
}

static void test_bad_text(void **state)
{
    static const char *const wrong[] = {"\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                        "\xf8\x88\x80\x80\x80", "\xc3", "a\x80", "\xe2\x82"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        put_one_key("k", 8), put_text(&b, wrong[i]);
        assert_refused("key 'k' at byte 45 is not UTF-8");
    }
    put_one_key("k", 8), put_text(&b, "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80"); /* the borders */
    gguf_close(open_saved("borders.gguf"));
}

static void put_one_tensor(const char *name, uint32_t type, uint32_t rank, const uint64_t *shape, uint64_t offset)
{
    put_head(&b, 3, 1, 0);
    put_tensor(&b, name, type, rank, shape, offset);
    put_zeros_to(&b, 32);
    put(&b, (char[128]){0}, 128);
}

static void test_bad_tensors(void **state)
{
    put_one_tensor("t", 0, 5, (uint64_t[]){1, 1, 1, 1, 1}, 0);
    assert_refused("tensor 't' has 5 dimensions");
    put_one_tensor("t", 0, 2, (uint64_t[]){4, 0}, 0);
    assert_refused("tensor 't': dimension 1 is 0");
    put_one_tensor("t", 0, 4, (uint64_t[]){1 << 20, 1 << 20, 1 << 20, 1 << 20}, 0);
    assert_refused("tensor 't': dimension 3 is 1048576, which is impossible");
    put_one_tensor("t", 0, 1, (uint64_t[]){1ull << 62}, 0);
    assert_refused("tensor 't': 4611686018427387904 weights are impossible");
    put_one_tensor("t", 4, 1, (uint64_t[]){32}, 0);
    assert_refused("tensor 't': unknown type 4");
    put_one_tensor("t", 2, 1, (uint64_t[]){33}, 0);
    assert_refused("tensor 't': rows of 33 weights are no whole blocks of Q4_0");
    put_one_tensor("t", 0, 1, (uint64_t[]){1}, 16);
    assert_refused("tensor 't': offset 16 is no multiple");
    put_one_tensor("t", 0, 1, (uint64_t[]){33}, 0);
    assert_refused("tensor 't': 132 bytes at offset 0 of 128");
    put_one_tensor("t", 0, 1, (uint64_t[]){1}, 1ull << 63);
    assert_refused("tensor 't': 4 bytes at offset 9223372036854775808");
    put_one_tensor("a_name_that_is_a_little_longer_than_the_sixty_three_bytes_of_it_", 0, 1, (uint64_t[]){1}, 0);
    assert_refused("has 64 bytes; it must have 1 to 63");
    put_head(&b, 3, 2, 0);
    for (int i = 0; i < 2; i++)
        put_tensor(&b, "same", 0, 1, (uint64_t[]){1}, 32 * (uint64_t)i);
    put_zeros_to(&b, 32);
    put(&b, (char[64]){0}, 64);
    assert_refused("tensor 'same' comes twice");
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "a", 0, 1, (uint64_t[]){9}, 0);
    put_tensor(&b, "b", 0, 1, (uint64_t[]){1}, 32);
    put_zeros_to(&b, 32);
    put(&b, (char[64]){0}, 64);
    assert_refused("tensor 'b' at offset 32 overlaps");
}

static void test_not_a_file(void **state)
{
    struct gguf *g;
    struct err e[2] = {{0}};
    assert_int_equal(gguf_open(&g, in_folder("absent.gguf"), &e[0]), ST_ENOENT);
    assert_error(gguf_open(&g, folder.root, &e[1]), &e[1], folder.root, "not a regular file");
}

/* Another process cuts the file off while it is open: an error, and no signal. */
static void test_shrinks(void **state)
{
    float w[6];
    struct err e = {0};
    put_good();
    struct gguf *g = open_saved("shrinks.gguf");
    assert_int_equal(truncate(gguf_path(g), 64), 0);
    enum status s = gguf_read_floats(g, gguf_tensor(g, 0), 0, 2, w, &e);
    assert_int_equal(s, ST_EIO);
    assert_error(s, &e, gguf_path(g), "it shrank (tensor 'first')");
    assert_non_null(gguf_find(g, "number"));
    gguf_close(g);
}

static void test_values_refused(void **state)
{
    float w[32];
    struct err e[2] = {{0}};
    put_head(&b, 3, 2, 0);
    put_tensor(&b, "nan", 0, 1, (uint64_t[]){2}, 0);
    put_tensor(&b, "strange", 20, 1, (uint64_t[]){32}, 32);
    put_zeros_to(&b, 32);
    put_f32(&b, 1), put_f32(&b, NAN);
    put_zeros_to(&b, 32);
    put(&b, (char[18]){0}, 18);
    struct gguf *g = open_saved("values.gguf");
    assert_error(gguf_read_floats(g, gguf_tensor(g, 0), 0, 1, w, &e[0]), &e[0], gguf_path(g), "tensor 'nan'");
    enum status s = gguf_read_floats(g, gguf_tensor(g, 1), 0, 1, w, &e[1]);
    assert_int_equal(s, ST_EUNSUPPORTED);
    assert_error(s, &e[1], gguf_path(g), "tensor 'strange' is IQ4_NL");
    gguf_close(g);
}

/* ---- writing */

static struct gguf_writer *new_writer(void)
{
    struct gguf_writer *w = gguf_writer_new();
    assert_non_null(w);
    gguf_set_u32(w, "u32", 77);
    gguf_set_u64(w, "u64", 1ull << 40);
    gguf_set_i32(w, "i32", -5);
    gguf_set_f32(w, "f32", 1.5f);
    gguf_set_bool(w, "bool", true);
    gguf_set_text(w, "text", "word");
    gguf_set_strings(w, "strings", (struct gguf_string[]){{"a", 1}, {"bcd", 3}}, 2);
    gguf_set_i32s(w, "i32s", (int32_t[]){1, -2}, 2);
    gguf_set_f32s(w, "f32s", (float[]){0.5f}, 1);
    gguf_declare(w, "x", GTYPE_F32, 2, (uint64_t[]){3, 2});
    gguf_declare(w, "y", GTYPE_Q8_0, 1, (uint64_t[]){32});
    return w;
}

static const float six[6] = {1, 2, 3, 4, 5, 6};

static enum status write_tensors(struct gguf_writer *w, struct err *e)
{
    uint8_t block[34] = {0, 0x3c, 1, 2, 3};
    enum status s = gguf_write(w, six, 8, e); /* in pieces */
    if (!s)
        s = gguf_write(w, six + 2, 16, e);
    return s ? s : gguf_write(w, block, sizeof block, e);
}

static void test_writer(void **state)
{
    struct err e = {0};
    float x[32];
    struct gguf_items items;
    struct gguf_writer *w = new_writer();
    const char *path = in_folder("written.gguf");
    assert_int_equal(gguf_writer_begin(w, path, &e), ST_OK);
    assert_int_equal(access(path, F_OK), -1); /* not before it is whole */
    assert_int_equal(write_tensors(w, &e), ST_OK);
    if (gguf_writer_finish(w, &e) != ST_OK)
        fail_msg("%s", e.text);
    gguf_writer_free(w);
    struct gguf *g;
    assert_int_equal(gguf_open(&g, path, &e), ST_OK);
    assert_int_equal(gguf_version(g), 3);
    assert_true(int_of(g, "u32") == 77 && int_of(g, "u64") == 1ll << 40 && int_of(g, "i32") == -5 && real_of(g, "f32") == 1.5);
    assert_true(gguf_find(g, "u32")->type == GGUF_U32 && gguf_find(g, "bool")->type == GGUF_BOOL && gguf_is(gguf_find(g, "text"), "word"));
    assert_true(gguf_array(g, "strings", GGUF_STRING, &items, NULL) == ST_OK && items.left == 2);
    assert_true(gguf_array(g, "i32s", GGUF_I32, &items, NULL) == ST_OK && gguf_array(g, "f32s", GGUF_F32, &items, NULL) == ST_OK);
    assert_int_equal(gguf_tensor(g, 0)->offset % 32, 0);
    assert_int_equal(gguf_tensor(g, 1)->offset, gguf_tensor(g, 0)->offset + 32);
    assert_int_equal(gguf_read_floats(g, gguf_tensor(g, 0), 0, 2, x, &e), ST_OK);
    assert_memory_equal(x, six, sizeof six);
    assert_int_equal(gguf_read_floats(g, gguf_tensor(g, 1), 0, 1, x, &e), ST_OK);
    assert_true(x[0] == 1 && x[1] == 2 && x[2] == 3 && x[31] == 0);
    gguf_close(g);
}

static int files_in_folder(void)
{
    char command[128], line[32] = "";
    snprintf(command, sizeof command, "ls -A %s | wc -l", folder.root);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    pclose(f);
    return atoi(line);
}

/* Nothing is lost when writing stops half way, is incomplete, or cannot begin. */
static void test_writer_stops(void **state)
{
    struct err e[4] = {{0}};
    const char *path = in_folder("kept.gguf");
    b.n = 0;
    put(&b, "old", 3);
    save("kept.gguf", 3);
    int before = files_in_folder();
    for (int finish = 0; finish < 2; finish++) {
        struct gguf_writer *w = new_writer();
        assert_int_equal(gguf_writer_begin(w, path, &e[finish]), ST_OK);
        assert_int_equal(gguf_write(w, six, 24, &e[finish]), ST_OK);
        if (finish)
            assert_error(gguf_writer_finish(w, &e[1]), &e[1], path, "tensor 'y' is not complete");
        gguf_writer_free(w);
        assert_int_equal(files_in_folder(), before);
    }
    struct gguf_writer *w = new_writer();
    assert_error(gguf_writer_begin(w, "/nonexistent/x.gguf", &e[2]), &e[2], "/nonexistent/x.gguf", "No such file");
    gguf_writer_free(w);
    w = new_writer();
    assert_error(gguf_writer_begin(w, "/dev/full", &e[3]), &e[3], "/dev/full", "No space left");
    gguf_writer_free(w);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3);
    assert_true(stat("/dev/full", &st) == 0 && S_ISCHR(st.st_mode));
}

/* A link is followed: what it leads to is replaced, and it stays a link. */
static void test_writer_link(void **state)
{
    struct err e = {0};
    struct stat st;
    const char *link = in_folder("link.gguf");
    save("target.gguf", 0);
    assert_int_equal(symlink("target.gguf", link), 0);
    struct gguf_writer *w = new_writer();
    assert_int_equal(gguf_writer_begin(w, link, &e), ST_OK);
    assert_int_equal(write_tensors(w, &e), ST_OK);
    assert_int_equal(gguf_writer_finish(w, &e), ST_OK);
    gguf_writer_free(w);
    assert_true(lstat(link, &st) == 0 && S_ISLNK(st.st_mode));
    assert_true(stat(in_folder("target.gguf"), &st) == 0 && st.st_size > 0);
}

/* A pipe is written in place. */
static void test_writer_pipe(void **state)
{
    struct err e = {0};
    struct stat st;
    const char *path = in_folder("pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR); /* so that writing it does not wait for a reader; all fits the pipe */
    assert_true(fd >= 0);
    struct gguf_writer *w = new_writer();
    assert_int_equal(gguf_writer_begin(w, path, &e), ST_OK);
    assert_int_equal(write_tensors(w, &e), ST_OK);
    assert_int_equal(gguf_writer_finish(w, &e), ST_OK);
    gguf_writer_free(w);
    b.n = (size_t)read(fd, b.p, BYTES_ROOM);
    close(fd);
    assert_true(lstat(path, &st) == 0 && S_ISFIFO(st.st_mode));
    struct gguf *g = open_saved("from_pipe.gguf");
    assert_int_equal(gguf_tensors(g), 2);
    gguf_close(g);
}

/* ---- real files, and hostile ones */

static void check_vocabulary(const char *name, const char *model, uint64_t tokens)
{
    char path[512];
    struct err e = {0};
    struct gguf *g;
    struct gguf_items items;
    struct gguf_string text;
    struct gguf_value v;
    snprintf(path, sizeof path, "%s/%s", getenv("QBENCH_TEST_DATA"), name);
    if (gguf_open(&g, path, &e) != ST_OK)
        fail_msg("%s", e.text);
    assert_true(gguf_is(gguf_find(g, "tokenizer.ggml.model"), model));
    assert_int_equal(gguf_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &items, &e), ST_OK);
    assert_int_equal(items.left, tokens);
    size_t bytes = 0;
    while (gguf_next(&items, &v) && gguf_as_string(&v, &text))
        bytes += text.bytes;
    assert_int_equal(items.left, 0);
    assert_true(bytes > tokens);
    assert_int_equal(gguf_array(g, "tokenizer.ggml.token_type", GGUF_I32, &items, &e), ST_OK);
    assert_int_equal(items.left, tokens);
    gguf_close(g);
}

static void test_real_files(void **state)
{
    if (!getenv("QBENCH_TEST_DATA")) {
        printf("skipped: QBENCH_TEST_DATA names no folder with real GGUF files\n");
        skip();
    }
    check_vocabulary("ggml-vocab-gpt-2.gguf", "gpt2", 50257);
    check_vocabulary("ggml-vocab-llama-spm.gguf", "llama", 32000);
}

/* Bytes changed at random, and stretches left out or doubled; the fuzzer looks longer. */
static void test_mutations(void **state)
{
    enum { ROUNDS = 4000, SEED = 42 };
    static uint8_t mutant[BYTES_ROOM];
    struct rng r;
    printf("seed %d\n", SEED);
    rng_seed(&r, SEED);
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2)
            put_good();
        else
            put_every_type(3);
        memcpy(mutant, b.p, b.n);
        for (uint32_t k = rng_below(&r, 4); k < 4; k++)
            mutant[rng_below(&r, (uint32_t)b.n)] = (uint8_t)(rng_u64(&r) >> rng_below(&r, 60));
        fuzz_model(mutant, i % 3 ? b.n : rng_below(&r, (uint32_t)b.n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),     cmocka_unit_test(test_typed_lookup), cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_small_blocks), cmocka_unit_test(test_k_blocks),     cmocka_unit_test(test_q6_k),
        cmocka_unit_test(test_reference_bits), cmocka_unit_test(test_type_names), cmocka_unit_test(test_from_float),
        cmocka_unit_test(test_codes),        cmocka_unit_test(test_codes_refused), cmocka_unit_test(test_splits),
        cmocka_unit_test(test_bad_splits),   cmocka_unit_test(test_truncated),    cmocka_unit_test(test_bad_header),
        cmocka_unit_test(test_bad_metadata), cmocka_unit_test(test_bad_text),     cmocka_unit_test(test_bad_tensors),
        cmocka_unit_test(test_not_a_file),   cmocka_unit_test(test_shrinks),      cmocka_unit_test(test_values_refused),
        cmocka_unit_test(test_writer),       cmocka_unit_test(test_writer_stops), cmocka_unit_test(test_writer_link),
        cmocka_unit_test(test_writer_pipe),  cmocka_unit_test(test_long_tensor), cmocka_unit_test(test_show),
        cmocka_unit_test(test_real_files),   cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
