/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "show.h" /* before cmocka.h, whose macro is called fail too */

#include <cmocka.h>

static char folder[] = "/tmp/qbench-speed-XXXXXX", path[128];
static struct machine machine = {.id = "00000000000000aa"};
static struct build build = {.id = "00000000000000bb"};

static int set_up(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/s.db", folder);
    machine.json = json_pack("{s:s}", "cpu", "Test CPU");
    build.json = json_pack("{s:s}", "commit", "0123456789abcdef0123");
    return 0;
}

static int tear_down(void **state)
{
    json_decref(machine.json);
    json_decref(build.json);
    return rmdir(folder);
}

struct ground {
    struct store *store;
    int64_t run;
};

static struct ground begun(void)
{
    struct ground g;
    struct err e = {0};
    struct run_info r = {.suite = "s", .suite_text = "sections: {}", .suite_hash = "h", .argv = "qbench run", .machine = &machine, .build = &build, .cases = 1};
    if (store_open(&g.store, path, STORE_WRITE, &e) != ST_OK || store_run_begin(g.store, &r, &g.run, &e) != ST_OK)
        fail_msg("%s", e.text);
    return g;
}

static void ended(struct ground *g)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[160];
    store_close(g->store);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

static void add_value(struct result *r, const char *name, double x)
{
    struct value v = {.value = x, .lo = NAN, .hi = NAN};
    snprintf(v.name, sizeof v.name, "%s", name);
    assert_int_equal(result_add_value(r, &v), ST_OK);
}

static void stored(const struct ground *g, const char *key, struct result *r)
{
    struct bench_case c;
    struct err e = {0};
    if (case_parse(&c, key, &e) != ST_OK)
        fail_msg("%s", e.text);
    case_make_key(&c);
    if (store_result(g->store, g->run, &c, r, &e) != ST_OK)
        fail_msg("%s", e.text);
    result_clear(r);
}

/* ops and bytes in 1e9 a second; 0: not counted. */
static void add_speed(const struct ground *g, const char *key, double ops, double bytes, double footprint)
{
    struct result r = {.outcome = OUTCOME_OK};
    add_value(&r, "rate", 1);
    if (ops > 0)
        add_value(&r, "ops_per_second", ops * 1e9);
    if (bytes > 0)
        add_value(&r, "bytes_per_second", bytes * 1e9);
    if (footprint > 0)
        add_value(&r, "footprint_bytes", footprint);
    stored(g, key, &r);
}

static struct table *shown(enum status (*view)(struct store *, int64_t, struct table **, struct err *), const struct ground *g)
{
    struct table *t;
    struct err e = {0};
    if (view(g->store, g->run, &t, &e) != ST_OK)
        fail_msg("%s", e.text);
    return t;
}

static const struct cell *cell(const struct table *t, size_t row, const char *column)
{
    const struct cell *c = table_cell(t, row, table_find(t, column));
    if (!c)
        fail_msg("no cell '%s' in row %zu", column, row);
    return c;
}

static void assert_near(const struct cell *c, double wanted)
{
    if ((c->type != CELL_REAL && c->type != CELL_INTERVAL) || !(fabs(c->real - wanted) <= 1e-12 * fabs(wanted)))
        fail_msg("%.17g (%s) is not %.17g", c->real, c->text ? c->text : "", wanted);
}

static void assert_absent(const struct cell *c, const char *why)
{
    if (c->type != CELL_EMPTY || !c->text || !strstr(c->text, why))
        fail_msg("'%s' is no absence because of '%s'", c->text ? c->text : "", why);
}

