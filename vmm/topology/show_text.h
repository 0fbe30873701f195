/* SPDX-License-Identifier: Apache-2.0 */
/* Small helpers that the tables share. Private to vmm/topology. */
#ifndef VMM_TOPOLOGY_SHOW_TEXT_H
#define VMM_TOPOLOGY_SHOW_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/idset.h"
#include "vmm/topology/guest_spec.h"

enum { SHOW_LIST_BYTES = 512, SHOW_MATRIX_MAX = 16 };

/** show_heading() - a line of its own, preceded by an empty one. */
void show_heading(FILE *out, bool colour, const char *text);

/** show_set() - the list form, or @otherwise for the empty set. */
const char *show_set(const struct idset *s, const char *otherwise, char *buf, size_t size);

/** show_size() - a size for people, or "-" for 0. */
const char *show_size(uint64_t bytes, char *buf, size_t size);

/** show_cache_name() - "L1d", "L1i", "L2". */
const char *show_cache_name(uint32_t level, enum cache_type type);

/**
 * show_distances() - the matrix, or for many nodes one line per node that says which nodes are
 * at which distance.
 * @ids: the numbers to print; NULL: 0, 1, ...
 */
void show_distances(FILE *out, const uint32_t *distances, size_t n, const uint32_t *ids);

#endif
