/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h" /* before cmocka.h, whose macro is called fail too */
#include "kernel.h"
#include "suite.h"
#include "work.h"

#include <cmocka.h>

static char folder[] = "/tmp/qbench-suite-XXXXXX", path[128];

static int temporary_folder(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/s.yaml", folder);
    return 0;
}

static int remove_folder(void **state) { return unlink(path) || rmdir(folder); }

static void write_bytes(const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static struct suite loaded_with(const char *text, const char *const *sets, int n_sets, const char *filter)
{
    struct suite s;
    struct err e = {0};
    struct suite_options o = {.sets = sets, .n_sets = n_sets, .filter = filter};
    write_bytes(text, strlen(text));
    if (suite_load(&s, path, &o, &e) != ST_OK)
        fail_msg("%s\n%s", e.text, text);
    return s;
}

static struct suite loaded(const char *text) { return loaded_with(text, NULL, 0, NULL); }

/* The keys without what every gemm case of these tests has in common, one a line. */
static void assert_cases(struct suite *s, const char *const *axes_shown, const char *wanted)
{
    char text[4096] = "";
    for (size_t i = 0; i < s->count; i++) {
        for (int a = 0; axes_shown[a]; a++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", a ? " " : "", case_text(&s->cases[i], axes_shown[a]));
        strcat(text, "\n");
    }
    assert_string_equal(text, wanted);
    suite_close(s);
}
#define SHOW(...) (const char *const[]){__VA_ARGS__, NULL}

static const char head[] = "sections:\n  a:\n    work: gemm\n    format: f32\n    kernel: f32_scalar\n";

static void lists_multiply(void **state)
{
    char text[512];
    snprintf(text, sizeof text, "%s    m: [1, 2]\n    k: [32, 64]\n    samples: 5\n", head);
    struct suite s = loaded(text);
    assert_string_equal(s.name, "s");
    assert_string_equal(s.text, text);
    assert_int_equal(s.cases[0].settings.samples, 5);
    assert_string_equal(s.cases[0].section, "a");
    assert_cases(&s, SHOW("m", "k"), "1 32\n1 64\n2 32\n2 64\n");
}

static void ranges(void **state)
{
    static const char *const good[][2] = {{"1..4", "1\n2\n3\n4\n"}, {"1..64*4", "1\n4\n16\n64\n"}, {"1..65*4", "1\n4\n16\n64\n"}, {"5..100+50", "5\n55\n"},
                                          {"[7, 1..2]", "7\n1\n2\n"}, {"3..3", "3\n"}};
    char text[512];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        snprintf(text, sizeof text, "%s    m: %s\n", head, good[i][0]);
        struct suite s = loaded(text);
        assert_cases(&s, SHOW("m"), good[i][1]);
    }
}

static void globs_walk_the_tables(void **state)
{
    struct suite s = loaded("sections:\n  a:\n    work: gemm\n    kernel: '*'\n    n: 64\n    k: 64\n");
    size_t n = 0;
    for (; kernels[n]; n++)
        assert_string_equal(case_text(&s.cases[n], "kernel"), kernels[n]->name);
    assert_int_equal(s.count, n);
    suite_close(&s);
    /* kernels of another format are no cases; f32 has no group, so its cases are one */
    s = loaded("sections:\n  a:\n    work: gemm\n    format: [f32, int4]\n    kernel: '*_scalar'\n    group: [0, 32]\n    n: 64\n    k: 64\n");
    assert_cases(&s, SHOW("kernel", "group"), "f32_scalar 0\nint4_scalar 0\nint4a16_scalar 0\nint4_scalar 32\nint4a16_scalar 32\n");
    s = loaded("sections:\n  a:\n    work: [bandwidth, peak]\n    op: ['*', read]\n    bytes: 4096\n");
    n = 0;
    for (size_t i = 0; i < s.count; i++)
        n += !strcmp(s.cases[i].work->name, "bandwidth");
    assert_int_equal(n, 3);
    assert_true(s.count > n);
    suite_close(&s);
}

static void sections_inherit(void **state)
{
    struct suite s = loaded("global: {samples: 3, k: 32, threads: 1, prompt: 4}\n"
                            "sections:\n"
                            "  c: {inherit: b, m: 3}\n"
                            "  b: {inherit: a, m: [1, 2], samples: 9}\n"
                            "  a: {work: gemm, kernel: f32_scalar, n: 48, m: 7, exclude: [{m: 2}]}\n");
    assert_int_equal(s.cases[0].settings.samples, 9);
    assert_int_equal(s.cases[2].settings.samples, 3);
    assert_string_equal(s.cases[0].section, "c");
    assert_cases(&s, SHOW("m", "n", "k", "threads"), "3 48 32 1\n1 48 32 1\n7 48 32 1\n");
}

static void excludes(void **state)
{
    char text[512];
    snprintf(text, sizeof text, "%s    m: 1..4\n    k: [32, 64]\n    exclude:\n      - {m: [1, 3..4], k: 32}\n      - {kernel: 'f32_*', m: 2}\n      - {kernel: int8_scalar}\n", head);
    struct suite s = loaded(text);
    assert_cases(&s, SHOW("m", "k"), "1 64\n3 64\n4 64\n");
    /* what would be refused can be excluded */
    s = loaded("sections:\n  a:\n    work: decode\n    model: random:1m\n    format: int8\n    prompt: 8\n    generate: 8\n    gamma: [tensor, channel]\n    gamma_on: [weight, act]\n"
               "    exclude: [{gamma: channel, gamma_on: act}]\n");
    assert_cases(&s, SHOW("gamma", "gamma_on"), "tensor weight\ntensor act\nchannel weight\n");
}

static void anchors(void **state)
{
    struct suite s = loaded("global: {threads: &t [1, 2]}\nsections:\n  a: &a {work: gemm, kernel: f32_scalar, k: 32, m: *t}\n  b: *a\n");
    assert_cases(&s, SHOW("m", "threads"), "1 1\n1 2\n2 1\n2 2\n");
}

static void overrides_and_filters(void **state)
{
    static const char text[] = "sections:\n  a: {work: gemm, kernel: f32_scalar, m: 1..3, k: 32}\n  b: {work: bandwidth, op: read, bytes: 4096}\n";
    const char *sets[] = {"m=[5, 6]", "samples=2", "threads=1"};
    struct suite s = loaded_with(text, sets, 3, NULL), plain = loaded(text), filtered = loaded_with(text, NULL, 0, "work=gemm,m=2");
    assert_int_equal(s.cases[0].settings.samples, 2);
    assert_string_not_equal(s.hash, plain.hash);
    assert_string_not_equal(filtered.hash, plain.hash);
    assert_cases(&s, SHOW("work", "m", "threads"), "gemm 5 1\ngemm 6 1\nbandwidth 1 1\n");
    assert_cases(&filtered, SHOW("work", "m"), "gemm 2\n");
    struct suite again = loaded(text);
    assert_string_equal(again.hash, plain.hash);
    suite_close(&again);
    suite_close(&plain);
    s = loaded_with(text, NULL, 0, "* m=[13] *");
    assert_cases(&s, SHOW("m"), "1\n3\n");
}

static const struct {
    const char *text, *says; /* says: what follows the file's name */
} bad[] = {
    {"", ": it is empty"},
    {"# nothing\n", ": it is empty"},
    {"- a\n- b\n", ":1:1: a suite is a mapping with 'sections' and perhaps 'global', not a list"},
    {"word", ":1:1: a suite is a mapping"},
    {"global: {samples: 3}\n", ":1:1: the suite has no 'sections'"},
    {"section: {}\n", ":1:1: unknown key 'section', did you mean 'sections'?"},
    {"sections: [a]\n", ":1:11: sections must be a mapping"},
    {"sections: {}\n", ": the suite has no case"},
    {"sections:\n\ta: 1\n", ":2:1: found character that cannot start any token (tabs"},
    {"sections:\n  a: {work: gemm\n", ":3:1: "},
    {"sections:\n  a: 3\n", ":2:6: a must be a mapping of keys to values, not a single value"},
    {"sections:\n  a: {m: 1}\n", ":2:3: section 'a' has no work"},
    {"sections:\n  a: {work: gemm, kernl: f32_scalar}\n", ":2:19: unknown key 'kernl', did you mean 'kernel'?"},
    {"sections:\n  a: {work: gem}\n", ":2:13: work: unknown value 'gem', did you mean 'gemm'?"},
    {"sections:\n  a: {work: gemm, kernel: [f32_scalar, int8_scaler]}\n", ":2:40: kernel: unknown value 'int8_scaler', did you mean 'int8_scalar'?"},
    {"sections:\n  a: {work: gemm, kernel: 'int7*'}\n", ":2:27: kernel: 'int7*' matches nothing; it takes f32_scalar"},
    {"sections:\n  a: {work: gemm, kernel: *_scalar}\n", ":2:27: found undefined alias (a glob that begins with '*' must be quoted)"},
    {"sections:\n  a: {work: gemm, m: x}\n", ":2:22: m: 'x' is not a whole number"},
    {"sections:\n  a: {work: gemm, m: 0}\n", ":2:22: m: 0 is too small"},
    {"sections:\n  a: {work: gemm, m: }\n", ":2:22: m has no value"},
    {"sections:\n  a: {work: gemm, m: []}\n", ":2:22: m: the list is empty"},
    {"sections:\n  a: {work: gemm, m: [[1]]}\n", ":2:23: m must be a word or a number, not a list"},
    {"sections:\n  a: {work: gemm, m: {b: 1}}\n", ":2:22: m must be a word or a number, not a mapping"},
    {"sections:\n  a: {work: gemm, m: 4..1}\n", ":2:22: m: the range 4..1 ends before it begins"},
    {"sections:\n  a: {work: gemm, m: 1..8*1}\n", ":2:22: m: the range 1..8*1 never ends"},
    {"sections:\n  a: {work: gemm, k: 0..8*2}\n", ":2:22: k: the range 0..8*2 never ends"},
    {"sections:\n  a: {work: gemm, m: 1..8x}\n", ":2:22: m: '1..8x' is not a range"},
    {"sections:\n  a: {work: gemm, m: 1..999999999}\n", ":2:22: more than 100000 values"},
    {"sections:\n  a: {work: gemm, m: 1..1000, n: 1..1000}\n", ":2:3: section 'a' multiplies to 1000000 cases"},
    {"sections:\n  a: {work: gemm, m: 1, m: 2}\n", ":2:25: the key 'm' stands twice"},
    {"sections:\n  a: {work: gemm}\n  a: {work: peak}\n", ":3:3: the section 'a' stands twice"},
    {"sections:\n  a: {work: gemm, samples: [1, 2]}\n", ":2:28: samples is a setting and takes one value, not a list"},
    {"sections:\n  a: {work: gemm, samples: 0}\n", ":2:28: samples: 0 is too small"},
    {"sections:\n  a: {work: gemm, prompt: 3}\n", ":2:19: work gemm does not read 'prompt'; these do: prefill, decode"},
    {"sections:\n  first: {work: gemm, inherit: frist}\n", ":2:32: no section is named 'frist', did you mean 'first'?"},
    {"sections:\n  a: {inherit: b, work: gemm}\n  b: {inherit: c}\n  c: {inherit: b}\n", ": section"},
    {"sections:\n  a: {work: gemm, exclude: {m: 1}}\n", ":2:28: exclude must be a list of mappings, not a mapping"},
    {"sections:\n  a: {work: gemm, exclude: [{samples: 1}]}\n", ":2:30: exclude: samples is a setting"},
    {"sections:\n  a: {work: gemm, exclude: [{thread: 1}]}\n", ":2:30: unknown key 'thread', did you mean 'threads'?"},
    {"sections:\n  a: {work: gemm, exclude: [[1]]}\n", ":2:29: an entry of exclude must be a mapping"},
    {"sections:\n  a: {work: gemm, format: int8, kernel: 'int4_*'}\n", ":2:3: section 'a' has no case: no kernel of it takes its format"},
    {"sections:\n  a: {work: peak, op: read}\n", ":2:3: section 'a' has no case"},
    {"sections:\n  a: {work: bandwidth}\n", ":2:3: section 'a': work bandwidth needs the axis 'op'"},
    {"sections:\n  a: {<<: {m: 1}, work: gemm}\n", ":2:7: merge keys (<<) are not supported; use inherit"},
    {"global: {inherit: a}\nsections: {a: {work: gemm}}\n", ":1:19: global cannot inherit"},
    {"sections: {a: {work: gemm}}\n---\nsections: {}\n", ":3:1: a second document"},
    {"x: &x [*x]\nsections: {}\n", ":1:1: unknown key 'x'"},
    {"sections:\n  a: {work: gemm, m: &x [*x]}\n", ":2:22: m must be a word or a number, not a list"},
    {"sections:\n  a: &a {work: gemm, m: *a}\n", ":2:6: m must be a word or a number, not a mapping"},
    {"sections:\n  ? [1]\n  : {work: gemm}\n", ":2:5: a section's name must be a word or a number"},
    {"sections:\n  a: {work: gemm, model: '1*'}\n", ": model: '1*' is a glob"},
};

static void errors_say_where(void **state)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct suite s;
        struct err e = {0};
        write_bytes(bad[i].text, strlen(bad[i].text));
        if (suite_load(&s, path, NULL, &e) == ST_OK)
            fail_msg("accepted:\n%s", bad[i].text);
        size_t n = strlen(path);
        bool anywhere = !strncmp(bad[i].says, ": ", 2);
        if (strncmp(e.text, path, n) != 0 || strchr(e.text, '\n') || (anywhere ? !strstr(e.text + n, bad[i].says) : strncmp(e.text + n, bad[i].says, strlen(bad[i].says)) != 0))
            fail_msg("%s\ngives '%s'\nnot  '%s'", bad[i].text, e.text, bad[i].says);
        assert_null(s.cases);
    }
}

