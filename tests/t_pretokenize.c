/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe_core.h"
#include "pretokenize.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

/* Words, joined by a byte that no text here holds. */
struct joined {
    char text[8192];
    size_t bytes, words, empty;
};

static enum status join(void *ctx, const uint8_t *s, size_t n, struct err *e)
{
    struct joined *j = ctx;
    j->empty += n == 0;
    if (j->words++)
        j->text[j->bytes++] = '|';
    memcpy(j->text + j->bytes, s, n);
    j->text[j->bytes += n] = '\0';
    return ST_OK;
}

static struct pretokenizer *open_stages(const char *const *stage, size_t n, unsigned rules)
{
    struct pretokenizer *p;
    struct err e = {0};
    if (pretokenizer_new(&p, stage, n, rules, &e))
        print_message("%s\n", e.text);
    assert_non_null(p);
    return p;
}

static struct pretokenizer *open_row(const struct pretokenize_row *r)
{
    size_t n = 0;
    while (r->stage[n])
        n++;
    return open_stages(r->stage, n, r->rules);
}

static void cut(struct pretokenizer *p, const void *text, size_t n, struct joined *j)
{
    struct err e = {0};
    j->bytes = j->words = j->empty = 0;
    j->text[0] = '\0';
    assert_int_equal(pretokenize(p, text, n, join, j, &e), ST_OK);
    assert_int_equal(j->empty, 0);
}

/* Worked out by hand from the patterns. */
static void words_are_those_of_the_published_patterns(void **state)
{
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"gpt-2", "Hello, world's 123abc", "Hello|,| world|'s| 123|abc"},
        {"gpt-2", "a  b\n\n c\t\td ", "a| | b|\n\n| c|\t|\t|d| "},
        {"gpt-2", "DON'T don't", "DON|'|T| don|'t"},
        {"gpt-2", "x\u3000y\u00a0\u00a0z", "x|\u3000|y|\u00a0|\u00a0|z"},
        {"gpt-2", "a\u180eb", "a|\u180e|b"},               /* a format character since Unicode 6.3 */
        {"gpt-2", "\u180e \u180e", "\u180e| \u180e"},
        {"gpt-2", "½Ⅷ²१२ ह\u093fन", "½Ⅷ²१२| ह|\u093f|न"}, /* a vowel sign is a mark, not a letter */
        {"gpt-2", "a\xff\xc3(b", "a|\xff|\xc3|(|b"},       /* ill-formed bytes stand alone */
        {"gpt-2", "", ""},
        {"llama-bpe", "Hello, WORLD'S 12345 a\r\n\r\n b", "Hello|,| WORLD|'S| |123|45| a|\r\n\r\n| b"},
        {"llama-bpe", "f(x):\n\treturn x", "f|(x|):\n|\treturn| x"},
        {"qwen2", "Hello 12", "Hello| |1|2"},
        {"smollm", "ab 12c", "ab| |1|2|c"},
        {"falcon", "a.b 12345", "a|.|b| |123|45"},
        {"default", "a+b 12345", "a|+|b| |123|45"},
        {"gpt-4o", "CamelCase it's/\n x", "Camel|Case| it's|/\n| x"},
        {"tekken", "CamelCase 12", "Camel|Case| |1|2"},
        {"deepseek-coder", "ab\n12 c.", "ab|\n|1|2| c|."},
        {"qbench", "Hello, world's 123\n\nabc\xff", "Hello|,| world|'|s| 123|\n\n|abc\xff"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pretokenizer *p = open_row(pretokenize_find(cases[i].name));
        struct joined j;
        cut(p, cases[i].text, strlen(cases[i].text), &j);
        if (strcmp(j.text, cases[i].words) != 0)
            print_message("%s on \"%s\":\n", cases[i].name, cases[i].text);
        assert_string_equal(j.text, cases[i].words);
        pretokenizer_free(p);
    }
}

static size_t random_text(struct rng *r, uint8_t *s, size_t most)
{
    static const char *const parts[] = {" ", "  ", "\n", "\t", "\r\n", "'s", "a", "Zz", "7", "é", "東", "\U0001f916", "\u3000", ".", "_", "\xff", "\xe2\x82", "\0"};
    size_t n = 0;
    while (n + 4 < most && rng_below(r, 40)) {
        uint32_t i = rng_below(r, sizeof parts / sizeof parts[0]);
        size_t length = parts[i][0] ? strlen(parts[i]) : 1;
        memcpy(s + n, parts[i], length);
        n += length;
    }
    return n;
}

