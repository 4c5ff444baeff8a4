/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"
#include "kernel.h"

/* Below VNNI the library's products go through 16-bit sums that saturate: not the result that is asked for. */
#define DESCRIPTION                                                                                                   \
    .name = "int8_onednn", .title = "a rival: oneDNN's inner product (libdnnl), scaled afterwards", .format = FORMAT_INT8, \
    .needs = ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI, .act = ACT_INT8, .n_step = 64, .k_step = KERNEL_ROW_SCALES

#if !__has_include(<oneapi/dnnl/dnnl.h>)
const struct kernel kernel_int8_onednn = {DESCRIPTION, .absent = "built without libdnnl-dev: apt-get install libdnnl-dev && make clean && make"};
#elif !defined __AVX512VNNI__
const struct kernel kernel_int8_onednn = {DESCRIPTION, .absent = "not an x86-64 build"};
#else
#include <oneapi/dnnl/dnnl.h>
#if DNNL_VERSION_MAJOR != 2
const struct kernel kernel_int8_onednn = {DESCRIPTION, .absent = "libdnnl-dev is not version 2, whose interface this kernel speaks"};
#else
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/*
 * oneDNN multiplies u8 x s8 into s32 faster than s8 x s8 (which it turns into the former within its inner loop), so x enters as
 * code + 128, and the surplus of 128 times a row's sum leaves with the scaling. The scaling is ours: fused into the product
 * oneDNN takes scales by column, but not by token, and was no faster. Each of our threads runs single-threaded products of its
 * own columns, as fast as the library's own threads. All of this was measured; docs/rivals.md has the figures.
 *
 *     packed | rows 0..63 | rows 64..127 | … | 1 f32 scale a row | 128 * sum of codes, 1 int32 a row |
 *     64 rows, from column 0 on:   4 columns of row 0 | 4 of row 1 | … | 4 of row 63 | the next 4 columns of row 0 | …
 *
 * That is the library's OI4i64o4i (with AMX: OI16i64o4i, the same bytes), rows and columns padded to 64 with zero codes.
 */
enum { BLOCK = 64, PRODUCTS_MAX = 256, SUMS_BYTES = 1 << 18, ARGS = 3 };

/* The functions that are called, resolved at run time. */
#define DNNL_FUNCTIONS(X)                                                                                                  \
    X(set_max_cpu_isa) X(engine_create) X(stream_create) X(stream_destroy) X(stream_wait) X(memory_desc_init_by_tag)      \
    X(inner_product_forward_desc_init) X(primitive_desc_create) X(primitive_desc_destroy) X(primitive_create)             \
    X(primitive_destroy) X(primitive_execute) X(memory_create) X(memory_destroy) X(memory_set_data_handle)

/* A library is loaded once in a process, so what was loaded is the process's. Written under the onces alone. */
static struct {
    pthread_once_t load, start;
    struct err err;
#define X(name) __typeof__(dnnl_##name) *name;
    DNNL_FUNCTIONS(X)
#undef X
    void (*omp_set_num_threads)(int);
    dnnl_engine_t engine; /* NULL: could not be had */
    bool amx;             /* once started: what the library may use from then on */
    pthread_key_t desk;   /* frees a thread's own when the thread ends */
    atomic_bool started;
} lib = {.load = PTHREAD_ONCE_INIT, .start = PTHREAD_ONCE_INIT};

/* x (m,k) u8 times w (n,k) s8 into s32 (m,n), all dense, n and k multiples of BLOCK. */
struct product {
    int m, n, k; /* 0: an empty slot */
    dnnl_primitive_t run;
    dnnl_memory_t memory[ARGS];
};

/* A thread's own: the library's objects are made in the first call of a shape, and nothing in later ones. */
struct desk {
    dnnl_stream_t stream;
    struct product products[PRODUCTS_MAX];
    uint8_t *x;    /* owned: (m, k) */
    int32_t *sums; /* owned: (m, columns of one product) */
    size_t x_bytes, sums_bytes;
};
static _Thread_local struct desk *own;

static bool resolve(void *handle, const char *symbol, void *function)
{
    void *address = dlsym(handle, symbol);
    if (!address)
        fail(&lib.err, ST_EUNSUPPORTED, "libdnnl has no %s; install Debian's libdnnl2", symbol);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}

static void load(void)
{
    const char *path = getenv("QBENCH_LIBDNNL");
    void *handle = dlopen(path && *path ? path : "libdnnl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *why = dlerror();
        fail(&lib.err, ST_EUNSUPPORTED, "libdnnl is not installed: apt-get install libdnnl2 (%s)", why ? why : "no reason given");
        return;
    }
#define X(name) if (!resolve(handle, "dnnl_" #name, &lib.name)) return;
    DNNL_FUNCTIONS(X)
#undef X
    resolve(handle, "omp_set_num_threads", &lib.omp_set_num_threads);
}

static bool amx_allowed(void) { return cpu_isa() & ISA_AMX_INT8; }

