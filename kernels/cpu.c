/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cpu.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#include <sys/syscall.h>
#define HAVE_CPUID 1
#else
#define HAVE_CPUID 0
#endif
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const isa_names[] = {"avx2",     "avxvnni", "avx512",  "avx512_vnni", "avx512_bf16", "amx_int8",
                                        "amx_bf16", "neon",    "dotprod", "i8mm"};
enum { ISA_COUNT = sizeof isa_names / sizeof *isa_names };

/* A level allows everything below it but insists only on its own line of descent: AVX-512 machines without AVX-VNNI exist. */
static const struct level {
    const char *name;
    uint32_t allows, insists;
} levels[] = {
    {"scalar", 0, 0},
    {"avx2", ISA_AVX2, ISA_AVX2},
    {"avxvnni", ISA_AVX2 | ISA_AVXVNNI, ISA_AVX2 | ISA_AVXVNNI},
    {"avx512", ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512, ISA_AVX2 | ISA_AVX512},
    {"vnni", ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AVX512VNNI, ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI},
    {"bf16", ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AVX512VNNI | ISA_AVX512BF16,
     ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI | ISA_AVX512BF16},
    {"amx",
     ISA_AVX2 | ISA_AVXVNNI | ISA_AVX512 | ISA_AVX512VNNI | ISA_AVX512BF16 | ISA_AMX_INT8 | ISA_AMX_BF16,
     ISA_AVX2 | ISA_AVX512 | ISA_AVX512VNNI | ISA_AMX_INT8},
    {"neon", ISA_NEON, ISA_NEON},
    {"dotprod", ISA_NEON | ISA_DOTPROD, ISA_NEON | ISA_DOTPROD},
    {"i8mm", ISA_NEON | ISA_DOTPROD | ISA_I8MM, ISA_NEON | ISA_DOTPROD | ISA_I8MM},
    {"native", UINT32_MAX, 0},
};
enum { LEVEL_COUNT = sizeof levels / sizeof *levels };

static _Atomic uint32_t mask = UINT32_MAX;

#if HAVE_CPUID

struct regs {
    unsigned a, b, c, d;
};

static struct regs cpuid(unsigned leaf, unsigned subleaf)
{
    struct regs r = {0};
    if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d))
        return (struct regs){0};
    return r;
}

static bool has(unsigned word, int bit) { return word >> bit & 1; }

/* Which register files the kernel saves; 0 when XGETBV itself is not enabled. */
static uint64_t saved_state(void)
{
    if (!has(cpuid(1, 0).c, 27))
        return 0;
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Tile data is granted on request, for the whole process; without the grant the first tile instruction is SIGILL. */
static bool tiles_granted(void)
{
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { GET_XCOMP_PERM = 0x1022, REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    unsigned long granted = 0;
    if (syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) != 0 || syscall(SYS_arch_prctl, GET_XCOMP_PERM, &granted) != 0)
        return false;
    return granted >> XTILEDATA & 1;
#else
    return false;
#endif
}

static uint32_t detect(void)
{
    const uint64_t ymm = 0x6, zmm = 0xe6, tiles = 0x60000;
    uint64_t saved = saved_state();
    struct regs f1 = cpuid(1, 0), f7 = cpuid(7, 0), f71 = f7.a >= 1 ? cpuid(7, 1) : (struct regs){0};
    uint32_t isa = 0;
    if ((saved & ymm) != ymm || !has(f1.c, 28) || !has(f1.c, 12) || !has(f1.c, 29) || !has(f7.b, 5))
        return 0;
    isa |= ISA_AVX2;
    if (has(f71.a, 4))
        isa |= ISA_AVXVNNI;
    if ((saved & zmm) == zmm && has(f7.b, 16) && has(f7.b, 17) && has(f7.b, 30) && has(f7.b, 31)) {
        isa |= ISA_AVX512;
        isa |= has(f7.c, 11) ? ISA_AVX512VNNI : 0;
        isa |= has(f71.a, 5) ? ISA_AVX512BF16 : 0;
    }
    if ((saved & tiles) == tiles && has(f7.d, 24) && (has(f7.d, 25) || has(f7.d, 22)) && tiles_granted()) {
        isa |= has(f7.d, 25) ? ISA_AMX_INT8 : 0;
        isa |= has(f7.d, 22) ? ISA_AMX_BF16 : 0;
    }
    return isa;
}

static void read_brand(char *buf, size_t n)
{
    char text[49] = "";
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) >= 0x80000004u)
        for (unsigned i = 0; i < 3; i++) {
            struct regs r = cpuid(0x80000002u + i, 0);
            memcpy(text + 16 * i, &r, 16);
        }
    text[48] = 0;
    snprintf(buf, n, "%s", text);
}

