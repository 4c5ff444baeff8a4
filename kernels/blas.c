/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cpu.h"

/* CBLAS's own constants; its header is not needed to build. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                      int ldb, float beta, float *c, int ldc);
typedef void sgemv_fn(int order, int trans, int m, int n, float alpha, const float *a, int lda, const float *x, int incx,
                      float beta, float *y, int incy);

/* A library is loaded once in a process, so what was loaded is the process's. Written under the once alone. */
static struct {
    pthread_once_t once;
    struct err err;
    struct blas blas;
    sgemm_fn *sgemm;
    sgemv_fn *sgemv;
    void (*set_num_threads)(int);
    char *(*get_corename)(void);
    char *(*get_config)(void);
} lib = {.once = PTHREAD_ONCE_INIT};

static void run_sgemm(bool trans_a, bool trans_b, int m, int n, int k, float alpha, const float *a, int lda, const float *b,
                      int ldb, float beta, float *y, int ldy)
{
    lib.sgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, m, n, k, alpha, a, lda, b, ldb, beta, y, ldy);
}

static void run_sgemv(int rows, int cols, float alpha, const float *a, int lda, const float *x, float beta, float *y)
{
    lib.sgemv(ROW_MAJOR, NO_TRANS, rows, cols, alpha, a, lda, x, 1, beta, y, 1);
}

/* The best core type that this machine and the ISA mask allow, in OpenBLAS's words. */
static const char *best_core(void)
{
    uint32_t isa = cpu_isa();
    if (isa & ISA_AVX512)
        return isa & ISA_AVX512BF16 ? "Cooperlake" : "SkylakeX";
    if (isa & ISA_AVX2)
        return "Haswell"; /* AMD's Zen runs the same kernels */
#if defined(__x86_64__) || defined(__i386__)
    return "Prescott";
#else
    return ""; /* its own choice is the only one that is known to be right */
#endif
}

/* ISO C has no conversion from void * to a function; POSIX says that the bytes are the same. */
static bool resolve(void *handle, const char *path, const char *symbol, void *function)
{
    void *address = dlsym(handle, symbol);
    if (!address)
        fail(&lib.err, ST_EUNSUPPORTED, "%s has no %s: it is not OpenBLAS; install libopenblas0-pthread (make deps)", path,
             symbol);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

/* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …" -> "OpenBLAS 0.3.21" */
static void copy_version(char *buf, size_t n, const char *config)
{
    size_t name = strcspn(config, " "), number = config[name] ? strcspn(config + name + 1, " ") : 0;
    snprintf(buf, n, "%.*s", (int)(name + (number ? 1 + number : 0)), config);
}

static void load(void)
{
    struct blas *b = &lib.blas;
    const char *path = getenv("QBENCH_OPENBLAS");
    if (!path || !*path)
        path = "libopenblas.so.0";
    snprintf(b->wanted, sizeof b->wanted, "%s", best_core());
    if (b->wanted[0])
        setenv("OPENBLAS_CORETYPE", b->wanted, 1);
    setenv("OPENBLAS_NUM_THREADS", "1", 1); /* else its constructor starts a thread per CPU that we never use */
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        fail(&lib.err, ST_EUNSUPPORTED, "cannot load OpenBLAS: %s; install libopenblas0-pthread (make deps)", why ? why : path);
        return;
    }
    if (!resolve(handle, path, "cblas_sgemm", &lib.sgemm) || !resolve(handle, path, "cblas_sgemv", &lib.sgemv) ||
        !resolve(handle, path, "openblas_set_num_threads", &lib.set_num_threads) ||
        !resolve(handle, path, "openblas_get_corename", &lib.get_corename) ||
        !resolve(handle, path, "openblas_get_config", &lib.get_config)) {
        dlclose(handle);
        return;
    }
    lib.set_num_threads(1);
    snprintf(b->core, sizeof b->core, "%s", lib.get_corename());
    copy_version(b->version, sizeof b->version, lib.get_config());
    b->mismatch = b->wanted[0] && strcasecmp(b->core, b->wanted) != 0;
    b->sgemm = run_sgemm;
    b->sgemv = run_sgemv;
}

const struct blas *blas_get(struct err *e)
{
    pthread_once(&lib.once, load);
    if (lib.err.status == ST_OK)
        return &lib.blas;
    fail(e, lib.err.status, "%s", lib.err.text);
    return NULL;
}
