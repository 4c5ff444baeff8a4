/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "cpu.h"
#include "emulated_amx.h"
#include "problem.h"
#include "tile_emulation.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { SEED = 11, MAX_THREADS = 4 };

static struct par *teams[MAX_THREADS + 1];
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* The emulation itself */

static struct tile_config usual(void) { return tile_shapes(TILE_ROWS, TILE_ROW_BYTES); }

static void configure(void *config) { tile_configure(config); }
static void load_four(void *memory) { tile_load(4, memory, TILE_ROW_BYTES); }
static void store_four(void *memory) { tile_store(4, memory, TILE_ROW_BYTES); }
static void zero_four(void *ctx) { tile_zero(4); }
static void bytes_usual(void *ctx) { tile_dpbssd(0, 4, 6); }
static void halves_usual(void *ctx) { tile_dpbf16ps(0, 4, 6); }
static void twice_the_same(void *ctx) { tile_dpbsud(0, 4, 4); }
static void into_itself(void *ctx) { tile_dpbssd(4, 4, 6); }

static void faults(const char *says, void (*fn)(void *), void *ctx)
{
    const char *why = tile_faults(fn, ctx);
    if (!why || !strstr(why, says))
        fail_msg("'%s' does not say '%s'", why ? why : "no fault", says);
}

static void test_bad_configurations(void **state)
{
    static const struct {
        const char *says;
        size_t at;
        uint8_t value;
    } rows[] = {
        {"palette 2", 0, 2},           {"reserved byte 15", 15, 1}, {"no tile 8", 32, 4},   {"no tile 15", 63, 1},
        {"65 bytes", 16, 65},          {"320 bytes", 17, 1},        {"17 rows", 49, 17},    {"not both", 48, 0},
        {"not both", 30, 0},           {"start_row 3", 1, 3},
    };
    for (int i = 0; i < COUNT(rows); i++) {
        struct tile_config c = usual();
        uint8_t bytes[sizeof c];
        memcpy(bytes, &c, sizeof c);
        bytes[rows[i].at] = rows[i].value;
        memcpy(&c, bytes, sizeof c);
        faults(rows[i].says, configure, &c);
    }
    struct tile_config c = usual();
    c.rows[7] = 0;
    c.row_bytes[7] = 0;
    assert_null(tile_faults(configure, &c)); /* a tile that is left out */
    tile_release();
}

static void test_use_without_configuration(void **state)
{
    uint8_t memory[TILE_BYTES] = {0};
    void (*const uses[])(void *) = {load_four, store_four, zero_four, bytes_usual, halves_usual};
    tile_release();
    for (int i = 0; i < COUNT(uses); i++)
        faults("not configured", uses[i], memory);
    struct tile_config c = usual();
    c.rows[4] = 0;
    c.row_bytes[4] = 0;
    tile_configure(&c);
    for (int i = 0; i < COUNT(uses); i++)
        faults("tile 4 is not configured", uses[i], memory);
    c = (struct tile_config){0};
    tile_configure(&c); /* palette 0 releases */
    faults("tiles are not configured", zero_four, memory);
}

static void test_shapes_that_do_not_fit(void **state)
{
    static const struct {
        int tile, rows, row_bytes;
    } changes[] = {{0, 15, 64}, {0, 16, 60}, {4, 15, 64}, {4, 16, 60}, {6, 15, 64}, {6, 16, 60}};
    for (int i = 0; i < COUNT(changes); i++) {
        struct tile_config c = usual();
        c.rows[changes[i].tile] = (uint8_t)changes[i].rows;
        c.row_bytes[changes[i].tile] = (uint16_t)changes[i].row_bytes;
        tile_configure(&c);
        faults("do not fit", bytes_usual, NULL);
        faults("do not fit", halves_usual, NULL);
    }
    struct tile_config c = usual();
    tile_configure(&c);
    faults("not three", twice_the_same, NULL);
    faults("not three", into_itself, NULL);
    c.row_bytes[4] = 62;
    tile_configure(&c);
    faults("rows of 62 bytes", load_four, NULL);
    tile_release();
}

/* Rows stand a stride apart in memory; what lies between them, and beyond a tile's shape, is neither read nor written. */
static void test_loads_and_stores(void **state)
{
    enum { ROWS = 5, BYTES = 12, STRIDE = 100 };
    uint8_t from[ROWS * STRIDE], to[ROWS * STRIDE], whole[TILE_BYTES];
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)(i * 7 + 1);
    memset(to, 0xee, sizeof to);
    struct tile_config c = tile_shapes(ROWS, BYTES);
    tile_configure(&c);
    tile_load(4, from, STRIDE);
    tile_store(4, to, STRIDE);
    for (size_t i = 0; i < sizeof to; i++)
        assert_int_equal(to[i], i % STRIDE < BYTES ? from[i] : 0xee);
    tile_zero(4);
    tile_store(4, whole, BYTES);
    for (int i = 0; i < ROWS * BYTES; i++)
        assert_int_equal(whole[i], 0);
    tile_release();
}

