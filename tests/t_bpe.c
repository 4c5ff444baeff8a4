/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

/* ---- an oracle: the same definition, written the slow way */

static int kind(unsigned char c)
{
    return c >= 128 || isalpha(c) ? 'a' : isdigit(c) ? '0' : isspace(c) ? ' ' : '.';
}

/* Cuts text into words: end[i] is where word i ends. Returns how many. Knows nothing of words of more than 256 bytes. */
static size_t cut_words(const uint8_t *s, size_t n, size_t *end)
{
    size_t words = 0;
    for (size_t i = 0; i < n;) {
        size_t begin = i;
        if (s[i] == ' ' && i + 1 < n && kind(s[i + 1]) != ' ')
            i++;
        int k = kind(s[i]);
        while (i < n && kind(s[i]) == k)
            i++;
        if (k == ' ' && i - begin > 1 && i < n && s[i - 1] == ' ')
            i--;
        end[words++] = i;
    }
    return words;
}

struct oracle {
    int32_t id[4096];
    size_t word[4096]; /* which word id[i] stands in */
    size_t n;
};

static void oracle_start(struct oracle *o, const uint8_t *s, size_t n)
{
    static size_t end[4096];
    assert_true(n <= 4096);
    size_t words = cut_words(s, n, end);
    o->n = n;
    for (size_t w = 0, i = 0; w < words; w++)
        for (; i < end[w]; i++) {
            o->id[i] = s[i];
            o->word[i] = w;
        }
}

static void oracle_merge(struct oracle *o, int32_t left, int32_t right, int32_t id)
{
    size_t k = 0;
    for (size_t i = 0; i < o->n; i++, k++) {
        bool hit = i + 1 < o->n && o->word[i] == o->word[i + 1] && o->id[i] == left && o->id[i + 1] == right;
        o->id[k] = hit ? id : o->id[i];
        o->word[k] = o->word[i];
        i += hit;
    }
    o->n = k;
}

/* The most frequent pair, the smallest among equals; false when there is none. */
static bool oracle_best(const struct oracle *o, int32_t *left, int32_t *right)
{
    size_t best = 0;
    for (size_t i = 0; i + 1 < o->n; i++) {
        size_t count = 0;
        for (size_t j = 0; j + 1 < o->n; j++)
            count += o->word[j] == o->word[j + 1] && o->id[j] == o->id[i] && o->id[j + 1] == o->id[i + 1];
        bool smaller = o->id[i] < *left || (o->id[i] == *left && o->id[i + 1] < *right);
        if (o->word[i] == o->word[i + 1] && (count > best || (count == best && smaller))) {
            best = count;
            *left = o->id[i];
            *right = o->id[i + 1];
        }
    }
    return best > 0;
}

/* ---- texts */

/* Words of few letters with spaces, digits, newlines and marks between them: many equal pairs, runs and ties. */
static size_t babble(uint8_t *s, size_t n, uint64_t seed)
{
    static const char alphabet[] = "aaabbbcde  \n  .,-19\xc3\xa9";
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        s[i] = (uint8_t)alphabet[rng_below(&r, sizeof alphabet - 1)];
    return n;
}

static struct bpe *train(const void *text, size_t n, int vocab)
{
    struct bpe *b;
    struct err e = {0};
    if (bpe_train(&b, text, n, vocab, &e))
        fail_msg("%s", e.text);
    assert_int_equal(bpe_vocab(b), vocab);
    return b;
}

static void assert_lossless(const struct bpe *b, const uint8_t *s, size_t n)
{
    int32_t *id = malloc((n + 1) * sizeof *id);
    assert_non_null(id);
    id[n] = -77;
    size_t count = bpe_encode(b, s, n, id), at = 0;
    assert_true(count <= n);
    assert_int_equal(id[n], -77);
    for (size_t i = 0; i < count; i++) {
        int bytes;
        assert_true(id[i] >= 0 && id[i] < bpe_vocab(b) && id[i] != BPE_EOT);
        const uint8_t *token = bpe_token(b, id[i], &bytes);
        assert_true(bytes > 0 && at + (size_t)bytes <= n);
        assert_memory_equal(s + at, token, (size_t)bytes);
        at += (size_t)bytes;
    }
    assert_int_equal(at, n);
    free(id);
}

/* ---- tests */

static void merges_are_the_definitions(void **state)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        uint8_t text[700];
        size_t n = babble(text, sizeof text, seed);
        static struct oracle o;
        oracle_start(&o, text, n);
        char expect[8192] = "";
        int vocab = BPE_FIRST_MERGE;
        for (int32_t left = 0, right = 0; vocab < 340 && oracle_best(&o, &left, &right); vocab++) {
            sprintf(expect + strlen(expect), "%d %d\n", left, right);
            oracle_merge(&o, left, right, vocab);
        }
        struct bpe *b = train(text, n, vocab);
        char *learned = bpe_save(b);
        if (strcmp(learned, expect))
            fail_msg("seed %llu", (unsigned long long)seed);
        /* Encoding the training text replays the training. */
        int32_t id[700];
        assert_int_equal(bpe_encode(b, text, n, id), o.n);
        assert_memory_equal(id, o.id, o.n * sizeof *id);
        free(learned);
        bpe_free(b);
    }
}