static enum status ready(struct err *e)
{
    pthread_once(&lib.load, load);
    if (lib.err.status != ST_OK)
        return fail(e, lib.err.status, "%s", lib.err.text);
    if (atomic_load(&lib.started) && lib.amx != amx_allowed())
        return fail(e, ST_EUNSUPPORTED, "libdnnl runs %s AMX in this process already, and is masked only once", lib.amx ? "with" : "without");
    return ST_OK;
}

static void product_close(struct product *p)
{
    for (int i = 0; i < ARGS; i++)
        if (p->memory[i])
            lib.memory_destroy(p->memory[i]);
    if (p->run)
        lib.primitive_destroy(p->run);
    *p = (struct product){0};
}

static void desk_close(void *desk)
{
    struct desk *d = desk;
    for (int i = 0; i < PRODUCTS_MAX; i++)
        product_close(&d->products[i]);
    if (d->stream)
        lib.stream_destroy(d->stream);
    mem_free(d->x);
    mem_free(d->sums);
    mem_free(d);
}

/* The mask holds from the library's first use on, which is why loading it does not use it. */
static void start(void)
{
    lib.amx = amx_allowed();
    lib.set_max_cpu_isa(lib.amx ? dnnl_cpu_isa_avx512_core_amx : dnnl_cpu_isa_avx512_core_vnni);
    if (pthread_key_create(&lib.desk, desk_close) != 0 || lib.engine_create(&lib.engine, dnnl_cpu, 0) != dnnl_success)
        lib.engine = NULL;
    atomic_store(&lib.started, true);
}

static struct desk *desk_open(void)
{
    pthread_once(&lib.start, start);
    struct desk *d = lib.engine ? mem_alloc(1, sizeof *d) : NULL;
    if (!d)
        return NULL;
    lib.omp_set_num_threads(1); /* of this thread's products: the team is ours */
    if (pthread_setspecific(lib.desk, d) != 0 || lib.stream_create(&d->stream, lib.engine, dnnl_stream_default_flags) != dnnl_success) {
        pthread_setspecific(lib.desk, NULL);
        desk_close(d);
        return NULL;
    }
    return own = d;
}

static bool describe(dnnl_memory_desc_t *md, int rows, int cols, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    const dnnl_dims_t dims = {rows, cols};
    return lib.memory_desc_init_by_tag(md, 2, dims, type, tag) == dnnl_success;
}

static bool product_make(struct product *p)
{
    dnnl_memory_desc_t x, w, sums, *const md[ARGS] = {&x, &w, &sums};
    dnnl_inner_product_desc_t desc;
    dnnl_primitive_desc_t pd;
    bool ok = describe(&x, p->m, p->k, dnnl_u8, dnnl_ab) && describe(&sums, p->m, p->n, dnnl_s32, dnnl_ab) &&
              describe(&w, p->n, p->k, dnnl_s8, lib.amx ? dnnl_OI16i64o4i : dnnl_OI4i64o4i) &&
              lib.inner_product_forward_desc_init(&desc, dnnl_forward_inference, &x, &w, NULL, &sums) == dnnl_success &&
              lib.primitive_desc_create(&pd, &desc, NULL, lib.engine, NULL) == dnnl_success;
    if (!ok)
        return false;
    ok = lib.primitive_create(&p->run, pd) == dnnl_success;
    lib.primitive_desc_destroy(pd);
    for (int i = 0; ok && i < ARGS; i++)
        ok = lib.memory_create(&p->memory[i], md[i], lib.engine, DNNL_MEMORY_NONE) == dnnl_success;
    return ok;
}

/* NULL when the library cannot make it. */
static struct product *product_find(struct desk *d, int m, int n, int k)
{
    uint64_t hash = ((uint64_t)m * 0x9e3779b97f4a7c15u + (uint64_t)n) * 0x9e3779b97f4a7c15u + (uint64_t)k;
    size_t first = (size_t)((hash * 0x9e3779b97f4a7c15u) >> 56), slot = first;
    struct product *p;
    for (size_t i = 0; i < PRODUCTS_MAX; i++, slot = (slot + 1) % PRODUCTS_MAX) {
        p = &d->products[slot];
        if (p->m == m && p->n == n && p->k == k)
            return p;
        if (!p->m)
            break;
    }
    p = &d->products[slot]; /* empty; or, when none is, the first */
    product_close(p);
    *p = (struct product){.m = m, .n = n, .k = k};
    if (product_make(p))
        return p;
    product_close(p);
    return NULL;
}

static bool grow(void *pointer, size_t *have, size_t bytes)
{
    void **p = pointer;
    if (bytes <= *have)
        return true;
    mem_free(*p);
    *p = mem_alloc(bytes, 1);
    *have = *p ? bytes : 0;
    return *p != NULL;
}

struct packed {
    int rows, cols; /* padded */
    size_t scales, surplus, bytes;
};

static struct packed packed_layout(int n, int k)
{
    struct packed p = {.rows = (int)round_up((size_t)n, BLOCK), .cols = (int)round_up((size_t)k, BLOCK)};
    p.scales = (size_t)p.rows * (size_t)p.cols;
    p.surplus = p.scales + (size_t)p.rows * sizeof(float);
    p.bytes = p.surplus + (size_t)p.rows * sizeof(int32_t);
    return p;
}