/* Whatever the text, the words of every pre-tokenizer are the text. */
static void nothing_is_lost(void **state)
{
    struct rng r;
    const uint64_t seed = 7;
    print_message("seed %llu\n", (unsigned long long)seed);
    rng_seed(&r, seed);
    size_t rows;
    const struct pretokenize_row *row = pretokenize_rows(&rows);
    for (size_t i = 0; i < rows; i++) {
        struct pretokenizer *p = open_row(&row[i]);
        for (int round = 0; round < 300; round++) {
            uint8_t text[512];
            size_t n = random_text(&r, text, sizeof text), k = 0;
            struct joined j;
            cut(p, text, n, &j);
            for (size_t at = 0; at < j.bytes; at++)
                if (j.text[at] != '|')
                    assert_int_equal((uint8_t)j.text[at], text[k++]);
            assert_int_equal(k, n);
        }
        pretokenizer_free(p);
    }
}

static void stages_cut_what_the_one_before_leaves(void **state)
{
    struct joined j;
    struct pretokenizer *p = open_stages((const char *const[]){"b+"}, 1, 0);
    cut(p, "abbaab", 6, &j);
    assert_string_equal(j.text, "a|bb|aa|b");
    pretokenizer_free(p);
    p = open_stages((const char *const[]){"b+", "a(?=b)"}, 2, 0); /* the second never sees a b behind an a */
    cut(p, "abab", 4, &j);
    assert_string_equal(j.text, "a|b|a|b");
    pretokenizer_free(p);
    p = open_stages((const char *const[]){"(?=(\\d{3})+(?!\\d))"}, 1, 0); /* matches that are empty */
    cut(p, "1234567é89", 11, &j);
    assert_string_equal(j.text, "1|234|567é89");
    pretokenizer_free(p);
    p = open_stages(NULL, 0, 0);
    cut(p, "a b", 3, &j);
    assert_string_equal(j.text, "a b");
    pretokenizer_free(p);
}

static void patterns_of_another_dialect_are_refused(void **state)
{
    static const char *const patterns[] = {"[a[bc]]", "[\\p{L}&&[^a]]", "\\h+", "\\w+", "^a", "a$", "(a)\\1", "\\Kx", "(", "[a", "a**", "\\p{Nope}", "a\\"};
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        struct pretokenizer *p;
        struct err e = {0};
        assert_int_not_equal(pretokenizer_new(&p, &patterns[i], 1, 0, &e), ST_OK);
        assert_null(p);
        assert_non_null(strstr(e.text, patterns[i]));
    }
    static const char *const fine[] = {"\\$\\^[\\^$\\[]", "[^\\s]+\\S", "[]a]"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        pretokenizer_free(open_stages(&fine[i], 1, 0));
    const char *const many[PRETOKENIZE_STAGES + 1] = {"a", "a", "a", "a", "a", "a", "a"};
    struct pretokenizer *p;
    assert_int_equal(pretokenizer_new(&p, many, PRETOKENIZE_STAGES + 1, 0, NULL), ST_EUNSUPPORTED);
}

/* A pattern that would try for ever ends with words, not ids. */
static void a_pattern_that_explodes_is_an_error(void **state)
{
    struct pretokenizer *p = open_stages((const char *const[]){"(a+)+b"}, 1, 0);
    struct err e = {0};
    struct joined j = {.bytes = 0};
    char text[65];
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof text - 2, "cb", 2);
    assert_int_equal(pretokenize(p, (const uint8_t *)text, sizeof text, join, &j, &e), ST_EUNSUPPORTED);
    assert_non_null(strstr(e.text, "(a+)+b"));
    pretokenizer_free(p);
}

static void rows_are_found_by_name_and_pattern(void **state)
{
    assert_null(pretokenize_find("no such"));
    const struct pretokenize_row *r = pretokenize_find("llama-bpe");
    assert_string_equal(pretokenize_match(r->stage, 1, PRETOKENIZE_WHOLE)->name, "llama-bpe");
    assert_string_equal(pretokenize_match(r->stage, 1, 0)->name, "dbrx");
    assert_string_equal(pretokenize_match(pretokenize_find("refact")->stage, 2, 0)->name, "smollm");
    assert_null(pretokenize_match(pretokenize_find("refact")->stage, 1, 0));
    assert_null(pretokenize_match((const char *const[]){"x"}, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_the_published_patterns), cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(stages_cut_what_the_one_before_leaves),     cmocka_unit_test(patterns_of_another_dialect_are_refused),
        cmocka_unit_test(a_pattern_that_explodes_is_an_error),       cmocka_unit_test(rows_are_found_by_name_and_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
