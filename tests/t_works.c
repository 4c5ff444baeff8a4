/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "kernel.h"
#include "peak.h"
#include "work.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static void assert_ok(enum status s, const struct err *e)
{
    if (s != ST_OK)
        fail_msg("status %d: %s", (int)s, e->text);
}

/* By its key, resolved as a suite would. */
static struct bench_case case_of(const char *key)
{
    struct bench_case c;
    struct err e = {0};
    assert_ok(case_parse(&c, key, &e), &e);
    assert_ok(case_resolve(&c, &e), &e);
    return c;
}

static struct job *open_checked(const struct bench_case *c)
{
    struct job *j = NULL;
    struct err e = {0};
    assert_ok(c->work->open(&j, c, &e), &e);
    assert_non_null(j);
    assert_ok(c->work->check(j, &e), &e);
    return j;
}

static void every_work_is_whole(void **state)
{
    for (int i = 0; works[i]; i++) {
        const struct work *w = works[i];
        assert_ptr_equal(work_find(w->name), w);
        assert_true(w->unit && w->title && w->open && w->close && w->results);
        char text[256], *save;
        snprintf(text, sizeof text, "%s", w->axes);
        for (char *axis = strtok_r(text, " ", &save); axis; axis = strtok_r(NULL, " ", &save))
            if (axis_index(axis) < 0)
                fail_msg("work %s reads '%s', which is no axis", w->name, axis);
    }
    assert_null(work_find("gem"));
}

/* Every kernel that runs here, in shapes with ragged ends; timing it is the runner's. */
static void every_kernel_passes_its_check(void **state)
{
    static const char *const shapes[] = {
        "m=1 n=64 k=128 cache=hot",       "m=3 n=37 k=200 group=32 cache=hot", "m=17 n=16 k=96 group=64 cache=hot acts=ready",
        "m=1 n=33 k=64 cache=hot group=0",
    };
    for (int i = 0; kernels[i]; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            char key[256];
            snprintf(key, sizeof key, "work=gemm kernel=%s threads=2 seed=%d %s", kernels[i]->name, 5 + (int)s, shapes[s]);
            struct bench_case c = case_of(key);
            if (c.skip[0]) {
                print_message("%s: %s\n", c.key, c.skip);
                continue;
            }
            struct job *j = open_checked(&c);
            double ops = 0, bytes = 0;
            c.work->amounts(j, &ops, &bytes);
            assert_true(ops == 2.0 * (double)case_int(&c, "m") * (double)case_int(&c, "n") * (double)case_int(&c, "k"));
            assert_true(bytes > (double)(case_int(&c, "n") * case_int(&c, "k")) * formats[kernels[i]->format].bits / 8);
            assert_true(c.work->once(j) == 1);
            c.work->close(j);
        }
}

/* Outputs that nobody wrote after the check are wrong, not fast. */
static void a_pass_that_did_nothing_is_wrong(void **state)
{
    struct bench_case c = case_of("work=gemm kernel=int8_scalar m=2 n=32 k=64 cache=hot threads=1");
    struct job *j = open_checked(&c);
    struct err e = {0};
    assert_int_equal(c.work->results(j, NULL, &e), ST_EWRONG);
    assert_non_null(strstr(e.text, "kernel=int8_scalar"));
    assert_non_null(strstr(e.text, "y[0][0] is nan"));
    c.work->close(j);
}

/* A large layer is checked by a sample, and cold copies hold the same weights. */
static void cold_copies_are_checked_as_they_rotate(void **state)
{
    struct bench_case c = case_of("work=gemm kernel=int4_scalar m=2 n=4096 k=8192 group=64 cache=cold threads=2");
    struct job *j = NULL;
    struct err e = {0};
    assert_ok(c.work->open(&j, &c, &e), &e);
    for (int i = 0; i < 3; i++)
        assert_ok(c.work->check(j, &e), &e);
    c.work->close(j);
}