/* Against the sum as one would write it down: any shape, both kinds, sums that wrap around. */
static void test_byte_products(void **state)
{
    struct rng r;
    rng_seed(&r, SEED);
    for (int turn = 0; turn < 200; turn++) {
        int rows = 1 + (int)rng_below(&r, 16), bytes = 4 * (1 + (int)rng_below(&r, 16)), kind = turn % 2;
        int8_t a[TILE_BYTES];
        uint8_t b[TILE_BYTES];
        int32_t c[TILE_BYTES / 4], got[TILE_BYTES / 4];
        for (int i = 0; i < TILE_BYTES; i++) {
            a[i] = (int8_t)rng_below(&r, 256);
            b[i] = (uint8_t)rng_below(&r, 256);
        }
        for (int i = 0; i < TILE_BYTES / 4; i++)
            c[i] = turn % 3 ? (int32_t)rng_below(&r, 1u << 20) : INT32_MAX;
        struct tile_config shapes = tile_shapes(rows, bytes);
        tile_configure(&shapes);
        tile_load(0, c, TILE_ROW_BYTES);
        tile_load(4, a, (size_t)bytes);
        tile_load(6, b, TILE_ROW_BYTES);
        if (kind)
            tile_dpbsud(0, 4, 6);
        else
            tile_dpbssd(0, 4, 6);
        tile_store(0, got, TILE_ROW_BYTES);
        for (int m = 0; m < rows; m++)
            for (int n = 0; n < 16; n++) {
                int64_t sum = c[16 * m + n];
                for (int k = 0; k < bytes; k++) {
                    uint8_t w = b[k / 4 * 64 + 4 * n + k % 4];
                    sum += a[m * bytes + k] * (kind ? w : (int8_t)w);
                }
                assert_int_equal(got[16 * m + n], (int32_t)(uint32_t)(uint64_t)sum);
            }
    }
    tile_release();
}

/* One row of a against one column of b: c + a[0] b[0] + a[1] b[1] … */
static float halves(float c, int count, const float *a, const float *b)
{
    uint16_t row[TILE_ROW_BYTES / 2] = {0}, column[TILE_BYTES / 2] = {0};
    float sum[TILE_ROW_BYTES / 4] = {c};
    for (int i = 0; i < count; i++) {
        row[i] = bf16_from_float(a[i]);
        column[i / 2 * 32 + i % 2] = bf16_from_float(b[i]);
    }
    struct tile_config shapes = tile_shapes(1, TILE_ROW_BYTES);
    tile_configure(&shapes);
    tile_load(0, sum, TILE_ROW_BYTES);
    tile_load(4, row, TILE_ROW_BYTES);
    tile_load(6, column, TILE_ROW_BYTES);
    tile_dpbf16ps(0, 4, 6);
    tile_store(0, sum, TILE_ROW_BYTES);
    tile_release();
    return sum[0];
}

static void test_half_products(void **state)
{
    const float tiny = 0x1p-130f, small = 0x1p-100f, eps = 0x1p-7f;
    assert_true(halves(1.0f, 3, (const float[]){1, 2, 3}, (const float[]){4, 5, -6}) == -3.0f);
    /* denormals are zero: in x, in c, and as a result */
    assert_true(halves(0, 1, &tiny, (const float[]){0x1p10f}) == 0);
    assert_true(halves(tiny, 1, (const float[]){0}, (const float[]){0}) == 0);
    assert_true(halves(0, 1, &small, (const float[]){0x1p-28f}) == 0);
    assert_true(halves(0, 1, &small, (const float[]){0x1p-26f}) == 0x1p-126f);
    /* each addition rounds to nearest even */
    assert_true(halves(0, 3, (const float[]){0x1p24f, 0, 1}, (const float[]){1, 0, 1}) == 0x1p24f);
    assert_true(halves(0, 3, (const float[]){0x1p24f, 0, 1 + eps}, (const float[]){1, 0, 1}) == 0x1p24f + 2);
    /* even and odd columns apart, c last: 2^24 + 1 rounds to even in either order of the rest */
    assert_true(halves(1.0f, 2, (const float[]){0x1p24f, -0x1p24f}, (const float[]){1, 1}) == 1.0f);
    assert_true(halves(0x1p24f, 2, (const float[]){1, 1}, (const float[]){1, 1}) == 0x1p24f + 2);
    assert_true(isnan(halves(0, 1, (const float[]){INFINITY}, (const float[]){0})));
}

