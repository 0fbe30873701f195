/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Optimal string alignment distance on short words. Words longer than the table are never
 * near anything, which bounds the work whatever the user typed.
 */
#include "vmm/config/suggest.h"

#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { SUGGEST_WORD_MAX = 40, SUGGEST_FAR = 1000 };

static size_t word_distance(const char *a, const char *b)
{
    size_t d[SUGGEST_WORD_MAX + 1][SUGGEST_WORD_MAX + 1];
    size_t la = strlen(a), lb = strlen(b);

    if (la > SUGGEST_WORD_MAX || lb > SUGGEST_WORD_MAX)
        return SUGGEST_FAR;
    for (size_t i = 0; i <= la; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= lb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        for (size_t j = 1; j <= lb; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

            best = MIN(best, d[i - 1][j] + 1);
            best = MIN(best, d[i][j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[la][lb];
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    size_t distance = word_distance(s->word, candidate);
    size_t allowed = strlen(candidate) > 4 ? 2 : 1;

    if (distance <= allowed && (s->best == NULL || distance < s->best_distance)) {
        s->best = candidate;
        s->best_distance = distance;
    }
}

const char *suggest_format(const struct suggest *s, const char *prefix, char *buf, size_t size)
{
    buf[0] = '\0';
    if (s->best != NULL)
        (void)snprintf(buf, size, "; did you mean %s%s?", prefix, s->best);
    return buf;
}