static void add_roofs(const struct ground *g, const char *share, double factor)
{
    static const struct {
        const char *key;
        double ops, bytes, footprint;
    } roofs[] = {
        {"work=bandwidth op=read bytes=262144", 0, 200, 0x1p18},       {"work=bandwidth op=read bytes=4194304", 0, 80, 0x1p22},
        {"work=bandwidth op=read bytes=1073741824", 0, 20, 0x1p30},    {"work=bandwidth op=copy bytes=1000000", 0, 5, 1e6},
        {"work=peak op=int8_avx2", 160, 0, 0},                         {"work=peak op=int8_vnni", 640, 0, 0},
        {"work=peak op=f32_avx2", 90, 0, 0},                           {"work=peak op=f32_avx512", 180, 0, 0},
    };
    for (size_t i = 0; i < sizeof roofs / sizeof *roofs; i++) {
        char key[128];
        snprintf(key, sizeof key, "%s %s", roofs[i].key, share);
        add_speed(g, key, roofs[i].ops * factor, roofs[i].bytes * factor, roofs[i].footprint);
    }
}

/* Another thread count's and another mask's roofs are there to be taken by mistake. */
static void each_kernel_has_its_own_roofs(void **state)
{
    struct ground g = begun();
    static const struct {
        const char *key;
        double ops, bytes, footprint, of_bandwidth, of_peak;
        const char *bound;
    } rows[] = {
        /* cold: the largest read, 20 GB/s; int4 multiplies as int8 does */
        {"format=int4 group=0 kernel=int4_avx2 m=1 n=64 k=64 acts=ready cache=cold", 16, 10, 600e6, 50, 10, "read of 1 GiB"},
        /* 1 MiB would be as near to 4 MiB as to 256 KiB */
        {"format=int8 group=0 kernel=int8_vnni m=1 n=64 k=64 acts=ready cache=hot", 64, 40, 1.1e6, 50, 10, "read of 4 MiB"},
        {"format=int8 group=0 kernel=int8_vnni m=2 n=64 k=64 acts=ready cache=hot", 64, 150, 90e3, 75, 10, "read of 256 KiB"},
        /* many tokens: the peak binds */
        {"format=int8 group=0 kernel=int8_vnni m=64 n=64 k=64 acts=ready cache=hot", 320, 4, 5e6, 5, 50, "int8_vnni"},
        /* a kernel is held against what its own instructions reach, a library against the best there is */
        {"format=int8 group=0 kernel=int8_avx2 m=64 n=64 k=64 acts=ready cache=hot", 80, 4, 5e6, 5, 50, "int8_avx2"},
        {"format=f32 kernel=f32_blas m=64 n=64 k=64 cache=hot", 90, 4, 5e6, 5, 50, "f32_avx512"},
        {"format=int8 group=0 kernel=int8_onednn m=64 n=64 k=64 acts=ready cache=hot", 320, 4, 5e6, 5, 50, "int8_vnni"},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    for (int i = 0; i < ROWS; i++) {
        char key[256];
        snprintf(key, sizeof key, "work=gemm %s isa=native seed=1 threads=2", rows[i].key);
        add_speed(&g, key, rows[i].ops, rows[i].bytes, rows[i].footprint);
    }
    add_roofs(&g, "isa=native threads=2", 1);
    add_roofs(&g, "isa=native threads=4", 3);
    add_roofs(&g, "isa=vnni threads=2", 0.5);
    struct table *t = shown(show_kernels, &g);
    assert_int_equal(t->n_rows, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        assert_near(cell(t, i, "of bandwidth"), rows[i].of_bandwidth);
        assert_near(cell(t, i, "of peak"), rows[i].of_peak);
        assert_near(cell(t, i, "of roof"), fmax(rows[i].of_bandwidth, rows[i].of_peak));
        assert_string_equal(cell(t, i, "bound by")->text, rows[i].bound);
    }
    table_free(t);
    t = shown(show_roofs, &g);
    assert_int_equal(t->n_rows, 3 * 8);
    table_free(t);
    ended(&g);
}

static void a_missing_roof_is_told(void **state)
{
    struct ground g = begun();
    add_speed(&g, "work=gemm format=int8 group=0 kernel=int8_avx2 m=1 n=64 k=64 acts=ready cache=hot isa=native seed=1 threads=2", 4, 2, 20e6);
    add_speed(&g, "work=gemm format=int8 group=0 kernel=int8_avx2 m=1 n=64 k=64 acts=ready cache=hot isa=native seed=1 threads=1", 4, 2, 2e6);
    add_speed(&g, "work=gemm format=int8 group=0 kernel=int8_scalar m=1 n=64 k=64 acts=ready cache=hot isa=native seed=1 threads=2", 4, 2, 5e6);
    add_roofs(&g, "isa=native threads=2", 1);
    struct table *t = shown(show_kernels, &g);
    assert_absent(cell(t, 0, "of bandwidth"), "no read of a like size"); /* between 4 MiB and 1 GiB */
    assert_near(cell(t, 0, "of peak"), 2.5);
    assert_absent(cell(t, 0, "of roof"), "no read of a like size");
    assert_int_equal(table_find(t, "bound by"), -1); /* nothing to say in any row */
    assert_absent(cell(t, 1, "of bandwidth"), "as many threads");
    assert_absent(cell(t, 1, "of peak"), "as many threads");
    assert_near(cell(t, 2, "of bandwidth"), 2.5);
    assert_absent(cell(t, 2, "of peak"), "no peak for this kernel's arithmetic");
    table_free(t);
    ended(&g);
}

/* Twelve rounds of a process of several cases, this one's index-th in each, at rate times a drift that all of them share. */
enum { ROUNDS = 12 };
static void add_rounds(const struct ground *g, const char *key, double rate, double drift, int index, int cases)
{
    struct result r = {.outcome = OUTCOME_OK};
    add_value(&r, "rate", rate);
    for (int i = 0; i < ROUNDS; i++) {
        struct sample s = {.seconds = 0.5, .units = 0.5 * rate * exp(drift * i), .order = i * cases + (i % 2 ? cases - 1 - index : index)};
        assert_int_equal(result_add_sample(&r, &s), ST_OK);
    }
    stored(g, key, &r);
}

static const char *noted(const struct table *t, const char *words)
{
    for (int i = 0; i < t->n_notes; i++)
        if (strstr(t->notes[i], words))
            return t->notes[i];
    return NULL;
}

/* Two processes: what shares one is paired, however much it drifts; what does not is not, though its samples have other positions. */
static void speedups_are_taken_round_by_round(void **state)
{
    struct ground g = begun();
    static const char f32[] = "work=gemm format=f32 kernel=f32_blas m=%d n=64 k=64 cache=hot isa=native seed=1 threads=2",
                      scalar[] = "work=gemm format=f32 kernel=f32_scalar m=%d n=64 k=64 cache=hot isa=native seed=1 threads=2",
                      int8[] = "work=gemm format=int8 group=0 kernel=int8_avx2 m=%d n=64 k=64 acts=ready cache=hot isa=native seed=1 threads=2",
                      int4[] = "work=gemm format=int4 group=0 kernel=int4_avx2 m=%d n=64 k=64 acts=ready cache=hot isa=native seed=1 threads=2";
    char key[256];
#define KEY(format, m) (snprintf(key, sizeof key, format, m), key)
    add_rounds(&g, KEY(f32, 1), 100, 0.2, 0, 3);
    add_rounds(&g, KEY(scalar, 1), 10, 0.2, 1, 3); /* not the baseline */
    add_rounds(&g, KEY(int8, 1), 183, 0.2, 2, 3);
    add_rounds(&g, KEY(int8, 2), 50, 0, 0, 2); /* a new process begins; no float product of m=2 */
    add_rounds(&g, KEY(int4, 1), 400, 0, 1, 2);
    struct table *t = shown(show_kernels, &g);
    const struct cell *paired = cell(t, 2, "vs f32"), *apart = cell(t, 4, "vs f32");
    assert_near(paired, 1.83);
    assert_true(paired->hi - paired->lo < 1e-9);
    assert_int_equal(cell(t, 0, "vs f32")->type, CELL_EMPTY);
    assert_near(cell(t, 1, "vs f32"), 0.1);
    assert_int_equal(cell(t, 3, "vs f32")->type, CELL_EMPTY);
    assert_true(fabs(apart->real - 400 / (100 * exp(0.2 * 5.5))) < 1e-9 && apart->hi > 1.5 * apart->lo);
    assert_non_null(noted(t, "1 of these compare cases that were not sampled in turn"));
    table_free(t);
    ended(&g);
}

static void threads_are_held_against_one(void **state)
{
    struct ground g = begun();
    add_rounds(&g, "work=decode model=random:1m tune=none format=f32 kernel=f32_blas prompt=8 generate=8 isa=native seed=1 threads=1", 100, 0.1, 0, 3);
    add_rounds(&g, "work=decode model=random:1m tune=none format=f32 kernel=f32_blas prompt=8 generate=8 isa=native seed=1 threads=2", 150, 0.1, 1, 3);
    add_rounds(&g, "work=decode model=random:1m tune=none format=f32 kernel=f32_blas prompt=8 generate=16 isa=native seed=1 threads=2", 150, 0.1, 2, 3);
    add_rounds(&g, "work=peak op=f32_avx2 isa=native threads=4", 380, 0, 0, 1);
    add_rounds(&g, "work=peak op=f32_avx2 isa=native threads=1", 100, 0, 0, 1);
    struct table *t = shown(show_threads, &g);
    assert_int_equal(t->n_rows, 2); /* one case has no single-threaded twin */
    assert_string_equal(cell(t, 0, "case")->text, "work=decode model=random:1m tune=none format=f32 kernel=f32_blas prompt=8 generate=8 isa=native seed=1");
    assert_near(cell(t, 0, "vs one"), 1.5);
    assert_near(cell(t, 0, "efficiency"), 75);
    assert_near(cell(t, 1, "vs one"), 3.8);
    assert_near(cell(t, 1, "efficiency"), 95);
    assert_int_equal(cell(t, 1, "threads")->integer, 4);
    assert_non_null(noted(t, "1 of these"));
    table_free(t);
    t = shown(show_random, &g);
    assert_int_equal(table_find(t, "decode vs f32"), -1); /* nothing but the base itself */
    table_free(t);
    ended(&g);
}

static void models_are_held_against_float(void **state)
{
    struct ground g = begun();
    static const char decode[] = "work=decode model=random:1m tune=none %s prompt=8 generate=8 isa=native seed=1 threads=%d",
                      prefill[] = "work=prefill model=random:1m tune=none %s prompt=8 isa=native seed=1 threads=%d",
                      f32[] = "format=f32 kernel=f32_blas", int4[] = "method=rtn format=int4 group=32 gamma=off kernel=int4_avx2";
    char key[256];
#define CASE(work, what, threads) (snprintf(key, sizeof key, work, what, threads), key)
    add_rounds(&g, CASE(decode, f32, 1), 1000, 0.3, 0, 3); /* faster than on two threads, but no base for two */
    add_rounds(&g, CASE(decode, f32, 2), 100, 0.3, 1, 3);
    add_rounds(&g, CASE(decode, int4, 2), 250, 0.3, 2, 3);
    add_rounds(&g, CASE(prefill, int4, 2), 70, 0, 0, 1);
    struct table *t = shown(show_random, &g);
    assert_int_equal(t->n_rows, 2);
    assert_near(cell(t, 1, "decode vs f32"), 2.5);
    assert_true(cell(t, 1, "decode vs f32")->hi < 2.5 + 1e-9);
    assert_int_equal(cell(t, 0, "decode vs f32")->type, CELL_EMPTY);
    assert_int_equal(table_find(t, "prefill vs f32"), -1);
    assert_non_null(noted(t, "taken in turn"));
    table_free(t);
    ended(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kernel_has_its_own_roofs),
        cmocka_unit_test(a_missing_roof_is_told),
        cmocka_unit_test(speedups_are_taken_round_by_round),
        cmocka_unit_test(threads_are_held_against_one),
        cmocka_unit_test(models_are_held_against_float),
    };
    return cmocka_run_group_tests_name("speed", tests, set_up, tear_down);
}