/* The kernels on it */

static bool usable(const struct kernel *k)
{
    char why[512];
    kernel_reason(k, why, sizeof why);
    if (why[0])
        print_message("skipped: %s, emulated: %s\n", k->name, why);
    return !why[0];
}

/* With no more room than the problem takes, so that the sanitizer sees a tile that reaches beyond it. */
static void shape(const struct kernel *k, int m, int n, int cols, int group, int turn, struct rng *r)
{
    struct problem p;
    struct acts a = {0};
    struct err e = {0};
    assert_int_equal(acts_reserve(&a, k->act, m, cols, group, &e), ST_OK);
    problem_open(&p, k->format, m, n, cols, group, (enum fill)(turn % FILL_COUNT), r);
    problem_expect(&p, k->act);
    problem_run(&p, k, &a, teams[1 + turn % MAX_THREADS], SEED);
    problem_close(&p);
    acts_free(&a);
}

static bool takes(const struct kernel *k, int group) { return group % k->k_step == 0 && (k->act == ACT_INT8 || group == 0); }

/* Groups on every way through: parts of a turn, whole turns, tiles narrower than 64 columns, longer than a span. */
static void test_shapes(void **state)
{
    static const int ms[] = {1, 5, 16, 17, 37}, ns[] = {1, 16, 33, 100}, ks[] = {1, 31, 33, 100, 384, 1000},
                     groups[] = {0, 8, 16, 24, 32, 64, 96, 128, 160, 256, 640};
    const struct kernel *const *list = emulated_kernels();
    struct rng r;
    int turn = 0;
    rng_seed(&r, SEED);
    for (; *list && usable(*list); list++)
        for (int g = 0; g < COUNT(groups); g++)
            for (int m = 0; m < COUNT(ms) && takes(*list, groups[g]); m++)
                for (int n = 0; n < COUNT(ns); n++)
                    for (int k = 0; k < COUNT(ks); k++)
                        shape(*list, ms[m], ns[n], ks[k], groups[g], turn++, &r);
}

/* Every way to cut tokens into tiles; then more than one block of them, of which the last is smaller. */
static void test_tokens(void **state)
{
    const struct kernel *const *list = emulated_kernels();
    struct rng r;
    rng_seed(&r, SEED);
    for (; *list && usable(*list); list++) {
        for (int m = 1; m <= 67; m++)
            shape(*list, m, 33, 96, takes(*list, 32) && m % 2 ? 32 : 0, m, &r);
        shape(*list, 561, 20, 136, 0, 0, &r);
        shape(*list, 561, 20, 136, takes(*list, 32) ? 32 : 0, 1, &r);
        shape(*list, 350, 5, 4000, 0, 2, &r);
    }
}

/* The most columns allowed, all products largest: sums stay inside 32 bits. */
static void test_widest(void **state)
{
    const struct kernel *const *list = emulated_kernels();
    struct rng r;
    rng_seed(&r, SEED);
    for (; *list && usable(*list); list++)
        for (int turn = 0; turn < FILL_COUNT && (*list)->act == ACT_INT8; turn++) {
            shape(*list, 2, 17, KERNEL_MAX_COLUMNS, 0, turn, &r);
            shape(*list, 1, 17, KERNEL_MAX_COLUMNS, 128, turn, &r);
        }
}

/* A NaN in one token stays there, and so does one in the weights that stands where a tile reaches over the last column. */
static void test_not_finite(void **state)
{
    const struct kernel *const *list = emulated_kernels();
    struct acts a = {0};
    struct err e = {0};
    struct rng r;
    rng_seed(&r, SEED);
    assert_int_equal(problem_reserve(&a, 20, 40, 0, &e), ST_OK);
    for (; *list && usable(*list); list++) {
        struct problem p;
        struct linear l;
        problem_open(&p, (*list)->format, 20, 40, 40, 0, FILL_RANDOM, &r);
        p.x[7 * p.ldx + 5] = INFINITY;
        p.q.act_gain = 1.0f;
        if (p.dense)
            for (int n = 16; n < 32; n++)
                p.dense[(size_t)n * 40] = NAN; /* the panel behind the first */
        assert_int_equal(linear_open(&l, &p.q, *list, &e), ST_OK);
        acts_set(&a, NULL, (*list)->act, p.x, 20, 40, p.ldx, 0);
        linear_run(&l, NULL, &a, NULL, p.y, p.ldy);
        for (int m = 0; m < 20; m++)
            for (int n = 0; n < 40; n++)
                assert_int_equal(isfinite(p.y[m * p.ldy + n]) == 0, m == 7 || (p.dense && n / 16 == 1));
        linear_close(&l);
        problem_close(&p);
    }
    acts_free(&a);
}