static void bad_options(void **state)
{
    static const char text[] = "sections:\n  a: {work: gemm, kernel: f32_scalar, m: 1, k: 32}\n";
    static const struct {
        const char *set, *filter, *says;
    } cases[] = {
        {"threads", NULL, "--set threads: write key=value"},      {"=3", NULL, "write key=value"},
        {"thraeds=1", NULL, "unknown key 'thraeds', did you mean 'threads'?"}, {"m=", NULL, "the value is missing"},
        {"m=x", NULL, "m: 'x' is not a whole number"},             {"m=[1", NULL, "--set m=[1"},
        {"prompt=3", NULL, "no section of this suite reads 'prompt'"}, {"samples=[1,2]", NULL, "takes one value"},
        {NULL, "work=decode", "no case matches --filter"},        {NULL, "wrk=gemm", "--filter: unknown axis 'wrk', did you mean 'work'?"},
        {NULL, "nothing", "no case matches --filter 'nothing'"},
    };
    write_bytes(text, strlen(text));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct suite s;
        struct err e = {0};
        const char *sets[] = {cases[i].set};
        struct suite_options o = {.sets = sets, .n_sets = cases[i].set ? 1 : 0, .filter = cases[i].filter};
        assert_int_equal(suite_load(&s, path, &o, &e), ST_EUSAGE);
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s' lacks '%s'", e.text, cases[i].says);
    }
}