static size_t packed_size(const struct qlinear *q) { return packed_layout(q->rows, q->cols).bytes; }

static void pack(void *dst, const struct qlinear *q)
{
    struct packed p = packed_layout(q->rows, q->cols);
    int8_t *codes = dst;
    float *scales = (float *)(codes + p.scales);
    int32_t *surplus = (int32_t *)(codes + p.surplus);
    memset(dst, 0, p.bytes);
    for (int r = 0; r < q->rows; r++) {
        const int8_t *row = q->plane.codes + (size_t)r * (size_t)q->cols;
        int8_t *to = codes + (size_t)(r / BLOCK) * BLOCK * (size_t)p.cols + 4 * (r % BLOCK);
        for (int c = 0; c < q->cols; c++) {
            to[(size_t)(c / 4) * 4 * BLOCK + (size_t)(c % 4)] = row[c];
            surplus[r] += 128 * row[c];
        }
        scales[r] = q->plane.scale[r];
    }
}

static void shift_row(uint8_t *restrict to, const int8_t *restrict from, int cols)
{
    for (int j = 0; j < cols; j++)
        to[j] = (uint8_t)(from[j] ^ 0x80);
}

/* x + 128 as u8; columns beyond k are zero codes, in x (act.h) as in w. */
static void shift_x(uint8_t *to, const struct gemm_args *a, int cols)
{
    for (int i = 0; i < a->m; i++)
        shift_row(to + (size_t)i * (size_t)cols, a->xq + (size_t)i * (size_t)a->ldx, cols);
}

static bool multiply(struct desk *d, const int8_t *w, int m, int n, int k)
{
    struct product *p = product_find(d, m, n, k);
    void *data[ARGS] = {d->x, (void *)(uintptr_t)w, d->sums};
    if (!p)
        return false;
    for (int i = 0; i < ARGS; i++)
        if (lib.memory_set_data_handle(p->memory[i], data[i]) != dnnl_success)
            return false;
    const dnnl_exec_arg_t args[ARGS] = {{DNNL_ARG_SRC, p->memory[0]}, {DNNL_ARG_WEIGHTS, p->memory[1]}, {DNNL_ARG_DST, p->memory[2]}};
    return lib.primitive_execute(p->run, d->stream, ARGS, args) == dnnl_success && lib.stream_wait(d->stream) == dnnl_success;
}

/* As the contract's fmaf(scale, acc, 0) * x_scale: adding 0 rounds nothing, but makes +0 of -0. */
static void scale_row(float *restrict y, const int32_t *restrict sums, const int32_t *restrict surplus, const float *restrict scales,
                      float x_scale, int count)
{
    for (int j = 0; j < count; j++)
        y[j] = (scales[j] * (float)(sums[j] - surplus[j]) + 0.0f) * x_scale;
}

static void scale_sums(const struct gemm_args *a, const struct packed *p, const int32_t *sums, int ld, int n, int count)
{
    const float *scales = (const float *)((const int8_t *)a->w + p->scales) + n;
    const int32_t *surplus = (const int32_t *)((const int8_t *)a->w + p->surplus) + n;
    for (int i = 0; i < a->m; i++)
        scale_row(a->y + (size_t)i * (size_t)a->ldy + n, sums + (size_t)i * (size_t)ld, surplus, scales, a->x_scale[i], count);
}

/* What could not be computed must not look computed. */
static void spoil(const struct gemm_args *a)
{
    for (int i = 0; i < a->m; i++)
        for (int n = a->n0; n < a->n1; n++)
            a->y[(size_t)i * (size_t)a->ldy + (size_t)n] = NAN;
}

/* Columns in pieces whose sums stay in the L2 cache until they are scaled. */
static void gemm(const struct gemm_args *a)
{
    struct desk *d = own ? own : desk_open();
    struct packed p = packed_layout(a->n, a->k);
    int most = max_int(SUMS_BYTES / 4 / a->m / BLOCK, 1) * BLOCK;
    bool ok = d && grow(&d->x, &d->x_bytes, (size_t)a->m * (size_t)p.cols) &&
              grow(&d->sums, &d->sums_bytes, (size_t)a->m * (size_t)most * sizeof *d->sums);
    if (ok)
        shift_x(d->x, a, p.cols);
    for (int n = a->n0; ok && n < a->n1; n += most) {
        int count = min_int(most, a->n1 - n), padded = (int)round_up((size_t)count, BLOCK);
        ok = multiply(d, (const int8_t *)a->w + (size_t)n * (size_t)p.cols, a->m, padded, p.cols);
        if (ok)
            scale_sums(a, &p, d->sums, padded, n, count);
    }
    if (!ok)
        spoil(a);
}

const struct kernel kernel_int8_onednn = {DESCRIPTION, .packed_size = packed_size, .pack = pack, .gemm = gemm, .ready = ready};
#endif
#endif