static void a_key_says_what_has_meaning(void **state)
{
    static const struct {
        const char *key, *has, *lacks;
    } table[] = {
        {"work=gemm kernel=f32_scalar m=1 n=8 k=8", "format=f32", "acts="},
        {"work=gemm kernel=int8_scalar m=1 n=8 k=8", "acts=quantize", "bytes="},
        {"work=bandwidth op=triad", "bytes=", "bytes=0"},
        {"work=bandwidth op=read bytes=4096", "bytes=4096", "m="},
        {"work=peak op=f32_scalar threads=1", "op=f32_scalar", "bytes"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct bench_case c = case_of(table[i].key);
        if (!strstr(c.key, table[i].has) || strstr(c.key, table[i].lacks))
            fail_msg("%s -> %s", table[i].key, c.key);
        struct bench_case again = case_of(c.key);
        assert_string_equal(again.key, c.key);
    }
}

/* A layer of a preset is short for its n and k; the key has only those. */
static void a_shape_is_its_n_and_k(void **state)
{
    static const struct {
        const char *shape, *n_k;
    } table[] = {
        {"1m/q", " n=128 k=128 "},     {"1m/v", " n=64 k=128 "},      {"1b/k", " n=256 k=2048 "},     {"1b/gate", " n=5632 k=2048 "},
        {"1b/down", " n=2048 k=5632 "}, {"30m/o", " n=512 k=512 "}, {"350m/up", " n=3328 k=1024 "}, {"100m/head", " n=32000 k=768 "},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char key[96];
        snprintf(key, sizeof key, "work=gemm kernel=int8_scalar shape=%s", table[i].shape);
        struct bench_case c = case_of(key);
        if (!strstr(c.key, table[i].n_k) || strstr(c.key, "shape"))
            fail_msg("%s -> %s", key, c.key);
    }
    for (int i = 0, axis = axis_index("shape"); axis_value(axis, NULL, i); i++) {
        char key[96];
        snprintf(key, sizeof key, "work=gemm kernel=int8_scalar shape=%s", axis_value(axis, NULL, i));
        case_of(key);
    }
}

/* Every cache and head, several sequences, behind a past and beyond the preset's context of 256: checked, and counted as it says. */
static void sessions_of_every_kind(void **state)
{
    static const char *const kinds[] = {
        "kv=f32 head=f32", "kv=bf16 head=int8", "kv=int8 head=int8 batch=3", "kv=int4 head=int4 batch=2 depth=300", "depth=65 batch=2",
    };
    static const double kv_bytes[] = {2048, 1024, 544, 288, 2048}; /* of 1m: 4 layers x 2 heads x 2 x (32 numbers and, of integers, a scale) */
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            char key[256];
            double ops, bytes;
            snprintf(key, sizeof key, "work=%s model=random:1m format=%s threads=2 prompt=9 %s%s", w ? "prefill" : "decode", i % 2 ? "int4" : "f32",
                     w ? "" : "generate=3 ", kinds[i]);
            struct bench_case c = case_of(key);
            struct job *j = open_checked(&c);
            double batch = (double)case_int(&c, "batch"), depth = (double)case_int(&c, "depth");
            assert_true(c.work->once(j) == batch * (w ? 9 : 3));
            c.work->amounts(j, &ops, &bytes);
            double cache = kv_bytes[i] * (w ? (depth + 9) / 9 : depth + 9 + 2), weights = (bytes - cache) * batch * (w ? 9 : 1);
            /* a million parameters of a quarter byte at least (the head may be int4), and of four at most */
            assert_true(weights > 0.25 * 1049728 && weights < 4.1 * 1049728);
            assert_true(ops > 0 && isfinite(ops));
            c.work->close(j);
        }
}

static void nonsense_is_refused(void **state)
{
    static const char *const keys[] = {
        "work=decode model=random:1m kv=int5", "work=decode model=random:1m head=int9", "work=decode model=random:1m batch=0",
        "work=decode model=random:1m batch=5000", "work=prefill model=random:1m prompt=1000000 batch=2", "work=decode model=random:1m depth=2000000",
        "work=gemm kernel=int8_scalar acts=later", "work=gemm kernel=int8_scalar cache=warm", "work=gemm kernel=int8_scalar n=999999999",
        "work=gemm kernel=int8_scalar shape=1b/down n=2048", "work=gemm kernel=int8_scalar shape=1b/sideways",
        "work=bandwidth op=move",                  "work=peak op=int9_magic",                 "work=peak",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct bench_case c;
        struct err e = {0};
        enum status s = case_parse(&c, keys[i], &e);
        if (s == ST_OK)
            s = case_resolve(&c, &e);
        if (s != ST_EUSAGE || !e.text[0])
            fail_msg("%s: status %d '%s'", keys[i], (int)s, e.text);
    }
}

static void what_cannot_run_here_is_skipped_with_its_reason(void **state)
{
    if (!(cpu_isa_detected() & ISA_AVX2))
        skip();
    struct bench_case c = case_of("work=peak op=f32_avx2 isa=scalar threads=1");
    assert_non_null(strstr(c.skip, "avx2"));
    c = case_of("work=gemm kernel=int8_avx2 isa=scalar threads=1");
    assert_non_null(strstr(c.skip, "avx2"));
    c = case_of("work=gemm kernel=int8_scalar k=100000 n=8");
    assert_non_null(strstr(c.skip, "columns"));
    assert_int_equal(cpu_isa(), cpu_isa_detected()); /* the mask is as it was */
}

