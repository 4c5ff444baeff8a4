/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "table.h" /* before cmocka.h, whose macro is called fail too */
#include "words.h"

#include <cmocka.h>

static char folder[] = "/tmp/qbench-table-XXXXXX";

static int temporary_folder(void **state) { return mkdtemp(folder) ? 0 : -1; }
static int remove_folder(void **state) { return rmdir(folder); }

/* Every type of cell, and every character that some form has to escape. */
static struct table *sample_table(void)
{
    struct table *t = table_new("A \"title\" | <1>");
    table_column(t, "name", "", 0);
    table_column(t, "count", "1", 0);
    table_column(t, "rate", "GB/s", 3);
    table_column(t, "delta", "nat", -4);
    table_row(t);
    table_text(t, 0, "a|b,\"c\"\nγ");
    table_int(t, 1, -9007199254740993LL);
    table_interval(t, 2, 1.0 / 3, 0.25, 0.5);
    table_real(t, 3, 1e-7);
    table_row(t);
    table_text(t, 0, "");
    table_real(t, 1, NAN);
    table_absent(t, 2, "needs amx");
    table_interval(t, 3, 0.5, NAN, NAN);
    table_note(t, "a note of %d words", 5);
    return t;
}

static char *printed(const struct table *const *tables, int n, const char *form)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    struct err e = {0};
    const struct sink *s = sink_find(form);
    assert_non_null(s);
    assert_int_equal(s->print(f, tables, n, &e), ST_OK);
    fclose(f);
    return text;
}

static char *printed_sample(const char *form)
{
    struct table *t = sample_table();
    const struct table *const one[] = {t};
    char *text = printed(one, 1, form);
    table_free(t);
    return text;
}

static void text_aligns(void **state)
{
    char *text = printed_sample("text");
    assert_string_equal(text, "A \"title\" | <1>\n"
                              "name                   count                  rate   delta\n"
                              "                           1                  GB/s     nat\n"
                              "---------  -----------------  --------------------  ------\n"
                              "a|b,\"c\" γ  -9007199254740993  0.333 [0.250, 0.500]  0.0000\n"
                              "                                               n/a  0.5000\n"
                              "a note of 5 words\n");
    free(text);
}

static void md_escapes(void **state)
{
    char *text = printed_sample("md");
    assert_non_null(strstr(text, "### A \"title\" \\| &lt;1>"));
    assert_non_null(strstr(text, "| name | count (1) | rate (GB/s) | delta (nat) |\n|---|--:|--:|--:|\n"));
    assert_non_null(strstr(text, "| a\\|b,\"c\" γ | -9007199254740993 | 0.333 [0.250, 0.500] | 0.0000 |\n"));
    free(text);
}

static void csv_is_rfc_4180(void **state)
{
    char *text = printed_sample("csv");
    assert_string_equal(text, "name,count [1],rate [GB/s],rate_lo,rate_hi,rate_reason,delta [nat]\r\n"
                              "\"a|b,\"\"c\"\"\nγ\",-9007199254740993,0.3333333333333333,0.25,0.5,,1e-07\r\n"
                              ",,,,,needs amx,0.5\r\n");
    free(text);
}

static void json_parses(void **state)
{
    json_error_t why;
    struct table *t = sample_table(), *empty = table_new(NULL);
    table_column(empty, "x", "", 0);
    const struct table *const two[] = {t, empty};
    char *text = printed(two, 2, "json");
    json_t *j = json_loads(text, 0, &why);
    assert_non_null(j);
    assert_int_equal(json_array_size(j), 2);
    json_t *row = json_array_get(json_object_get(json_array_get(j, 0), "rows"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "name")), "a|b,\"c\"\nγ");
    assert_int_equal(json_integer_value(json_object_get(row, "count")), -9007199254740993LL);
    assert_true(json_real_value(json_object_get(row, "rate")) == 1.0 / 3);
    assert_true(json_number_value(json_object_get(row, "rate_hi")) == 0.5);
    row = json_array_get(json_object_get(json_array_get(j, 0), "rows"), 1);
    assert_true(json_is_null(json_object_get(row, "count")));
    assert_true(json_is_null(json_object_get(row, "rate")));
    assert_string_equal(json_string_value(json_object_get(row, "rate_reason")), "needs amx");
    assert_true(json_is_null(json_object_get(json_array_get(j, 1), "title")));
    json_decref(j);
    free(text);
    table_free(empty);
    table_free(t);
}

static void jsonl_has_an_object_a_line(void **state)
{
    char *text = printed_sample("jsonl"), *save;
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        json_t *j = json_loads(line, 0, NULL);
        assert_true(json_is_object(j));
        json_decref(j);
    }
    assert_int_equal(lines, 2);
    free(text);
}

