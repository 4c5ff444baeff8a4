/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "json_cell.h"

#include <math.h>

/* Bytes of the well-formed UTF-8 character at s, 0 when there is none. */
static int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

void json_string_print(FILE *f, const char *text)
{
    if (!text) {
        fputs("null", f);
        return;
    }
    fputc('"', f);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n = utf8_length(s);
        if (*s == '"' || *s == '\\')
            fprintf(f, "\\%c", *s);
        else if (*s < ' ')
            fprintf(f, "\\u%04x", *s);
        else if (n)
            fwrite(s, 1, (size_t)n, f);
        else
            fputs("\\ufffd", f);
        s += n ? n : 1;
    }
    fputc('"', f);
}

static void key(FILE *f, const char *name, const char *suffix, bool *first)
{
    char buf[256];
    snprintf(buf, sizeof buf, "%s%s", name, suffix);
    fputs(*first ? "" : ", ", f);
    *first = false;
    json_string_print(f, buf);
    fputs(": ", f);
}

static void real(FILE *f, double x)
{
    char buf[48];
    real_show(x, buf, sizeof buf);
    fputs(buf[0] ? buf : "null", f);
}

void json_row_print(FILE *f, const struct table *t, size_t row, bool name_table)
{
    bool first = true;
    fputc('{', f);
    if (name_table) {
        key(f, "table", "", &first);
        json_string_print(f, t->title);
    }
    for (int i = 0; i < t->n_columns; i++) {
        const struct cell *c = table_cell(t, row, i);
        const char *name = t->columns[i].name;
        key(f, name, "", &first);
        switch (c->type) {
        case CELL_TEXT: json_string_print(f, c->text); break;
        case CELL_INT: fprintf(f, "%lld", c->integer); break;
        default: real(f, c->real);
        }
        if (c->type == CELL_INTERVAL) {
            key(f, name, "_lo", &first);
            real(f, c->lo);
            key(f, name, "_hi", &first);
            real(f, c->hi);
        }
        if (c->type == CELL_EMPTY && c->text) {
            key(f, name, "_reason", &first);
            json_string_print(f, c->text);
        }
    }
    fputc('}', f);
}