static void threads_range_over_the_cpus(void **state)
{
    char text[512], wanted[1024] = "";
    for (int t = 1; t <= host_cpus(); t *= 2)
        snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%d\n", t);
    snprintf(text, sizeof text, "%s    threads: 1..all*2\n", head);
    struct suite s = loaded(text);
    assert_cases(&s, SHOW("threads"), wanted);
    snprintf(text, sizeof text, "%s    m: 1..all\n", head);
    struct err e = {0};
    write_bytes(text, strlen(text));
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "m: '1..all' is not a range"));
}

/* What is compared turns fastest, wherever its axis stands. */
static void compared_axes_turn_fastest(void **state)
{
    char text[512];
    snprintf(text, sizeof text, "%s    m: [1, 2]\n    k: [32, 64]\n    threads: [1, 2]\n    compare: m\n", head);
    struct suite s = loaded(text);
    assert_string_equal(s.cases[0].settings.compare, "m");
    assert_cases(&s, SHOW("m", "k", "threads"), "1 32 1\n2 32 1\n1 32 2\n2 32 2\n1 64 1\n2 64 1\n1 64 2\n2 64 2\n");
    snprintf(text, sizeof text, "%s    m: [1, 2]\n    k: [32, 64]\n    compare: m threads work\n", head);
    s = loaded(text);
    assert_cases(&s, SHOW("m", "k"), "1 32\n2 32\n1 64\n2 64\n");
    snprintf(text, sizeof text, "%s    compare: m thraeds\n", head);
    struct err e = {0};
    write_bytes(text, strlen(text));
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, ":6:14: compare: unknown axis 'thraeds', did you mean 'threads'?"));
}