/* Whatever bytes stand in a reason, the JSON is valid. */
static void json_survives_bad_utf8(void **state)
{
    static const char *const bad[] = {"\xff", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xc0\xaf", "\xf5\x80\x80\x80", "a\x01\x7f\t\"\\"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct table *t = table_new(bad[i]);
        table_column(t, bad[i], "", 0);
        table_row(t);
        table_absent(t, 0, bad[i]);
        const struct table *const one[] = {t};
        char *text = printed(one, 1, "json");
        json_t *j = json_loads(text, 0, NULL);
        assert_non_null(j);
        json_decref(j);
        free(text);
        table_free(t);
    }
}

static void every_sink_prints_nothing_and_empty(void **state)
{
    struct table *t = table_new(NULL);
    const struct table *const one[] = {t};
    for (int i = 0; sinks[i]; i++) {
        free(printed(one, 0, sinks[i]->name));
        free(printed(one, 1, sinks[i]->name));
        assert_ptr_equal(sink_find(sinks[i]->name), sinks[i]);
    }
    table_free(t);
}

static void reals_round_trip(void **state)
{
    struct rng r;
    char buf[48];
    uint64_t seed = 11;
    rng_seed(&r, seed);
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = rng_u64(&r);
        double x;
        memcpy(&x, &bits, sizeof x);
        real_show(x, buf, sizeof buf);
        if (isfinite(x) && strtod(buf, NULL) != x)
            fail_msg("seed %llu: %a shown as %s", (unsigned long long)seed, x, buf);
        if (!isfinite(x))
            assert_string_equal(buf, "");
    }
    real_show(0.1, buf, sizeof buf);
    assert_string_equal(buf, "0.1");
}

static void digits(void **state)
{
    static const struct {
        double x;
        int digits;
        const char *text;
    } cases[] = {{123456.7, 3, "123457"}, {12.3456, 3, "12.3"}, {0.00123456, 3, "0.00123"}, {0, 3, "0"}, {9.9996, 4, "10.000"}, {1e12, 3, "1.00e+12"},
                 {3e-9, 3, "3.00e-09"}, {-0.01234, -4, "-0.0123"}, {1e-9, -4, "0.0000"}, {12.5, 0, "12.50"}, {INFINITY, 3, "inf"}, {-1e300, -4, "-1.000e+300"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct column column = {"x", "", cases[i].digits};
        struct cell cell = {.type = CELL_REAL, .real = cases[i].x};
        char buf[64];
        cell_show(&cell, &column, buf, sizeof buf);
        assert_string_equal(buf, cases[i].text);
    }
}

static void files_are_whole_or_absent(void **state)
{
    char path[128];
    struct table *t = sample_table();
    const struct table *const one[] = {t};
    struct err e = {0};
    struct stat st;
    snprintf(path, sizeof path, "%s/out.csv", folder);
    assert_int_equal(tables_print(one, 1, "csv", path, &e), ST_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 100);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/absent/out.csv", folder);
    assert_int_equal(tables_print(one, 1, "csv", path, &e), ST_EIO);
    assert_non_null(strstr(e.text, path));
    e = (struct err){0};
    snprintf(path, sizeof path, "%s/taken", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(tables_print(one, 1, "csv", path, &e), ST_EIO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0); /* empty: the temporary file went too */
    assert_int_equal(mkdir(folder, 0700), 0);
    e = (struct err){0};
    assert_int_equal(tables_print(one, 1, "xml", path, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "text, md, csv, json, jsonl"));
    table_free(t);
}

static void nearest_words(void **state)
{
    static const char *const words[] = {"kernel", "threads", "gemm", "decode", NULL};
    static const struct {
        const char *typed, *hint;
    } cases[] = {{"kernl", "kernel"}, {"kenrel", "kernel"}, {"Threads", "threads"}, {"gem", "gemm"}, {"decoder", "decode"}, {"zzzzzz", NULL}, {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nearest n = nearest_to(cases[i].typed);
        char hint[128], wanted[128] = "";
        for (int k = 0; words[k]; k++)
            nearest_offer(&n, words[k]);
        if (cases[i].hint)
            snprintf(wanted, sizeof wanted, ", did you mean '%s'?", cases[i].hint);
        assert_string_equal(nearest_hint(&n, hint, sizeof hint), wanted);
    }
    assert_true(words_has("m n k", "n"));
    assert_true(words_has("gamma gamma_on", "gamma_on"));
    assert_false(words_has("gamma_on", "gamma"));
    assert_false(words_has("m n k", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_aligns),
        cmocka_unit_test(md_escapes),
        cmocka_unit_test(csv_is_rfc_4180),
        cmocka_unit_test(json_parses),
        cmocka_unit_test(jsonl_has_an_object_a_line),
        cmocka_unit_test(json_survives_bad_utf8),
        cmocka_unit_test(every_sink_prints_nothing_and_empty),
        cmocka_unit_test(reals_round_trip),
        cmocka_unit_test(digits),
        cmocka_unit_test(files_are_whole_or_absent),
        cmocka_unit_test(nearest_words),
    };
    return cmocka_run_group_tests(tests, temporary_folder, remove_folder);
}
