/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "par.h"

#include <cmocka.h> /* last: it has a macro called fail, as base.h has a function */

enum { MOST = 8 };

static int cpus_allowed(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

static struct par *team(int threads)
{
    struct par *p;
    struct err e = {0};
    if (par_open(&p, threads, &e) != ST_OK)
        fail_msg("%s", e.text);
    return p;
}

/* Plain counters, one a thread: a data race here is the team's fault, and TSan says so. */
struct tally {
    long calls[MOST];
    int threads;
};

static void count(void *ctx, int thread, int threads)
{
    struct tally *t = ctx;
    t->calls[thread]++;
    if (thread == 0)
        t->threads = threads;
}

static void every_thread_runs_once_a_call(void **state)
{
    for (int threads = 1; threads <= MOST; threads++) {
        struct par *p = team(threads);
        assert_int_equal(par_threads(p), threads);
        struct tally t = {0};
        int calls = threads <= cpus_allowed() ? 20000 : 500;
        for (int i = 0; i < calls; i++)
            par_run(p, count, &t);
        for (int i = 0; i < MOST; i++)
            assert_int_equal(t.calls[i], i < threads ? calls : 0);
        assert_int_equal(t.threads, threads);
        par_close(p);
    }
}

/* What one call writes the next must read, whichever thread wrote it. */
struct relay {
    long value[MOST];
    bool wrong;
};

static void pass_on(void *ctx, int thread, int threads)
{
    struct relay *r = ctx;
    (void)threads;
    r->value[thread]++;
}

static void calls_are_ordered(void **state)
{
    struct par *p = team(2);
    struct relay r = {0};
    for (int i = 1; i <= 5000; i++) {
        par_run(p, pass_on, &r);
        r.wrong |= r.value[0] != i || r.value[1] != i;
        r.value[0] = r.value[1] = i; /* the caller may write between calls */
    }
    assert_false(r.wrong);
    par_close(p);
}

static void pause_for(double seconds)
{
    struct timespec t = {0, (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

/* Around the moment in which a worker falls asleep a lost wake-up would hang. */
static void sleeping_workers_wake(void **state)
{
    struct par *p = team(2);
    struct tally t = {0};
    for (int i = 0; i < 300; i++) {
        par_run(p, count, &t);
        double until = now_seconds() + (i % 100) * 1e-6;
        while (now_seconds() < until)
            ;
    }
    for (int i = 0; i < 20; i++) {
        par_run(p, count, &t);
        pause_for(0.001);
    }
    assert_int_equal(t.calls[1], 320);
    par_close(p);
}

static void slow(void *ctx, int thread, int threads)
{
    if (thread == threads - 1)
        pause_for(0.003); /* long beyond spinning: the caller sleeps */
    count(ctx, thread, threads);
}

static void caller_waits_for_the_slowest(void **state)
{
    struct par *p = team(3);
    struct tally t = {0};
    for (int i = 1; i <= 10; i++) {
        par_run(p, slow, &t);
        assert_int_equal(t.calls[2], i);
    }
    par_close(p);
}

static void idle_teams_cost_nothing(void **state)
{
    struct par *p = team(2);
    struct tally t = {0};
    par_run(p, count, &t);
    pause_for(0.01);
    clock_t before = clock();
    pause_for(0.1);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 0.05);
    par_close(p);
}

static void where(void *ctx, int thread, int threads)
{
    int *cpu = ctx;
    (void)threads;
    cpu_set_t set;
    cpu[thread] = sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 ? sched_getcpu() : -1;
}

static void threads_are_pinned_apart_and_the_caller_is_freed(void **state)
{
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    if (CPU_COUNT(&before) < 2)
        skip();
    struct par *outer = team(2), *inner = team(2);
    int cpu[MOST];
    par_run(outer, where, cpu);
    assert_true(cpu[0] >= 0 && cpu[1] >= 0 && cpu[0] != cpu[1]);
    par_run(inner, where, cpu); /* a nested team sees all CPUs, not the one that its opener is pinned to */
    assert_true(cpu[0] >= 0 && cpu[1] >= 0 && cpu[0] != cpu[1]);
    par_close(outer);
    par_run(inner, where, cpu);
    assert_true(cpu[0] >= 0 && cpu[0] != cpu[1]);
    par_close(inner);
    sched_getaffinity(0, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
}

/* More threads than CPUs: nobody spins the CPU away from the one that has the work. */
static void one_cpu_is_enough(void **state)
{
    cpu_set_t before, one;
    if (sched_getaffinity(0, sizeof before, &before) != 0)
        skip();
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &before))
            CPU_SET(i, &one);
    sched_setaffinity(0, sizeof one, &one);
    struct par *p = team(4);
    struct tally t = {0};
    double start = now_seconds();
    for (int i = 0; i < 200; i++)
        par_run(p, count, &t);
    assert_true(now_seconds() - start < 5);
    assert_int_equal(t.calls[3], 200);
    par_close(p);
    sched_setaffinity(0, sizeof before, &before);
}

static void bad_counts_are_refused(void **state)
{
    static const int bad[] = {0, -1, INT32_MIN, 1000000};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct par *p = (void *)1;
        struct err e = {0};
        assert_int_equal(par_open(&p, bad[i], &e), ST_EUSAGE);
        assert_null(p);
        assert_non_null(strstr(e.text, "threads="));
    }
    par_close(NULL);
}

static void spans_cover_without_overlap(void **state)
{
    static const int totals[] = {0, 1, 15, 16, 17, 100, 4096, 4097, INT32_MAX}, steps[] = {1, 4, 16, 64};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++)
            for (int threads = 1; threads <= 7; threads++) {
                int at = 0, least = INT32_MAX, most = 0;
                for (int t = 0; t < threads; t++) {
                    int begin, end;
                    par_span(totals[i], steps[j], t, threads, &begin, &end);
                    assert_int_equal(begin, at);
                    assert_true(end >= begin);
                    assert_true(begin % steps[j] == 0 || begin == totals[i]);
                    assert_true(end % steps[j] == 0 || end == totals[i]);
                    int blocks = end / steps[j] - begin / steps[j] + (end % steps[j] != 0);
                    least = min_int(least, blocks);
                    most = max_int(most, blocks);
                    at = end;
                }
                assert_int_equal(at, totals[i]);
                assert_true(most - least <= 1); /* balanced */
            }
}

static void report_latency(void **state)
{
    struct par *p = team(2);
    struct tally t = {0};
    enum { CALLS = 20000 };
    double start = now_seconds();
    for (int i = 0; i < CALLS; i++)
        par_run(p, count, &t);
    printf("an empty call on 2 threads takes %.2f us\n", 1e6 * (now_seconds() - start) / CALLS);
    par_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_once_a_call),
        cmocka_unit_test(calls_are_ordered),
        cmocka_unit_test(sleeping_workers_wake),
        cmocka_unit_test(caller_waits_for_the_slowest),
        cmocka_unit_test(idle_teams_cost_nothing),
        cmocka_unit_test(threads_are_pinned_apart_and_the_caller_is_freed),
        cmocka_unit_test(one_cpu_is_enough),
        cmocka_unit_test(bad_counts_are_refused),
        cmocka_unit_test(spans_cover_without_overlap),
        cmocka_unit_test(report_latency),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
