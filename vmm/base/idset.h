/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of small numbers (CPUs, nodes), written as the kernel writes them: "0-3,8,10-11".
 *
 * A value with storage of fixed size, so it can be copied and needs no release: 8192 is the
 * most CPUs that Debian's kernels know. Not synchronised.
 */
#ifndef VMM_BASE_IDSET_H
#define VMM_BASE_IDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum { IDSET_MAX = 8192, IDSET_WORDS = IDSET_MAX / 64 };

/* n_words bounds the words in use, so that operations on small sets stay cheap. */
struct idset {
    uint32_t n_words;
    uint64_t word[IDSET_WORDS];
};

/** idset_add() / idset_del() - ids at or above IDSET_MAX are ignored. */
void idset_add(struct idset *s, uint32_t id);
void idset_add_range(struct idset *s, uint32_t first, uint32_t n);
void idset_del(struct idset *s, uint32_t id);
bool idset_has(const struct idset *s, uint32_t id);
bool idset_empty(const struct idset *s);
uint32_t idset_count(const struct idset *s);
bool idset_equal(const struct idset *a, const struct idset *b);
bool idset_intersects(const struct idset *a, const struct idset *b);
bool idset_subset(const struct idset *sub, const struct idset *super);
void idset_or(struct idset *dst, const struct idset *src);
void idset_and(struct idset *dst, const struct idset *src);

/** idset_next() - smallest id >= @from, or IDSET_MAX. */
uint32_t idset_next(const struct idset *s, uint32_t from);

#define IDSET_FOREACH(id, s) \
    for (uint32_t id = idset_next((s), 0); id < IDSET_MAX; id = idset_next((s), id + 1))

/**
 * idset_parse() - read "0-3,8". The empty string is the empty set. Untouched on failure.
 * Return: 0, or -EINVAL with a sentence (not a list, reversed range, repeated id, id too high).
 */
int idset_parse(const char *text, struct idset *ret_set, struct errctx *ec);

/** idset_format() - write the list form into @buf, always terminated; "..." marks a cut. */
const char *idset_format(const struct idset *s, char *buf, size_t size);

#endif
