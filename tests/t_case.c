/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "case.h" /* before cmocka.h, whose macro is called fail too */
#include "cpu.h"
#include "host.h"
#include "kernel.h"
#include "work.h"

#include <cmocka.h>

static struct bench_case parsed(const char *key)
{
    struct bench_case c;
    struct err e = {0};
    if (case_parse(&c, key, &e) != ST_OK)
        fail_msg("%s: %s", key, e.text);
    return c;
}

static struct bench_case resolved(const char *key)
{
    struct bench_case c = parsed(key);
    struct err e = {0};
    if (case_resolve(&c, &e) != ST_OK)
        fail_msg("%s: %s", key, e.text);
    return c;
}

static bool has(const struct bench_case *c, const char *axis) { return c->has[axis_index(axis)]; }

static void tables_agree(void **state)
{
    for (int i = 0; axes[i].name; i++) {
        assert_int_equal(axis_index(axes[i].name), i);
        assert_int_equal(setting_index(axes[i].name), -1);
        char *end;
        if (axes[i].type == AXIS_INT) {
            strtol(axes[i].fallback, &end, 10);
            assert_int_equal(*end, 0);
        }
    }
    for (int i = 0; works[i]; i++) {
        char list[512], *save;
        snprintf(list, sizeof list, "%s", works[i]->axes);
        for (char *word = strtok_r(list, " ", &save); word; word = strtok_r(NULL, " ", &save))
            if (axis_index(word) < 0)
                fail_msg("work %s reads the axis '%s', which axes.def lacks", works[i]->name, word);
    }
}

static void settings_are_typed(void **state)
{
    struct settings s;
    struct err e = {0};
    settings_default(&s);
    assert_true(s.samples > 0 && s.timeout_seconds > 0 && s.train_text[0]);
    assert_int_equal(settings_set(&s, "samples", "40", &e), ST_OK);
    assert_int_equal(s.samples, 40);
    assert_int_equal(settings_set(&s, "sample_seconds", "1e-3", &e), ST_OK);
    assert_true(s.sample_seconds == 1e-3);
    static const char *const bad[][3] = {{"samples", "0", "too small"}, {"samples", "4.5", "whole number"}, {"samples", "", "whole number"},
                                         {"samples", "99999999999999999999", "too large"}, {"max_noise", "nan", "not a number"},
                                         {"max_noise", "-1", "negative"}, {"timeout_seconds", "0", "more than 0"}, {"sampels", "1", "'samples'"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        e = (struct err){0};
        assert_int_equal(settings_set(&s, bad[i][0], bad[i][1], &e), ST_EUSAGE);
        if (!strstr(e.text, bad[i][2]))
            fail_msg("%s=%s: %s", bad[i][0], bad[i][1], e.text);
    }
    assert_int_equal(s.samples, 40);
}

static void bad_keys(void **state)
{
    static const char *const bad[][2] = {
        {"", "no work"},
        {"m=1", "no work"},
        {"work=gem", "did you mean 'gemm'"},
        {"work=gemm m", "axis=value"},
        {"work=gemm m=", "not a whole number"},
        {"work=gemm m=x", "m: 'x' is not a whole number"},
        {"work=gemm m=0", "too small"},
        {"work=gemm m=-4", "too small"},
        {"work=gemm m=1 m=2", "twice"},
        {"work=gemm knl=1", "unknown axis 'knl'"},
        {"work=gemm kernel=int4_vni", "did you mean 'int4_vnni'"},
        {"work=gemm prompt=4", "does not read the axis 'prompt' (prefill, decode)"},
        {"work=gemm cache=warm", "it takes hot, cold"},
        {"work=peak op=read", "op: unknown value 'read'"},
        {"work=bandwidth op=raed", "did you mean 'read'"},
    };
    struct bench_case c;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(case_parse(&c, bad[i][0], &e), ST_EUSAGE);
        if (!strstr(e.text, bad[i][1]))
            fail_msg("'%s': %s", bad[i][0], e.text);
    }
    char longest[CASE_KEY_MAX + 8];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    struct err e = {0};
    assert_int_equal(case_parse(&c, longest, &e), ST_EUSAGE);
}

static void contradictions(void **state)
{
    struct bench_case c = parsed("work=gemm format=int8 kernel=int4_scalar");
    struct err e = {0};
    assert_int_equal(case_resolve(&c, &e), ST_EUSAGE);
    assert_string_equal(e.text, "kernel int4_scalar takes format int4, not int8");
    c = parsed("work=bandwidth");
    e = (struct err){0};
    assert_int_equal(case_resolve(&c, &e), ST_EUSAGE);
    assert_string_equal(e.text, "work bandwidth needs the axis 'op': one of read, copy, triad");
}

