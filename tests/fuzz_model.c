/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "gguf_llama.h"
#include "llama2c.h"
#include "safetensors.h"

/* What a reader says must be a line about this file. */
static void check_error(enum status s, const struct err *e, const char *path)
{
    bool told = e->status != ST_OK;
    if ((s != ST_OK) != told || (told && (!e->text[0] || strchr(e->text, '\n') || !strstr(e->text, path)))) {
        fprintf(stderr, "status %d, error %d: '%s'\n", s, e->status, e->text);
        abort();
    }
}

static size_t walk_items(struct gguf_items items)
{
    size_t n = 0;
    for (struct gguf_value v; gguf_next(&items, &v); n++) {
        struct gguf_items inner;
        struct gguf_string text;
        double x;
        if (gguf_items_of(&v, &inner))
            n += walk_items(inner);
        else if (gguf_as_string(&v, &text))
            n += text.bytes && text.text[text.bytes - 1] == 0;
        else
            n += gguf_as_real(&v, &x) && x < 0;
    }
    return n;
}

static void walk_metadata(const struct gguf *g)
{
    struct gguf_string key;
    const struct gguf_value *v;
    struct gguf_items items;
    for (size_t i = 0; (v = gguf_key(g, i, &key)); i++)
        if (gguf_items_of(v, &items))
            walk_items(items);
}

static void read_tensors(const struct gguf *g, const char *path)
{
    float w[4096];
    for (size_t i = 0; i < gguf_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor(g, i);
        struct err e = {0};
        if (gguf_find_tensor(g, t->name) != t)
            abort();
        if (t->shape[0] <= 4096)
            check_error(gguf_read_floats(g, t, gguf_tensor_rows(t) - 1, 1, w, &e), &e, path);
    }
}

static void read_llama(const struct gguf *g, const char *path)
{
    struct err e = {0}, config_error = {0}, codes_error = {0};
    struct weights *w;
    struct model_config c;
    struct qlinear q;
    check_error(gguf_llama_read(&w, g, &e), &e, path);
    if (gguf_llama_config(&c, g, &config_error) == ST_OK) {
        check_error(gguf_llama_codes(g, &c, c.layers - 1, LIN_K, &q, &codes_error), &codes_error, path);
        qlinear_free(&q);
    } else if (w) {
        abort();
    }
    weights_free(w);
}

static void read_gguf(const char *path)
{
    struct err e = {0};
    struct gguf *g;
    check_error(gguf_open(&g, path, &e), &e, path);
    if (!g)
        return;
    walk_metadata(g);
    read_tensors(g, path);
    read_llama(g, path);
    gguf_close(g);
}

static void read_llama2c(const char *path)
{
    struct err e = {0};
    struct weights *w;
    check_error(llama2c_read(&w, path, &e), &e, path);
    weights_free(w);
}

static void read_safetensors(const char *path)
{
    struct err e = {0};
    struct st_file f;
    check_error(st_read(&f, path, &e), &e, path);
    st_close(&f);
}

static void (*const readers[])(const char *path) = {read_gguf, read_llama2c, read_safetensors};

void fuzz_model(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        readers[i](path);
    close(fd);
}