static void sections_are_chosen(void **state)
{
    static const char text[] = "sections:\n  up: {work: gemm, kernel: f32_scalar, m: 1}\n  down: {inherit: up, m: 2}\n  upper: {inherit: up, m: 3}\n";
    static const char *const asked[] = {"up*"}, *const both[] = {"upper", "down"}, *const unknown[] = {"up", "side"};
    struct suite s;
    struct err e = {0};
    struct suite_options o = {.sections = asked, .n_sections = 1};
    char hash[sizeof s.hash];
    write_bytes(text, strlen(text));
    assert_int_equal(suite_load(&s, path, &o, &e), ST_OK);
    strcpy(hash, s.hash);
    assert_cases(&s, SHOW("m"), "1\n3\n");
    o = (struct suite_options){.sections = both, .n_sections = 2};
    assert_int_equal(suite_load(&s, path, &o, &e), ST_OK);
    assert_string_not_equal(s.hash, hash); /* another set of cases is another run to resume */
    assert_cases(&s, SHOW("m"), "2\n3\n");
    o = (struct suite_options){.sections = unknown, .n_sections = 2};
    assert_int_equal(suite_load(&s, path, &o, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "--section side: "));
    assert_non_null(strstr(e.text, "it has up, down, upper"));
}

static void shapes_are_short_for_numbers(void **state)
{
    struct suite s = loaded("sections:\n  a: {work: gemm, kernel: f32_scalar, shape: '1b/*'}\n");
    assert_cases(&s, SHOW("n", "k"), "2048 2048\n256 2048\n5632 2048\n2048 5632\n32000 2048\n"); /* equal ones once */
    static const char text[] = "sections:\n  a: {work: gemm, kernel: f32_scalar, shape: 1b/q, exclude: [{shape: 1b/q}]}\n";
    struct err e = {0};
    write_bytes(text, strlen(text));
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "exclude by n and k"));
}