/* Each share of a call configures once, and gives the tiles back. */
static void test_tiles_are_released(void **state)
{
    const struct kernel *const *list = emulated_kernels();
    struct rng r;
    rng_seed(&r, SEED);
    for (; *list && usable(*list); list++)
        for (int turn = 0; turn < 2 * MAX_THREADS; turn++) {
            tile_counts();
            shape(*list, 40, 200, 256, takes(*list, 32) && turn % 2 ? 32 : 0, turn, &r);
            struct tile_counts counts = tile_counts();
            assert_int_equal(counts.configured, 1 + turn % MAX_THREADS);
            assert_int_equal(counts.released, counts.configured);
        }
}

/* Signals and migration: the kernel of the machine saves tiles with everything else, if it was asked to. */

static atomic_long alarms;
static volatile double worked;

static void on_alarm(int signal)
{
    alarms++;
    for (int i = 0; i < 20; i++)
        worked += sqrt(i); /* the handler has registers of its own */
}

static atomic_bool stop;

/* Sends every thread of this process round the CPUs. */
static void *move_threads(void *cpus)
{
    cpu_set_t allowed = *(cpu_set_t *)cpus;
    for (int turn = 0; !stop; turn++) {
        int cpu = turn % CPU_SETSIZE;
        if (!CPU_ISSET(cpu, &allowed))
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *d; tasks && (d = readdir(tasks));)
            if (d->d_name[0] != '.')
                sched_setaffinity(atoi(d->d_name), sizeof one, &one);
        if (tasks)
            closedir(tasks);
        sched_yield();
    }
    return NULL;
}

static void disturb(const struct kernel *k, struct rng *r)
{
    struct acts a = {0};
    struct err e = {0};
    struct problem p;
    assert_int_equal(problem_reserve(&a, 50, 512, 32, &e), ST_OK);
    problem_open(&p, k->format, 50, 200, 512, k->act == ACT_INT8 ? 32 : 0, FILL_RANDOM, r);
    problem_expect(&p, k->act);
    for (int turn = 0; turn < 100; turn++)
        problem_run(&p, k, &a, teams[2], SEED);
    problem_close(&p);
    acts_free(&a);
}

static void test_signals_and_migration(void **state)
{
    static const char *const names[] = {"int8_amx", "bf16_amx", "int8_scalar"}; /* the last one so that it is done everywhere */
    struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    struct sigaction act = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, old;
    cpu_set_t cpus;
    pthread_t mover;
    struct rng r;
    char why[512];
    rng_seed(&r, SEED);
    sched_getaffinity(0, sizeof cpus, &cpus);
    sigaction(SIGALRM, &act, &old);
    stop = false;
    assert_int_equal(pthread_create(&mover, NULL, move_threads, &cpus), 0);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < COUNT(names); i++) {
        kernel_reason(kernel_find(names[i]), why, sizeof why);
        if (why[0])
            print_message("skipped: %s: %s\n", names[i], why);
        else
            disturb(kernel_find(names[i]), &r);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    stop = true;
    pthread_join(mover, NULL);
    sigaction(SIGALRM, &old, NULL);
    sched_setaffinity(0, sizeof cpus, &cpus);
    print_message("%ld signals\n", (long)alarms);
    assert_true(alarms > 0);
}

static int open_teams(void **state)
{
    struct err e = {0};
    for (int t = 1; t <= MAX_THREADS; t++)
        if (par_open(&teams[t], t, &e) != ST_OK) {
            print_error("%s\n", e.text);
            return -1;
        }
    return 0;
}

static int close_teams(void **state)
{
    for (int t = 1; t <= MAX_THREADS; t++)
        par_close(teams[t]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_configurations),
        cmocka_unit_test(test_use_without_configuration),
        cmocka_unit_test(test_shapes_that_do_not_fit),
        cmocka_unit_test(test_loads_and_stores),
        cmocka_unit_test(test_byte_products),
        cmocka_unit_test(test_half_products),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_widest),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_tiles_are_released),
        cmocka_unit_test(test_signals_and_migration),
    };
    return cmocka_run_group_tests(tests, open_teams, close_teams);
}
