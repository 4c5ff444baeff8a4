/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors are little-endian and go to disk as they are in memory");

enum { LENGTH_BYTES = 8, MAX_HEADER = 100 * 1000 * 1000 }; /* the limit of the reference implementation */

static const struct dtype {
    const char *name;
    size_t bytes;
} dtypes[] = {
    {"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
    {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1},
};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (!strcmp(dtypes[i].name, name))
            return &dtypes[i];
    return NULL;
}

static enum status no_memory(const char *path, struct err *e) { return fail(e, ST_ENOMEM, "%s: no memory", path); }

/* ---- writing */

static json_t *tensor_entry(const struct st_tensor *t, size_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->rank; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", t->dtype, "shape", shape, "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + t->bytes));
}

/* The length, the JSON and its padding. NULL without memory, or with text that is not UTF-8; the caller frees. */
static char *make_header(const struct st_tensor *t, int count, const json_t *metadata, size_t *bytes)
{
    json_t *root = json_object();
    int bad = !root;
    if (json_object_size(metadata))
        bad |= json_object_set_new(root, "__metadata__", json_deep_copy(metadata));
    size_t begin = 0;
    for (int i = 0; i < count; begin += t[i++].bytes)
        bad |= json_object_set_new(root, t[i].name, tensor_entry(&t[i], begin));
    char *text = bad ? NULL : json_dumps(root, JSON_COMPACT), *header = NULL;
    json_decref(root);
    if (text) {
        uint64_t n = strlen(text), padded = round_up(n, 8);
        *bytes = LENGTH_BYTES + padded;
        header = malloc(*bytes);
        if (header) {
            memcpy(header, &padded, LENGTH_BYTES);
            memcpy(header + LENGTH_BYTES, text, n);
            memset(header + LENGTH_BYTES + n, ' ', padded - n);
        }
    }
    free(text);
    return header;
}

static bool write_all(int fd, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes) {
        ssize_t n = write(fd, p, bytes < (1u << 30) ? bytes : 1u << 30);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_parts(int fd, const char *header, size_t header_bytes, const struct st_tensor *t, int count)
{
    bool ok = write_all(fd, header, header_bytes);
    for (int i = 0; i < count && ok; i++)
        ok = write_all(fd, t[i].data, t[i].bytes);
    return ok && !fsync(fd);
}

/* After the rename: the new name must survive a power cut as well. What cannot be synced here is not worth a failure. */
static void sync_folder(const char *path)
{
    char dir[1024];
    const char *slash = strrchr(path, '/');
    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static const char temporary[] = ".tmp.";

enum status st_write(const char *path, const struct st_tensor *t, int count, const json_t *metadata, struct err *e)
{
    char temp[1024];
    size_t header_bytes = 0;
    if ((size_t)snprintf(temp, sizeof temp, "%s%s%ld", path, temporary, (long)getpid()) >= sizeof temp)
        return fail(e, ST_EUSAGE, "%s: the path is too long", path);
    char *header = make_header(t, count, metadata, &header_bytes);
    if (!header)
        return fail(e, ST_ENOMEM, "%s: no memory for the header, or its text is not UTF-8", path);
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        free(header);
        return fail(e, ST_EIO, "%s: cannot be created: %s", temp, strerror(errno));
    }
    int failed = write_parts(fd, header, header_bytes, t, count) ? 0 : errno ? errno : EIO;
    free(header);
    if (close(fd) && !failed)
        failed = errno;
    if (!failed && rename(temp, path))
        failed = errno;
    if (failed) {
        unlink(temp);
        return fail(e, ST_EIO, "%s: not written: %s%s", path, strerror(failed),
                    failed == ENOSPC || failed == EDQUOT || failed == EFBIG ? "; free some space or choose another folder" : "");
    }
    sync_folder(path);
    return ST_OK;
}

void st_sweep(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *f; (f = readdir(d));) {
        const char *mark = strstr(f->d_name, temporary);
        long pid = mark ? atol(mark + strlen(temporary)) : 0;
        if (pid > 0 && kill((pid_t)pid, 0) && errno == ESRCH)
            unlinkat(dirfd(d), f->d_name, 0);
    }
    closedir(d);
}

/* ---- the header */

struct source {
    const char *path;
    int fd;
    size_t bytes, data_begin;
    json_t *header; /* owned */
};

static void source_close(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    json_decref(s->header);
}

