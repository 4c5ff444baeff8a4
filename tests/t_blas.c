/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blas.h"
#include "cpu.h"
#include "par.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

/* The library is loaded once in a process, so each way of loading it gets a child. 0 = passed, 77 = cannot be tried here. */
static int in_child(int (*fn)(const char *arg), const char *arg)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(arg));
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    return WEXITSTATUS(status);
}

static int load_absent(const char *path)
{
    setenv("QBENCH_OPENBLAS", path, 1);
    struct err e = {0}, again = {0};
    if (blas_get(&e) || blas_get(&again))
        return 1;
    if (e.status != ST_EUNSUPPORTED || strcmp(e.text, again.text) != 0)
        return 2;
    if (!strstr(e.text, path) || !strstr(e.text, "libopenblas0-pthread") || !strstr(e.text, "make deps"))
        return 3;
    return 0;
}

static void absence_is_told(void **state)
{
    assert_int_equal(in_child(load_absent, "libnosuchblas.so.0"), 0);
    assert_int_equal(in_child(load_absent, "/dev/null"), 0);
}

static void another_library_is_refused(void **state) { assert_int_equal(in_child(load_absent, "libm.so.6"), 0); }

/* Whatever the environment says, the mask decides. */
static int load_level(const char *level)
{
    static const struct {
        const char *level, *core;
    } rows[] = {{"scalar", "Prescott"}, {"avx2", "Haswell"}, {"avx512", "SkylakeX"}};
    setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
    unsetenv("QBENCH_OPENBLAS");
    if (cpu_set_level(level, NULL) != ST_OK)
        return 77;
    struct err e = {0};
    const struct blas *b = blas_get(&e);
    if (!b) {
        printf("%s\n", e.text);
        return 77;
    }
    printf("--isa %s: wanted %s, got %s, %s\n", level, b->wanted, b->core, b->version);
    fflush(stdout);
    if (b->mismatch || strcasecmp(b->core, b->wanted) != 0 || strncmp(b->version, "OpenBLAS ", 9) != 0)
        return 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (strcmp(rows[i].level, level) == 0 && strcasecmp(rows[i].core, b->core) != 0)
            return 2;
    return 0;
}

static void scalar_core(void **state) { assert_int_equal(in_child(load_level, "scalar"), 0); }
static void avx2_core(void **state) { assert_int_equal(in_child(load_level, "avx2"), 0); }
static void avx512_core(void **state) { assert_int_equal(in_child(load_level, "avx512"), 0); }
static void native_core(void **state) { assert_int_equal(in_child(load_level, "native"), 0); }

static const struct blas *library(void)
{
    struct err e = {0};
    const struct blas *b = blas_get(&e);
    if (!b) {
        printf("%s\n", e.text);
        skip();
    }
    return b;
}

static float *random_floats(size_t n, uint64_t seed)
{
    float *x = mem_alloc(n, sizeof *x);
    assert_non_null(x);
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = 2 * rng_uniform(&r) - 1;
    return x;
}

/* y = alpha op(a) op(b) + beta y in double; bound: (k + 3) roundings of the sum of magnitudes. */
static void check_sgemm(const struct blas *blas, bool ta, bool tb, int m, int n, int k, float alpha, float beta)
{
    int lda = (ta ? m : k) + 3, ldb = (tb ? k : n) + 1, ldy = n + 5;
    float *a = random_floats((size_t)(ta ? k : m) * (size_t)lda, 1), *b = random_floats((size_t)(tb ? n : k) * (size_t)ldb, 2);
    float *y = random_floats((size_t)m * (size_t)ldy, 3), *got = random_floats((size_t)m * (size_t)ldy, 3);
    blas->sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, got, ldy);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < ldy; j++) {
            double sum = 0, size = 0, old = (double)y[i * ldy + j];
            for (int l = 0; l < k && j < n; l++) {
                double term = (double)a[ta ? l * lda + i : i * lda + l] * (double)b[tb ? j * ldb + l : l * ldb + j];
                sum += term;
                size += fabs(term);
            }
            double want = j < n ? (double)alpha * sum + (double)beta * old : old;
            double bound = j < n ? (k + 3) * 0x1p-24 * (fabs((double)alpha) * size + fabs((double)beta * old)) : 0;
            if (fabs((double)got[i * ldy + j] - want) > bound)
                fail_msg("ta=%d tb=%d m=%d n=%d k=%d: y[%d,%d] = %g, not %g", ta, tb, m, n, k, i, j,
                         (double)got[i * ldy + j], want);
        }
    mem_free(a);
    mem_free(b);
    mem_free(y);
    mem_free(got);
}

