/* cmocka.h — as much of cmocka as the kernels' tests use, for a target that has no library of it: check-arm's. */
/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef QBENCH_CROSS_CMOCKA_H
#define QBENCH_CROSS_CMOCKA_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* Writes TAP, as tests/run.sh asks of the library. A failed assertion leaves its test, not the program. */
struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
    int (*teardown)(void **state);
};

__attribute__((weak)) jmp_buf cross_leave; /* one for all files of a test */
enum { CROSS_FAILED = 1, CROSS_SKIPPED };

#define cross_fail(...)                                      \
    (printf("# %s:%d: ", __FILE__, __LINE__), printf(__VA_ARGS__), putchar('\n'), longjmp(cross_leave, CROSS_FAILED))
#define cross_check(condition, text)                         \
    do {                                                     \
        if (!(condition))                                    \
            cross_fail("%s", text);                          \
    } while (0)

#define fail_msg(...) cross_fail(__VA_ARGS__)
#define skip() longjmp(cross_leave, CROSS_SKIPPED)
#define assert_true(x) cross_check(x, #x)
#define assert_false(x) cross_check(!(x), "not " #x)
#define assert_null(x) cross_check((x) == NULL, #x " is NULL")
#define assert_non_null(x) cross_check((x) != NULL, #x " is not NULL")
#define assert_ptr_equal(a, b) cross_check((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_int_equal(a, b) cross_check((long long)(a) == (long long)(b), #a " == " #b)
#define assert_in_range(x, lo, hi) cross_check((long long)(x) >= (long long)(lo) && (long long)(x) <= (long long)(hi), #x " in range")
#define assert_string_equal(a, b) cross_check(strcmp(a, b) == 0, #a " is " #b)
#define assert_memory_equal(a, b, n) cross_check(memcmp(a, b, n) == 0, #a " is as " #b)
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)

#define cmocka_unit_test(f) {#f, f, NULL}
#define cmocka_unit_test_teardown(f, after) {#f, f, after}
#define cmocka_run_group_tests(tests, setup, teardown) \
    cross_run(tests, (int)(sizeof(tests) / sizeof *(tests)), setup, teardown)

static inline int cross_one(const struct CMUnitTest *t, int number)
{
    void *state = NULL;
    int outcome = setjmp(cross_leave);
    if (outcome == 0)
        t->run(&state);
    if (t->teardown)
        t->teardown(&state);
    printf("%sok %d - %s%s\n", outcome == CROSS_FAILED ? "not " : "", number, t->name, outcome == CROSS_SKIPPED ? " # SKIP" : "");
    fflush(stdout);
    return outcome == CROSS_FAILED;
}

static inline int cross_run(const struct CMUnitTest *tests, int n, int (*setup)(void **), int (*teardown)(void **))
{
    void *state = NULL;
    int failed = 0;
    printf("1..%d\n", n);
    if (setup && setup(&state) != 0)
        return 1;
    for (int i = 0; i < n; i++)
        failed += cross_one(&tests[i], i + 1);
    if (teardown)
        teardown(&state);
    return failed;
}

#endif