bool cpu_hypervisor(char *vendor, size_t n)
{
    bool guest = has(cpuid(1, 0).c, 31);
    char text[13] = "";
    if (guest) {
        /* Not through cpuid(): the hypervisor's leaves stand outside the range that it checks. */
        unsigned max, words[3];
        __cpuid(0x40000000, max, words[0], words[1], words[2]);
        (void)max;
        memcpy(text, words, 12);
    }
    snprintf(vendor, n, "%s", guest && !text[0] ? "unknown" : text);
    return guest;
}

#else

#ifdef __aarch64__
static uint32_t detect(void)
{
    unsigned long have = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
    if (!(have & HWCAP_ASIMD))
        return 0;
    uint32_t isa = ISA_NEON;
    isa |= have & HWCAP_ASIMDDP ? ISA_DOTPROD : 0;
    isa |= more & HWCAP2_I8MM ? ISA_I8MM : 0;
    return isa;
}
#else
static uint32_t detect(void) { return 0; }
#endif

static void read_brand(char *buf, size_t n) { snprintf(buf, n, "%s", ""); }

bool cpu_hypervisor(char *vendor, size_t n)
{
    snprintf(vendor, n, "%s", "");
    return false;
}

#endif

/* CPUID traps in a virtual machine (tens of µs), so the answer is kept. It never changes: two threads may both write it. */
uint32_t cpu_isa_detected(void)
{
    static _Atomic uint32_t known; /* the answer, with the top bit set */
    uint32_t k = atomic_load_explicit(&known, memory_order_relaxed);
    if (!k) {
        k = detect() | 1u << 31;
        atomic_store_explicit(&known, k, memory_order_relaxed);
    }
    return k & ~(1u << 31);
}

uint32_t cpu_isa(void) { return cpu_isa_detected() & atomic_load_explicit(&mask, memory_order_relaxed); }

const char *cpu_isa_name(uint32_t bit)
{
    for (int i = 0; i < ISA_COUNT; i++)
        if (bit == 1u << i)
            return isa_names[i];
    return "unknown";
}

void cpu_isa_text(uint32_t isa, char *buf, size_t n)
{
    size_t used = 0;
    snprintf(buf, n, "%s", "scalar");
    for (int i = 0; i < ISA_COUNT && used < n; i++)
        if (isa >> i & 1)
            used += (size_t)snprintf(buf + used, n - used, "%s%s", used ? " " : "", isa_names[i]);
}

static void level_list(char *buf, size_t n)
{
    size_t used = 0;
    for (int i = 0; i < LEVEL_COUNT && used < n; i++)
        used += (size_t)snprintf(buf + used, n - used, "%s%s", i ? ", " : "", levels[i].name);
}

enum status cpu_set_level(const char *level, struct err *e)
{
    char text[128];
    for (int i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(level, levels[i].name) != 0)
            continue;
        uint32_t lacking = levels[i].insists & ~cpu_isa_detected();
        if (lacking) {
            cpu_isa_text(lacking, text, sizeof text);
            return fail(e, ST_EUNSUPPORTED, "ISA level '%s': this machine has no %s; use a lower level or 'native'", level, text);
        }
        cpu_set_mask(levels[i].allows);
        return ST_OK;
    }
    level_list(text, sizeof text);
    return fail(e, ST_EUSAGE, "unknown ISA level '%s'; the levels are %s", level, text);
}

