/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { WORD_MAX = 64 };

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment), without regard to case. */
static int distance(const char *a, const char *b)
{
    int la = (int)strnlen(a, WORD_MAX), lb = (int)strnlen(b, WORD_MAX);
    int row[3][WORD_MAX + 1];
    for (int j = 0; j <= lb; j++)
        row[0][j] = j;
    for (int i = 1; i <= la; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= lb; j++) {
            bool same = strncasecmp(&a[i - 1], &b[j - 1], 1) == 0;
            now[j] = min_int(min_int(up[j], now[j - 1]) + 1, up[j - 1] + !same);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = min_int(now[j], up2[j - 2] + 1);
        }
    }
    return row[la % 3][lb];
}

struct nearest nearest_to(const char *word) { return (struct nearest){word, NULL, WORD_MAX}; }

void nearest_offer(struct nearest *n, const char *candidate)
{
    int d = distance(n->word, candidate);
    if (d >= n->distance)
        return;
    n->distance = d;
    n->best = candidate;
}

const char *nearest_hint(const struct nearest *n, char *buf, size_t size)
{
    /* Beyond a third of the word a suggestion is noise. */
    bool near = n->best && n->distance <= max_int(1, (int)strnlen(n->word, WORD_MAX) / 3 + 1) && n->distance < (int)strlen(n->best);
    snprintf(buf, size, "%s%s%s", near ? ", did you mean '" : "", near ? n->best : "", near ? "'?" : "");
    return buf;
}

void words_append(char *buf, size_t size, const char *word)
{
    size_t used = strlen(buf), wants = strlen(word) + (used ? 2 : 0);
    if (used + wants < size)
        snprintf(buf + used, size - used, "%s%s", used ? ", " : "", word);
}

bool words_has(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; n && (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}