static void known_merges(void **state)
{
    static const char text[] = "the then the there aaaa";
    struct bpe *b = train(text, sizeof text - 1, 261);
    /* (h e) stands 4 times, as (t h) does, and is the smaller; then (t he) 4, (" " the) 3, (a a) 3. */
    char *learned = bpe_save(b);
    assert_string_equal(learned, "104 101\n116 257\n32 258\n97 97\n");
    int bytes;
    assert_memory_equal(bpe_token(b, 259, &bytes), " the", 4);
    assert_int_equal(bytes, 4);
    bpe_token(b, BPE_EOT, &bytes);
    assert_int_equal(bytes, 0);
    bpe_token(b, 261, &bytes);
    assert_int_equal(bytes, 0);
    bpe_token(b, -1, &bytes);
    assert_int_equal(bytes, 0);
    int32_t id[32];
    assert_int_equal(bpe_encode(b, (const uint8_t *)"there then", 10, id), 5);
    const int32_t expect[] = {258, 'r', 'e', 259, 'n'};
    assert_memory_equal(id, expect, sizeof expect);
    free(learned);
    bpe_free(b);
}

static void words_are_cut_where_the_header_says(void **state)
{
    /* A vocabulary in which everything merges with everything is impossible; so each pair that would cross is taught alone. */
    static const struct {
        const char *text; /* the pair of bytes in the middle, given by its position, crosses words or not */
        size_t at;
        bool crosses;
    } cases[] = {
        {"ab", 0, false},   {"a1", 0, true},    {"1a", 0, true},   {"a.", 0, true},         {" a", 0, false}, {"a ", 0, true},
        {"  a", 0, true},   {"  a", 1, false},  {"   a", 0, false}, {"\n a", 0, true},      {"\na", 0, true}, {" \n", 0, false},
        {"\n\n", 0, false}, {"a\xc3", 0, false}, {"\xff\x80", 0, false}, {" \xc3", 0, false}, {".\xc3", 0, true}, {"..", 0, false},
        {" .", 0, false},   {"_a", 0, true},    {"\t\ta", 0, false}, {"\t\ta", 1, true},    {"  ", 0, false}, {"12", 0, false},
        {"\t a", 0, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint8_t *s = (const uint8_t *)cases[i].text;
        size_t n = strlen(cases[i].text);
        char merge[32];
        struct bpe *b;
        int32_t id[8];
        sprintf(merge, "%d %d\n", s[cases[i].at], s[cases[i].at + 1]);
        assert_int_equal(bpe_load(&b, merge, NULL), ST_OK);
        /* Runs of one byte can merge elsewhere; the merge must cover exactly the pair asked about. */
        size_t count = bpe_encode(b, s, n, id), at = 0;
        bool merged = false;
        for (size_t k = 0; k < count; k++) {
            int bytes;
            bpe_token(b, id[k], &bytes);
            merged |= at == cases[i].at && bytes == 2;
            at += (size_t)bytes;
        }
        if (merged == cases[i].crosses)
            fail_msg("case %zu: bytes %zu and %zu of '%s'", i, cases[i].at, cases[i].at + 1, cases[i].text);
        bpe_free(b);
    }
}

static void any_bytes_come_back(void **state)
{
    static uint8_t text[20000], probe[20000];
    struct bpe *b = train(text, babble(text, sizeof text, 9), 600);
    assert_lossless(b, probe, 0);
    for (int i = 0; i < 256; i++)
        probe[i] = (uint8_t)i;
    assert_lossless(b, probe, 256);
    struct rng r;
    uint64_t seed = 42;
    rng_seed(&r, seed);
    for (int round = 0; round < 200; round++) {
        size_t n = rng_below(&r, 600);
        for (size_t i = 0; i < n; i++)
            probe[i] = (uint8_t)rng_u64(&r);
        assert_lossless(b, probe, n);
        babble(probe, n, rng_u64(&r));
        assert_lossless(b, probe, n);
    }
    static const char *const runs[] = {"a", " ", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\x80", "-", "\n", " a", "\xff\xfe"};
    for (size_t k = 0; k < sizeof runs / sizeof runs[0]; k++) {
        size_t length = strlen(runs[k]);
        for (size_t i = 0; i < sizeof probe; i++)
            probe[i] = (uint8_t)runs[k][i % length];
        for (size_t n = 250; n < 262; n++)
            assert_lossless(b, probe, n);
        assert_lossless(b, probe, sizeof probe);
    }
    bpe_free(b);
}

/* Cuts in runs of more than 256 bytes leave characters whole. */
static void long_runs_are_cut_between_characters(void **state)
{
    static uint8_t text[6000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)"\xe2\x82\xac"[i % 3];
    struct bpe *b = train(text, sizeof text, BPE_FIRST_MERGE + 4);
    int32_t id[6000];
    size_t n = bpe_encode(b, text, sizeof text, id);
    for (size_t i = 0; i < n; i++) {
        int bytes;
        bpe_token(b, id[i], &bytes);
        assert_int_equal(bytes % 3, 0);
    }
    bpe_free(b);
}

/* However often everything repeats, no token outgrows a word. */
static void tokens_are_words_at_most(void **state)
{
    size_t n = 100000;
    uint8_t *text = malloc(n);
    assert_non_null(text);
    memset(text, 'x', n);
    struct bpe *b;
    struct err e = {0};
    int32_t *id = malloc(n * sizeof *id);
    assert_non_null(id);
    assert_int_equal(bpe_train(&b, text, n, 5000, &e), ST_EUSAGE);
    b = train(text, n, 264);
    assert_lossless(b, text, n);
    size_t count = bpe_encode(b, text, n, id);
    for (size_t i = 0; i < count; i++) {
        int bytes;
        bpe_token(b, id[i], &bytes);
        assert_true(bytes <= BPE_WORD);
    }
    bpe_free(b);
    free(id);
    free(text);
}

static void saved_is_loaded(void **state)
{
    static uint8_t text[20000];
    size_t n = babble(text, sizeof text, 11);
    struct bpe *a = train(text, n, 500), *again = train(text, n, 500), *b;
    char *saved = bpe_save(a), *twice = bpe_save(again), *back;
    assert_string_equal(saved, twice); /* deterministic */
    struct err e = {0};
    assert_int_equal(bpe_load(&b, saved, &e), ST_OK);
    back = bpe_save(b);
    assert_string_equal(saved, back);
    static int32_t x[20000], y[20000];
    size_t count = bpe_encode(a, text, n, x);
    assert_int_equal(bpe_encode(b, text, n, y), count);
    assert_memory_equal(x, y, count * sizeof *x);
    free(saved);
    free(twice);
    free(back);
    bpe_free(a);
    bpe_free(again);
    bpe_free(b);
    assert_int_equal(bpe_load(&b, "", &e), ST_OK);
    assert_int_equal(bpe_vocab(b), BPE_FIRST_MERGE);
    bpe_free(b);
    bpe_free(NULL);
}

static void broken_texts_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"97", "line 1"},           {"97 98", "line 1"},          {"97  98\n", "line 1"},     {"97 98 \n", "line 1"},
        {"97 98\n\n", "line 2"},    {"97 98\n258 1\n", "line 2"}, {"97 257\n", "line 1"},     {"256 97\n", "line 1"},
        {"97 256\n", "line 1"},     {"-1 97\n", "line 1"},        {"97 99999999999\n", "line 1"}, {"a b\n", "line 1"},
        {"97 98\n97 98\n", "line 2: 97 98 is merged twice"},      {"97 98\r\n", "line 1"},    {" 97 98\n", "line 1"},
        {"97 97\n257 257\n258 258\n259 259\n260 260\n261 261\n262 262\n263 263\n264 264\n", "line 9: a token of 512 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bpe *b;
        struct err e = {0};
        if (bpe_load(&b, cases[i].text, &e) != ST_EFORMAT || !strstr(e.text, cases[i].says))
            fail_msg("case %zu: %s", i, e.text);
        assert_null(b);
    }
}

static void impossible_vocabularies(void **state)
{
    struct bpe *b;
    struct err e = {0};
    assert_int_equal(bpe_train(&b, (const uint8_t *)"abc", 3, 256, &e), ST_EUSAGE);
    e = (struct err){0};
    assert_int_equal(bpe_train(&b, (const uint8_t *)"abc", 3, BPE_MAX_VOCAB + 1, &e), ST_EUSAGE);
    e = (struct err){0};
    assert_int_equal(bpe_train(&b, (const uint8_t *)"abc", 3, 260, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "259"));
    assert_null(b);
    bpe_free(train("abc", 3, 259));
    bpe_free(train("", 0, 257));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_are_the_definitions), cmocka_unit_test(known_merges),
        cmocka_unit_test(words_are_cut_where_the_header_says), cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(long_runs_are_cut_between_characters), cmocka_unit_test(tokens_are_words_at_most),
        cmocka_unit_test(saved_is_loaded),            cmocka_unit_test(broken_texts_are_refused),
        cmocka_unit_test(impossible_vocabularies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