const char *cpu_level(void)
{
    uint32_t now = atomic_load_explicit(&mask, memory_order_relaxed);
    for (int i = 0; i < LEVEL_COUNT; i++)
        if (now == levels[i].allows)
            return levels[i].name;
    return "custom";
}

void cpu_set_mask(uint32_t allowed) { atomic_store_explicit(&mask, allowed, memory_order_relaxed); }

void cpu_missing(uint32_t needs, char *buf, size_t n)
{
    uint32_t absent = needs & ~cpu_isa_detected(), masked = needs & ~cpu_isa() & ~absent;
    char text[128];
    snprintf(buf, n, "%s", "");
    if (absent) {
        cpu_isa_text(absent, text, sizeof text);
        snprintf(buf, n, "needs %s", text);
    } else if (masked) {
        cpu_isa_text(masked, text, sizeof text);
        snprintf(buf, n, "%s is masked by --isa %s", text, cpu_level());
    }
}

static bool read_line(const char *path, char *buf, int n)
{
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    bool ok = fgets(buf, n, f) != NULL;
    fclose(f);
    buf[ok ? strcspn(buf, "\n") : 0] = 0;
    return ok;
}

/* "2048K" */
static size_t parse_size(const char *s)
{
    unsigned long v = 0;
    char unit = 0;
    if (sscanf(s, "%lu%c", &v, &unit) < 1)
        return 0;
    return unit == 'K' ? v << 10 : unit == 'M' ? v << 20 : unit == 'G' ? v << 30 : v;
}

/* One cache of CPU 0 as the kernel describes it; false past the last. */
static bool read_cache(int index, int *level, bool *data, size_t *bytes)
{
    char path[96], line[32];
    const char *dir = "/sys/devices/system/cpu/cpu0/cache/index";
    snprintf(path, sizeof path, "%s%d/level", dir, index);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%d", level) != 1)
        return false;
    snprintf(path, sizeof path, "%s%d/type", dir, index);
    *data = read_line(path, line, sizeof line) && strcmp(line, "Instruction") != 0;
    snprintf(path, sizeof path, "%s%d/size", dir, index);
    *bytes = read_line(path, line, sizeof line) ? parse_size(line) : 0;
    return true;
}

static size_t positive(long v) { return v > 0 ? (size_t)v : 0; }

struct cpu_caches cpu_caches(void)
{
    struct cpu_caches c = {0};
    int level;
    bool data;
    size_t bytes;
    for (int i = 0; read_cache(i, &level, &data, &bytes); i++)
        if (data && level >= 1 && level <= 3)
            *(level == 1 ? &c.l1d : level == 2 ? &c.l2 : &c.l3) = bytes;
#ifdef _SC_LEVEL1_DCACHE_SIZE
    /* Containers often hide that part of sysfs; the C library asks CPUID. */
    c.l1d = c.l1d ? c.l1d : positive(sysconf(_SC_LEVEL1_DCACHE_SIZE));
    c.l2 = c.l2 ? c.l2 : positive(sysconf(_SC_LEVEL2_CACHE_SIZE));
    c.l3 = c.l3 ? c.l3 : positive(sysconf(_SC_LEVEL3_CACHE_SIZE));
#endif
    return c;
}

void cpu_brand(char *buf, size_t n)
{
    char text[64];
    read_brand(text, sizeof text);
    char *s = text + strspn(text, " "); /* some brands are padded in front */
    for (size_t used = strlen(s); used > 0 && s[used - 1] == ' '; used--)
        s[used - 1] = 0;
    snprintf(buf, n, "%s", *s ? s : "unknown");
}
