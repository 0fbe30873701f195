/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the known word nearest to a mistyped one. */
#ifndef VMM_CONFIG_SUGGEST_H
#define VMM_CONFIG_SUGGEST_H

#include <stddef.h>

/* Start with { .word = WORD }, offer every candidate, then ask for the sentence. */
struct suggest {
    const char *word;
    const char *best;
    size_t best_distance;
};

/** suggest_offer() - @candidate stays borrowed until suggest_format(). */
void suggest_offer(struct suggest *s, const char *candidate);

/** suggest_format() - "; did you mean PREFIXcpus?" in @buf, or "" when nothing is near enough. */
const char *suggest_format(const struct suggest *s, const char *prefix, char *buf, size_t size);

#endif
