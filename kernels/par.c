/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "par.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE = 64, MAX_THREADS = 4096 };
static const double spin_seconds = 40e-6; /* longer than the serial stretches between two layers, far below a time slice */

struct worker {
    pthread_t id;
    struct par *team;
    int thread;
};

/* What the caller writes and what the workers write stand on cache lines of their own. */
struct par {
    int threads;
    bool spins;      /* a CPU for every thread: waiting may burn one */
    bool stop;
    bool busy;
    bool holds_pin;  /* this team counts in its opener's pin */
    pthread_t opener;
    cpu_set_t allowed; /* of the opener, before any team pinned it */
    struct worker *workers; /* owned, (threads - 1) */
    void (*fn)(void *ctx, int thread, int threads);
    void *ctx;
    _Alignas(LINE) _Atomic uint32_t epoch;   /* one more for every call; workers wait on it */
    _Alignas(LINE) _Atomic uint32_t running; /* workers that have not returned; the caller waits on it */
    _Alignas(LINE) _Atomic uint32_t sleepers; /* workers asleep on epoch, or about to be */
    _Atomic uint32_t caller_sleeps;
};

/* A thread with open teams is pinned; this remembers where it may run, so that a nested team sees all CPUs and the last
 * par_close gives them back. It belongs to the thread just as its affinity does. */
static _Thread_local struct {
    int teams;
    bool known;
    cpu_set_t allowed;
} pin;

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Spins while *word == value, at most spin_seconds; true when it has changed. */
static bool spin_while(const struct par *p, _Atomic uint32_t *word, uint32_t value)
{
    if (!p->spins) {
        sched_yield();
        return atomic_load(word) != value;
    }
    double end = 0;
    for (;;) {
        for (int i = 0; i < 64; i++) {
            if (atomic_load(word) != value)
                return true;
            pause_cpu();
        }
        double now = now_seconds();
        if (end == 0)
            end = now + spin_seconds;
        else if (now > end)
            return false;
    }
}

/* Either the caller sees this sleeper, or the futex sees the new epoch: both orders are sequentially consistent. */
static uint32_t wait_for_call(struct par *p, uint32_t seen)
{
    if (!spin_while(p, &p->epoch, seen)) {
        atomic_fetch_add(&p->sleepers, 1);
        while (atomic_load(&p->epoch) == seen)
            futex_wait(&p->epoch, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
    return atomic_load(&p->epoch);
}

static void wait_for_workers(struct par *p)
{
    uint32_t left;
    while ((left = atomic_load(&p->running)) != 0) {
        if (spin_while(p, &p->running, left))
            continue;
        atomic_store(&p->caller_sleeps, 1);
        if ((left = atomic_load(&p->running)) != 0)
            futex_wait(&p->running, left);
        atomic_store(&p->caller_sleeps, 0);
    }
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct par *p = w->team;
    for (uint32_t seen = 0;;) {
        seen = wait_for_call(p, seen);
        if (p->stop)
            return NULL;
        p->fn(p->ctx, w->thread, p->threads);
        if (atomic_fetch_sub(&p->running, 1) == 1 && atomic_load(&p->caller_sleeps))
            futex_wake_all(&p->running);
    }
}

static void announce(struct par *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers))
        futex_wake_all(&p->epoch);
}

void par_run(struct par *p, void (*fn)(void *ctx, int thread, int threads), void *ctx)
{
    if (p->threads == 1) {
        fn(ctx, 0, 1);
        return;
    }
    assert(!p->busy && "a team is used by one caller at a time");
    p->busy = true;
    p->fn = fn;
    p->ctx = ctx;
    atomic_store(&p->running, (uint32_t)p->threads - 1);
    announce(p);
    fn(ctx, 0, p->threads);
    wait_for_workers(p);
    p->busy = false;
}

/* The index-th CPU of set, or -1. */
static int nth_cpu(const cpu_set_t *set, int index)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, set) && index-- == 0)
            return cpu;
    return -1;
}