static void sgemm_is_right(void **state)
{
    static const int shapes[][3] = {{1, 1, 1}, {1, 33, 70}, {7, 5, 3}, {16, 16, 16}, {65, 47, 129}, {3, 200, 64}};
    const struct blas *b = library();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int t = 0; t < 4; t++) {
            check_sgemm(b, t & 1, t & 2, shapes[i][0], shapes[i][1], shapes[i][2], 1, 0);
            check_sgemm(b, t & 1, t & 2, shapes[i][0], shapes[i][1], shapes[i][2], 0.5f, -2);
        }
}

static void sgemv_is_right(void **state)
{
    static const int shapes[][2] = {{1, 1}, {5, 130}, {128, 64}, {333, 77}};
    const struct blas *b = library();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int rows = shapes[s][0], cols = shapes[s][1], lda = cols + 2;
        float *a = random_floats((size_t)rows * (size_t)lda, 4), *x = random_floats((size_t)cols, 5),
              *y = random_floats((size_t)rows, 6), *got = random_floats((size_t)rows, 6);
        b->sgemv(rows, cols, 1.5f, a, lda, x, 0.25f, got);
        for (int i = 0; i < rows; i++) {
            double sum = 0, size = 0;
            for (int j = 0; j < cols; j++) {
                double term = (double)a[i * lda + j] * (double)x[j];
                sum += term;
                size += fabs(term);
            }
            double want = 1.5 * sum + 0.25 * (double)y[i];
            assert_true(fabs((double)got[i] - want) <= (cols + 3) * 0x1p-24 * (1.5 * size + 0.25 * fabs((double)y[i])));
        }
        mem_free(a);
        mem_free(x);
        mem_free(y);
        mem_free(got);
    }
}

enum { SIDE = 192, TEAM = 3, ROUNDS = 40 };

struct crowd {
    const struct blas *blas;
    float *a[TEAM], *b[TEAM], *y[TEAM], *want[TEAM];
    int differ[TEAM];
};

static void all_at_once(void *ctx, int thread, int threads)
{
    struct crowd *c = ctx;
    (void)threads;
    for (int i = 0; i < ROUNDS; i++) {
        c->blas->sgemm(false, true, SIDE, SIDE, SIDE, 1, c->a[thread], SIDE, c->b[thread], SIDE, 0, c->y[thread], SIDE);
        c->differ[thread] += memcmp(c->y[thread], c->want[thread], sizeof(float) * SIDE * SIDE) != 0;
    }
}

/* Threads are ours: the same call from several at once must give, to the bit, what it gives alone. */
static void concurrent_calls_do_not_mix(void **state)
{
    struct crowd c = {.blas = library()};
    for (int t = 0; t < TEAM; t++) {
        c.a[t] = random_floats(SIDE * SIDE, 10 + (uint64_t)t);
        c.b[t] = random_floats(SIDE * SIDE, 20 + (uint64_t)t);
        c.y[t] = random_floats(SIDE * SIDE, 30);
        c.want[t] = random_floats(SIDE * SIDE, 30);
        c.blas->sgemm(false, true, SIDE, SIDE, SIDE, 1, c.a[t], SIDE, c.b[t], SIDE, 0, c.want[t], SIDE);
    }
    struct par *p;
    assert_int_equal(par_open(&p, TEAM, NULL), ST_OK);
    par_run(p, all_at_once, &c);
    par_close(p);
    for (int t = 0; t < TEAM; t++) {
        assert_int_equal(c.differ[t], 0);
        mem_free(c.a[t]);
        mem_free(c.b[t]);
        mem_free(c.y[t]);
        mem_free(c.want[t]);
    }
}

/* It must not start threads of its own. */
static void library_is_single_threaded(void **state)
{
    library();
    char line[128];
    int threads = -1;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        skip();
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Threads: %d", &threads) == 1)
            break;
    fclose(f);
    assert_int_equal(threads, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absence_is_told), /* first: children must start with nothing loaded */
        cmocka_unit_test(another_library_is_refused),
        cmocka_unit_test(scalar_core),
        cmocka_unit_test(avx2_core),
        cmocka_unit_test(avx512_core),
        cmocka_unit_test(native_core),
        cmocka_unit_test(library_is_single_threaded),
        cmocka_unit_test(sgemm_is_right),
        cmocka_unit_test(sgemv_is_right),
        cmocka_unit_test(concurrent_calls_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