/* Bytes that are no text, and aliases that multiply: refused quickly, in one line. */
static void hostile_files(void **state)
{
    struct suite s;
    struct err e = {0};
    static const char binary[] = "\x7f" "ELF\x02\x01\x01\0\0\0\xff\xfe";
    write_bytes(binary, sizeof binary);
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    assert_null(strchr(e.text, '\n'));
    e = (struct err){0};
    char bomb[4096] = "global:\n  m: &l0 [1, 1]\n";
    for (int i = 1; i < 40; i++)
        snprintf(bomb + strlen(bomb), sizeof bomb - strlen(bomb), "  n: &l%d [*l%d, *l%d]\n", i, i - 1, i - 1);
    write_bytes(bomb, strlen(bomb));
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    e = (struct err){0};
    static char huge[(1 << 20) + 10];
    memset(huge, '#', sizeof huge);
    write_bytes(huge, sizeof huge);
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
    assert_non_null(strstr(e.text, "larger than"));
    e = (struct err){0};
    memset(huge, '[', 5000);
    write_bytes(huge, 5000);
    assert_int_equal(suite_load(&s, path, NULL, &e), ST_EFORMAT);
}

/* A good suite with bytes knocked out never crashes, and fails in one line if it fails. */
static void mutations(void **state)
{
    static const char text[] = "# why\nglobal: {samples: 3, threads: [1, 2]}\nsections:\n  a: &a\n    work: gemm\n    kernel: 'f32_*'\n    m: 1..8*2\n    k: 32\n"
                               "    exclude:\n      - {m: 2, threads: 1}\n  b: {inherit: a, m: [3, 4]}\n  c: {work: bandwidth, op: r*, bytes: 64}\n";
    struct rng r;
    uint64_t seed = 5;
    rng_seed(&r, seed);
    for (int i = 0; i < 3000; i++) {
        char copy[sizeof text];
        struct suite s;
        struct err e = {0};
        memcpy(copy, text, sizeof text);
        for (uint32_t k = rng_below(&r, 4) + 1; k; k--)
            copy[rng_below(&r, sizeof text - 1)] = (char)(rng_below(&r, 3) ? "*&[]{}:-#',\n\t 0a"[rng_below(&r, 16)] : (int)rng_below(&r, 256));
        write_bytes(copy, sizeof text - 1);
        if (suite_load(&s, path, NULL, &e) == ST_OK)
            suite_close(&s);
        else if (!e.text[0])
            fail_msg("seed %llu, mutation %d: failed without words:\n%s", (unsigned long long)seed, i, copy);
    }
}

static void missing_suites(void **state)
{
    struct suite s;
    struct err e = {0};
    assert_int_equal(suite_load(&s, "/nonexistent/x.yaml", NULL, &e), ST_ENOENT);
    e = (struct err){0};
    assert_int_equal(suite_load(&s, "no-such-suite", NULL, &e), ST_ENOENT);
    assert_non_null(strstr(e.text, "no suite is named 'no-such-suite'"));
    e = (struct err){0};
    assert_int_equal(suite_load(&s, folder, NULL, &e), ST_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_multiply),
        cmocka_unit_test(ranges),
        cmocka_unit_test(globs_walk_the_tables),
        cmocka_unit_test(sections_inherit),
        cmocka_unit_test(excludes),
        cmocka_unit_test(anchors),
        cmocka_unit_test(overrides_and_filters),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(bad_options),
        cmocka_unit_test(threads_range_over_the_cpus),
        cmocka_unit_test(compared_axes_turn_fastest),
        cmocka_unit_test(sections_are_chosen),
        cmocka_unit_test(shapes_are_short_for_numbers),
        cmocka_unit_test(hostile_files),
        cmocka_unit_test(mutations),
        cmocka_unit_test(missing_suites),
    };
    return cmocka_run_group_tests(tests, temporary_folder, remove_folder);
}