static enum status read_all(const struct source *s, void *data, size_t bytes, size_t at, struct err *e)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(s->fd, (char *)data + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(e, ST_EIO, "%s: cannot be read: %s", s->path, n ? strerror(errno) : "it shrank");
        done += (size_t)n;
    }
    return ST_OK;
}

static enum status parse_header(struct source *s, size_t bytes, struct err *e)
{
    char *text = malloc(bytes);
    if (!text)
        return no_memory(s->path, e);
    enum status status = read_all(s, text, bytes, LENGTH_BYTES, e);
    if (!status) {
        json_error_t why;
        s->header = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
        if (!s->header)
            status = fail(e, ST_EFORMAT, "%s: header, byte %d: %s", s->path, LENGTH_BYTES + why.position, why.text);
        else if (!json_is_object(s->header))
            status = fail(e, ST_EFORMAT, "%s: header: not a JSON object", s->path);
    }
    free(text);
    return status;
}

static enum status measure(struct source *s, uint64_t *header_bytes, struct err *e)
{
    struct stat st;
    if (fstat(s->fd, &st))
        return fail(e, ST_EIO, "%s: %s", s->path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return fail(e, ST_EFORMAT, "%s: not a regular file", s->path);
    s->bytes = (size_t)st.st_size;
    if (s->bytes < LENGTH_BYTES)
        return fail(e, ST_EFORMAT, "%s: %zu bytes are too few for a safetensors file", s->path, s->bytes);
    enum status status = read_all(s, header_bytes, LENGTH_BYTES, 0, e);
    if (!status && (*header_bytes > MAX_HEADER || *header_bytes > s->bytes - LENGTH_BYTES))
        status = fail(e, ST_EFORMAT, "%s: a header of %" PRIu64 " bytes in a file of %zu: cut short, or no safetensors file", s->path,
                      *header_bytes, s->bytes);
    s->data_begin = LENGTH_BYTES + (size_t)*header_bytes;
    return status;
}

/* s is to be closed also after a failure. */
static enum status source_open(struct source *s, const char *path, struct err *e)
{
    *s = (struct source){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (s->fd < 0)
        return fail(e, errno == ENOENT ? ST_ENOENT : ST_EIO, "%s: %s", path, strerror(errno));
    uint64_t header_bytes = 0;
    enum status status = measure(s, &header_bytes, e);
    return status ? status : parse_header(s, (size_t)header_bytes, e);
}

/* Takes the metadata out of the header; an empty object when there is none. */
static enum status take_metadata(struct source *s, json_t **metadata, struct err *e)
{
    json_t *found = json_object_get(s->header, "__metadata__"), *value;
    const char *key;
    if (found && !json_is_object(found))
        return fail(e, ST_EFORMAT, "%s: __metadata__ is not an object", s->path);
    json_object_foreach(found, key, value)
        if (!json_is_string(value))
            return fail(e, ST_EFORMAT, "%s: __metadata__: '%s' is not a string", s->path, key);
    *metadata = found ? json_incref(found) : json_object();
    json_object_del(s->header, "__metadata__");
    return *metadata ? ST_OK : no_memory(s->path, e);
}

enum status st_read_metadata(json_t **metadata, const char *path, struct err *e)
{
    struct source s;
    *metadata = NULL;
    enum status status = source_open(&s, path, e);
    if (!status)
        status = take_metadata(&s, metadata, e);
    source_close(&s);
    return status;
}

/* ---- reading */

static enum status parse_shape(struct st_tensor *t, const json_t *shape, const struct dtype *d, const char *path, struct err *e)
{
    if (json_array_size(shape) > ST_MAX_RANK)
        return fail(e, ST_EFORMAT, "%s: tensor '%s' has %zu dimensions; at most %d are read", path, t->name, json_array_size(shape),
                    ST_MAX_RANK);
    t->rank = (int)json_array_size(shape);
    size_t bytes = d->bytes;
    for (int i = 0; i < t->rank; i++) {
        const json_t *x = json_array_get(shape, (size_t)i);
        t->shape[i] = json_integer_value(x);
        if (!json_is_integer(x) || t->shape[i] < 0 || __builtin_mul_overflow(bytes, (size_t)t->shape[i], &bytes))
            return fail(e, ST_EFORMAT, "%s: tensor '%s': dimension %d is impossible", path, t->name, i);
    }
    if (bytes != t->bytes)
        return fail(e, ST_EFORMAT, "%s: tensor '%s': its shape needs %zu bytes, its offsets hold %zu", path, t->name, bytes, t->bytes);
    return ST_OK;
}

static enum status parse_tensor(struct st_tensor *t, const char *name, json_t *entry, const struct st_file *f, size_t data_begin,
                                const char *path, struct err *e)
{
    const char *dtype;
    json_t *shape;
    json_int_t begin, end;
    json_error_t why;
    if (strlen(name) >= sizeof t->name)
        return fail(e, ST_EFORMAT, "%s: tensor '%.40s…': its name is longer than %zu bytes", path, name, sizeof t->name - 1);
    snprintf(t->name, sizeof t->name, "%s", name);
    if (json_unpack_ex(entry, &why, 0, "{s:s, s:o, s:[I,I!] !}", "dtype", &dtype, "shape", &shape, "data_offsets", &begin, &end))
        return fail(e, ST_EFORMAT, "%s: tensor '%s': %s", path, name, why.text);
    const struct dtype *d = find_dtype(dtype);
    if (!d)
        return fail(e, ST_EFORMAT, "%s: tensor '%s': unknown dtype '%s'", path, name, dtype);
    if (!json_is_array(shape))
        return fail(e, ST_EFORMAT, "%s: tensor '%s': its shape is not an array", path, name);
    size_t data_bytes = f->buffer_bytes - data_begin;
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return fail(e, ST_EFORMAT, "%s: tensor '%s': offsets %lld to %lld of %zu bytes of data: cut short?", path, name,
                    (long long)begin, (long long)end, data_bytes);
    t->dtype = d->name;
    t->data = (char *)f->buffer + data_begin + begin;
    t->bytes = (size_t)(end - begin);
    return parse_shape(t, shape, d, path, e);
}

static int by_offset(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    return p != q ? (p > q) - (p < q) : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* Together the tensors are the data: no byte in two of them, none in no one. */
static enum status check_cover(const struct st_file *f, size_t data_begin, const char *path, struct err *e)
{
    const char *data = (const char *)f->buffer + data_begin, *next = data, *end = (const char *)f->buffer + f->buffer_bytes;
    for (int i = 0; i < f->count; i++) {
        const struct st_tensor *t = &f->tensors[i];
        if (t->data != next)
            return fail(e, ST_EFORMAT, "%s: tensor '%s' begins at byte %td of the data, not where the one before ends (%td)", path,
                        t->name, (const char *)t->data - data, next - data);
        next += t->bytes;
    }
    if (next != end)
        return fail(e, ST_EFORMAT, "%s: the last %td bytes belong to no tensor", path, end - next);
    return ST_OK;
}

static enum status parse_tensors(struct st_file *f, struct source *s, struct err *e)
{
    f->tensors = calloc(json_object_size(s->header) + 1, sizeof *f->tensors);
    if (!f->tensors)
        return no_memory(s->path, e);
    const char *name;
    json_t *entry;
    json_object_foreach(s->header, name, entry) {
        enum status status = parse_tensor(&f->tensors[f->count], name, entry, f, s->data_begin, s->path, e);
        if (status)
            return status;
        f->count++;
    }
    qsort(f->tensors, (size_t)f->count, sizeof *f->tensors, by_offset);
    return check_cover(f, s->data_begin, s->path, e);
}

enum status st_read(struct st_file *f, const char *path, struct err *e)
{
    struct source s;
    *f = (struct st_file){0};
    enum status status = source_open(&s, path, e);
    if (!status)
        status = take_metadata(&s, &f->metadata, e);
    if (!status) {
        void *map = mmap(NULL, s.bytes, PROT_READ, MAP_PRIVATE, s.fd, 0);
        if (map == MAP_FAILED) {
            status = fail(e, ST_EIO, "%s: cannot be mapped: %s", path, strerror(errno));
        } else {
            f->buffer = map;
            f->buffer_bytes = s.bytes;
            status = parse_tensors(f, &s, e);
        }
    }
    source_close(&s);
    if (status)
        st_close(f);
    return status;
}

void st_close(struct st_file *f)
{
    if (f->buffer)
        munmap(f->buffer, f->buffer_bytes);
    free(f->tensors);
    json_decref(f->metadata);
    *f = (struct st_file){0};
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->tensors[i].name, name))
            return &f->tensors[i];
    return NULL;
}