/* Pinning is for steady timing; a sandbox that refuses it costs steadiness, not correctness, so failure is ignored. */
static void pin_self(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

static void hold_pin(struct par *p)
{
    if (pin.teams++ == 0)
        pin.known = pthread_getaffinity_np(pthread_self(), sizeof pin.allowed, &pin.allowed) == 0;
    p->allowed = pin.allowed;
    p->opener = pthread_self();
    p->holds_pin = true;
    int cpus = pin.known ? CPU_COUNT(&pin.allowed) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    p->spins = p->threads <= cpus;
    if (p->spins && pin.known)
        pin_self(nth_cpu(&pin.allowed, 0));
}

static void release_pin(struct par *p)
{
    if (!p->holds_pin || !pthread_equal(p->opener, pthread_self()))
        return;
    if (--pin.teams == 0 && pin.known)
        pthread_setaffinity_np(pthread_self(), sizeof pin.allowed, &pin.allowed);
}

static void stop_workers(struct par *p, int started)
{
    p->stop = true;
    announce(p);
    for (int i = 0; i < started; i++)
        pthread_join(p->workers[i].id, NULL);
}

/* Where a worker may run: on its own CPU, or where its opener could before it was pinned. */
static cpu_set_t worker_cpus(const struct par *p, int thread)
{
    if (!p->spins)
        return p->allowed;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(nth_cpu(&p->allowed, thread), &one);
    return one;
}

/* A worker would inherit its creator's affinity, which is one CPU: its own is given before it starts. */
static int start_worker(struct par *p, int thread)
{
    struct worker *w = &p->workers[thread - 1];
    *w = (struct worker){.team = p, .thread = thread};
    if (!pin.known)
        return pthread_create(&w->id, NULL, work, w);
    pthread_attr_t attr;
    int error = pthread_attr_init(&attr);
    if (error)
        return error;
    cpu_set_t cpus = worker_cpus(p, thread);
    pthread_attr_setaffinity_np(&attr, sizeof cpus, &cpus);
    error = pthread_create(&w->id, &attr, work, w);
    pthread_attr_destroy(&attr);
    if (error == EINVAL || error == EPERM) /* that CPU went away, or may not be chosen */
        error = pthread_create(&w->id, NULL, work, w);
    return error;
}

enum status par_open(struct par **out, int threads, struct err *e)
{
    *out = NULL;
    if (threads < 1 || threads > MAX_THREADS)
        return fail(e, ST_EUSAGE, "threads=%d: must be 1 to %d", threads, MAX_THREADS);
    struct par *p = mem_alloc(1, sizeof *p);
    if (!p)
        return fail(e, ST_ENOMEM, "no memory for a team of %d threads", threads);
    p->threads = threads;
    p->workers = mem_alloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) {
        mem_free(p);
        return fail(e, ST_ENOMEM, "no memory for a team of %d threads", threads);
    }
    hold_pin(p);
    for (int thread = 1; thread < threads; thread++) {
        int error = start_worker(p, thread);
        if (error) {
            p->threads = thread; /* those that run */
            par_close(p);
            return fail(e, ST_EIO, "cannot start thread %d of %d: %s; ask for fewer threads", thread + 1, threads,
                        strerror(error));
        }
    }
    *out = p;
    return ST_OK;
}

void par_close(struct par *p)
{
    if (!p)
        return;
    stop_workers(p, p->threads - 1);
    release_pin(p);
    mem_free(p->workers);
    mem_free(p);
}

int par_threads(const struct par *p) { return p->threads; }

void par_span(int total, int step, int thread, int threads, int *begin, int *end)
{
    int64_t blocks = ((int64_t)total + step - 1) / step;
    int64_t from = blocks * thread / threads * step, to = blocks * (thread + 1) / threads * step;
    *begin = (int)(from < total ? from : total);
    *end = (int)(to < total ? to : total);
}
