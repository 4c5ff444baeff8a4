/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "cpu.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

static int unmask(void **state)
{
    cpu_set_mask(UINT32_MAX);
    return 0;
}

static const char *const levels[] = {"scalar", "avx2", "avxvnni", "avx512", "vnni", "bf16", "amx",
                                     "neon", "dotprod", "i8mm", "native"};
enum { LEVELS = sizeof levels / sizeof *levels };

static void names_are_distinct(void **state)
{
    for (uint32_t a = 1; a <= ISA_I8MM; a <<= 1)
        for (uint32_t b = 1; b <= ISA_I8MM; b <<= 1)
            assert_int_equal(strcmp(cpu_isa_name(a), cpu_isa_name(b)) == 0, a == b);
    assert_string_equal(cpu_isa_name(ISA_AVX512VNNI), "avx512_vnni");
    assert_string_equal(cpu_isa_name(1u << 30), "unknown");
}

static void text_of_a_set(void **state)
{
    char buf[128];
    cpu_isa_text(0, buf, sizeof buf);
    assert_string_equal(buf, "scalar");
    cpu_isa_text(ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI, buf, sizeof buf);
    assert_string_equal(buf, "avx2 avx512 avx512_vnni");
    char small[6];
    cpu_isa_text(UINT32_MAX, small, sizeof small); /* cut, not overrun */
    assert_string_equal(small, "avx2 ");
}

static void levels_grow(void **state)
{
    uint32_t below = 0;
    for (int i = 0; i < LEVELS; i++) {
        struct err e = {0};
        enum status st = cpu_set_level(levels[i], &e);
        if (st != ST_OK) {
            assert_int_equal(st, ST_EUNSUPPORTED);
            assert_non_null(strstr(e.text, "this machine has no"));
            continue;
        }
        assert_string_equal(cpu_level(), levels[i]);
        assert_int_equal(cpu_isa() & ~cpu_isa_detected(), 0);
        assert_int_equal(below & ~cpu_isa(), 0);
        below = cpu_isa();
    }
    assert_int_equal(cpu_set_level("scalar", NULL), ST_OK);
    assert_int_equal(cpu_isa(), 0);
    assert_int_equal(cpu_set_level("native", NULL), ST_OK);
    assert_int_equal(cpu_isa(), cpu_isa_detected());
}

static void a_refused_level_changes_nothing(void **state)
{
    struct err e = {0};
    cpu_set_level("scalar", NULL);
    assert_int_equal(cpu_set_level("avx9000", &e), ST_EUSAGE);
    for (int i = 0; i < LEVELS; i++)
        assert_non_null(strstr(e.text, levels[i]));
    assert_string_equal(cpu_level(), "scalar");
    assert_int_equal(cpu_set_level("", NULL), ST_EUSAGE);
}

static void missing_says_why(void **state)
{
    char buf[128], want[128];
    cpu_missing(0, buf, sizeof buf);
    assert_string_equal(buf, "");
    cpu_set_level("scalar", NULL);
    for (uint32_t bit = 1; bit <= ISA_I8MM; bit <<= 1) {
        cpu_missing(bit, buf, sizeof buf);
        if (cpu_isa_detected() & bit)
            snprintf(want, sizeof want, "%s is masked by --isa scalar", cpu_isa_name(bit));
        else
            snprintf(want, sizeof want, "needs %s", cpu_isa_name(bit));
        assert_string_equal(buf, want);
    }
    cpu_set_mask(UINT32_MAX);
    cpu_missing(cpu_isa_detected(), buf, sizeof buf);
    assert_string_equal(buf, "");
}

static void masks_of_tests_are_custom(void **state)
{
    cpu_set_mask(ISA_AVX512VNNI);
    assert_string_equal(cpu_level(), "custom");
    assert_int_equal(cpu_isa() & ~(uint32_t)ISA_AVX512VNNI, 0);
}

/* " flag " in the line of /proc/cpuinfo that lists them. */
static bool kernel_lists(const char *line, const char *flag)
{
    char word[32];
    snprintf(word, sizeof word, " %s ", flag);
    return strstr(line, word) != NULL;
}

/* The kernel has seen the same CPUID, and hides what it does not save: where it lists a set we must have found it. */
static void detection_agrees_with_the_kernel(void **state)
{
    static const struct {
        uint32_t bit;
        const char *flags[4];
    } rows[] = {
        {ISA_AVX2, {"avx2", "fma", "f16c"}},
        {ISA_AVXVNNI, {"avx_vnni"}},
        {ISA_AVX512, {"avx512f", "avx512bw", "avx512dq", "avx512vl"}},
        {ISA_AVX512VNNI, {"avx512_vnni"}},
        {ISA_AVX512BF16, {"avx512_bf16"}},
        {ISA_AMX_INT8, {"amx_int8"}},
        {ISA_AMX_BF16, {"amx_bf16"}},
        {ISA_NEON, {"asimd"}},
        {ISA_DOTPROD, {"asimddp"}},
        {ISA_I8MM, {"i8mm"}},
    };
#ifdef __aarch64__
    const char *word = "Features"; /* an emulator may show the host's file, which has no such line */
#else
    const char *word = "flags";
#endif
    char line[8192] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (f && !found && fgets(line, sizeof line - 1, f))
        found = strncmp(line, word, strlen(word)) == 0;
    if (f)
        fclose(f);
    if (!found)
        skip();
    line[strcspn(line, "\n")] = ' ';
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool all = true;
        for (int j = 0; j < 4 && rows[i].flags[j]; j++)
            all &= kernel_lists(line, rows[i].flags[j]);
        /* AMX may be listed and yet not granted */
        if (!(rows[i].bit & (ISA_AMX_INT8 | ISA_AMX_BF16)) || !all)
            assert_int_equal(!!(cpu_isa_detected() & rows[i].bit), all);
    }
}

static void machine_is_described(void **state)
{
    struct cpu_caches c = cpu_caches();
    printf("caches: l1d %zu, l2 %zu, l3 %zu bytes\n", c.l1d, c.l2, c.l3);
    if (c.l1d && c.l2)
        assert_true(c.l1d < c.l2);
    assert_true(c.l1d == 0 || (c.l1d >= 4096 && c.l1d <= 1 << 24));
    char text[64], vendor[64];
    cpu_brand(text, sizeof text);
    assert_true(text[0] && text[0] != ' ' && text[strlen(text) - 1] != ' ');
    bool guest = cpu_hypervisor(vendor, sizeof vendor);
    assert_int_equal(guest, vendor[0] != 0);
    printf("%s, hypervisor '%s'\n", text, vendor);
    char small[5];
    cpu_brand(small, sizeof small);
    assert_true(strlen(small) < sizeof small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_distinct),
        cmocka_unit_test(text_of_a_set),
        cmocka_unit_test_teardown(levels_grow, unmask),
        cmocka_unit_test_teardown(a_refused_level_changes_nothing, unmask),
        cmocka_unit_test_teardown(missing_says_why, unmask),
        cmocka_unit_test_teardown(masks_of_tests_are_custom, unmask),
        cmocka_unit_test(detection_agrees_with_the_kernel),
        cmocka_unit_test(machine_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