/* A key is canonical: parsing and resolving it again gives it again, whatever the order of its parts was. */
static void keys_are_canonical(void **state)
{
    static const char *const keys[] = {"work=gemm kernel=int8_scalar k=64 m=3 n=32 threads=1", "threads=2 work=bandwidth op=read bytes=65536", "work=peak op=f32_scalar",
                                       "work=gemm format=int4 group=32 isa=scalar", "work=gemm"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct bench_case c = resolved(keys[i]), again = resolved(c.key);
        assert_string_equal(c.key, again.key);
        assert_memory_equal(c.key, "work=", 5);
    }
    struct bench_case c = resolved("n=032 work=gemm m=1 k=64 kernel=int8_scalar threads=1 isa=scalar cache=hot");
    assert_string_equal(c.key, "work=gemm format=int8 group=0 zero_point=off act=int8 kernel=int8_scalar m=1 n=32 k=64 acts=quantize cache=hot isa=scalar seed=1 threads=1");
}

static void what_means_nothing_is_dropped(void **state)
{
    struct bench_case c = resolved("work=gemm format=f32 group=32 kernel=f32_scalar");
    assert_false(has(&c, "group"));
    assert_false(has(&c, "acts"));
    c = resolved("work=gemm format=int8 group=32 kernel=int8_scalar");
    assert_true(has(&c, "group"));
    assert_int_equal(case_int(&c, "group"), 32);
    c = resolved("work=decode model=random:1m format=f32 method=mse gamma=tensor gamma_on=act tune_tokens=5");
    static const char *const gone[] = {"group", "method", "gamma", "gamma_on", "tune_tokens"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        assert_false(has(&c, gone[i]));
    c = resolved("work=decode model=random:1m format=int4 gamma=off gamma_on=act");
    assert_true(has(&c, "gamma") && has(&c, "method") && !has(&c, "gamma_on") && !has(&c, "tune_tokens"));
    c = resolved("work=decode model=random:1m format=int4 gamma=tensor gamma_on=act");
    assert_true(has(&c, "gamma_on"));
}

static void defaults_are_filled(void **state)
{
    struct bench_case c = resolved("work=gemm");
    assert_int_equal(case_int(&c, "threads"), host_cpus());
    assert_true(case_is(&c, "format", "f32"));
    assert_false(case_is(&c, "kernel", "auto"));
    assert_int_equal(kernel_find(case_text(&c, "kernel"))->format, FORMAT_F32);
    assert_string_equal(c.skip, "");
    assert_false(has(&c, "prompt"));
    assert_string_equal(case_text(&c, "prompt"), axes[axis_index("prompt")].fallback);
}

static void kernels_follow_the_isa(void **state)
{
    struct bench_case c = resolved("work=gemm format=int8 isa=scalar");
    assert_true(case_is(&c, "kernel", "int8_scalar"));
    assert_string_equal(cpu_level(), "native");
    c = resolved("work=gemm kernel=int8_vnni isa=scalar");
    assert_non_null(strstr(c.skip, "avx512_vnni"));
    assert_int_equal(cpu_set_level("scalar", NULL), ST_OK);
    c = resolved("work=gemm format=int8");
    assert_true(case_is(&c, "isa", "scalar") && case_is(&c, "kernel", "int8_scalar"));
    c = resolved("work=gemm format=int8 isa=avx2");
    assert_true(c.skip[0]);
    cpu_set_level("native", NULL);
    c = parsed("work=gemm isa=sse9");
    struct err e = {0};
    assert_int_equal(case_resolve(&c, &e), ST_EUSAGE);
    assert_non_null(strstr(e.text, "unknown ISA level 'sse9'"));
    assert_string_equal(cpu_level(), "native");
}

/* On a masked machine every kernel is either usable or skipped with words. */
static void every_kernel_resolves(void **state)
{
    for (int i = 0; kernels[i]; i++) {
        char key[128], why[256];
        snprintf(key, sizeof key, "work=gemm kernel=%s m=1 n=64 k=64 threads=1", kernels[i]->name);
        struct bench_case c = resolved(key);
        kernel_reason(kernels[i], why, sizeof why);
        assert_string_equal(c.skip, why);
        assert_string_equal(case_text(&c, "format"), formats[kernels[i]->format].name);
    }
}

static void matching(void **state)
{
    struct bench_case c = parsed("work=decode model=1m@0123456789abcdef format=int8");
    int model = axis_index("model"), format = axis_index("format");
    assert_true(case_matches(&c, model, "1m"));
    assert_true(case_matches(&c, model, "1m@0123*"));
    assert_false(case_matches(&c, model, "10m"));
    assert_true(case_matches(&c, format, "int?"));
    assert_false(case_matches(&c, axis_index("group"), "*"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_agree),
        cmocka_unit_test(settings_are_typed),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(keys_are_canonical),
        cmocka_unit_test(what_means_nothing_is_dropped),
        cmocka_unit_test(defaults_are_filled),
        cmocka_unit_test(kernels_follow_the_isa),
        cmocka_unit_test(every_kernel_resolves),
        cmocka_unit_test(matching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