/* First of all tests: a library is loaded once in a process, so its absence is played in a child that has not loaded it. */
static void a_rival_without_its_library_says_so(void **state)
{
    const char *key = "work=gemm kernel=int8_onednn m=1 n=64 k=64 cache=hot threads=1";
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct bench_case c;
        struct err e = {0};
        setenv("QBENCH_LIBDNNL", "libnosuchdnnl.so.2", 1);
        bool told = case_parse(&c, key, &e) == ST_OK && case_resolve(&c, &e) == ST_OK && c.skip[0];
        _exit(told && (!strstr(c.skip, "not installed") || strstr(c.skip, "libdnnl2")) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_rival_without_groups_says_so(void **state)
{
    struct bench_case c = case_of("work=gemm kernel=int8_onednn group=32 m=1 n=64 k=64 cache=hot threads=1");
    char why[512];
    kernel_reason(kernel_find("int8_onednn"), why, sizeof why);
    assert_non_null(strstr(c.skip, why[0] ? why : "one scale a row (group 0)"));
}

static void too_much_memory_is_told_with_figures(void **state)
{
    struct bench_case c = case_of("work=gemm kernel=f32_scalar m=1 n=16777216 k=16777216 cache=hot threads=1");
    struct job *j = NULL;
    struct err e = {0};
    assert_int_equal(c.work->open(&j, &c, &e), ST_ENOMEM);
    assert_null(j);
    assert_non_null(strstr(e.text, "MiB"));
    e = (struct err){0};
    c = case_of("work=decode model=random:1m depth=1000000 batch=1000 prompt=1 generate=1 threads=1");
    assert_int_equal(c.work->open(&j, &c, &e), ST_ENOMEM);
    assert_null(j);
    assert_non_null(strstr(e.text, "MiB"));
    e = (struct err){0};
    c = case_of("work=bandwidth op=read bytes=99999999999999 threads=1");
    assert_int_equal(c.work->open(&j, &c, &e), ST_ENOMEM);
    assert_non_null(strstr(e.text, "MiB"));
}

static void bandwidth_moves_what_it_counts(void **state)
{
    static const char *const ops[] = {"read", "copy", "triad"};
    for (int i = 0; i < 3; i++) {
        char key[96];
        snprintf(key, sizeof key, "work=bandwidth op=%s bytes=%d threads=2", ops[i], 6 * 4096 * 16);
        struct bench_case c = case_of(key);
        struct job *j = open_checked(&c);
        double total = 0, op_count, bytes;
        for (int k = 0; k < 10; k++)
            total += c.work->once(j);
        assert_true(total == 10.0 * 6 * 4096 * 16);
        c.work->amounts(j, &op_count, &bytes);
        assert_true(op_count == 0 && bytes == 1);
        c.work->close(j);
    }
}

static void every_peak_that_runs_here_counts(void **state)
{
    for (int i = 0; peaks[i]; i++) {
        char key[96];
        snprintf(key, sizeof key, "work=peak op=%s threads=2", peaks[i]->name);
        struct bench_case c = case_of(key);
        if (c.skip[0]) {
            print_message("%s: %s\n", c.key, c.skip);
            continue;
        }
        struct job *j = open_checked(&c);
        double one = c.work->once(j);
        assert_true(one > 0 && c.work->once(j) == one);
        c.work->close(j);
    }
}

/* As the runner does: all open, then in turn; teams that wait must not disturb. */
static void jobs_are_interleaved(void **state)
{
    static const char *const keys[] = {
        "work=gemm kernel=int8_scalar m=1 n=64 k=256 cache=hot threads=2",
        "work=gemm kernel=int4_scalar m=1 n=64 k=256 cache=hot threads=2",
        "work=gemm kernel=f32_scalar m=1 n=64 k=256 cache=hot threads=1",
        "work=bandwidth op=copy bytes=65536 threads=2",
    };
    enum { N = 4 };
    struct bench_case c[N];
    struct job *j[N];
    for (int i = 0; i < N; i++) {
        c[i] = case_of(keys[i]);
        j[i] = open_checked(&c[i]);
    }
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < N; i++)
            assert_true(c[i].work->once(j[i]) > 0);
    struct err e = {0};
    for (int i = 0; i < N; i++) {
        assert_ok(c[i].work->check(j[i], &e), &e);
        c[i].work->close(j[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rival_without_its_library_says_so),
        cmocka_unit_test(a_rival_without_groups_says_so),
        cmocka_unit_test(every_work_is_whole),
        cmocka_unit_test(every_kernel_passes_its_check),
        cmocka_unit_test(a_pass_that_did_nothing_is_wrong),
        cmocka_unit_test(cold_copies_are_checked_as_they_rotate),
        cmocka_unit_test(a_key_says_what_has_meaning),
        cmocka_unit_test(a_shape_is_its_n_and_k),
        cmocka_unit_test(sessions_of_every_kind),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(what_cannot_run_here_is_skipped_with_its_reason),
        cmocka_unit_test(too_much_memory_is_told_with_figures),
        cmocka_unit_test(bandwidth_moves_what_it_counts),
        cmocka_unit_test(every_peak_that_runs_here_counts),
        cmocka_unit_test(jobs_are_interleaved),
    };
    return cmocka_run_group_tests_name("works", tests, NULL, NULL);
}
