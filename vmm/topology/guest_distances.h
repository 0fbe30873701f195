/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances of all nodes at once: as one of a few well-known shapes, or as a matrix in a text.
 * Pure.
 */
#ifndef VMM_TOPOLOGY_GUEST_DISTANCES_H
#define VMM_TOPOLOGY_GUEST_DISTANCES_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_spec.h"

/* Names of the shapes, up to NULL. */
extern const char *const guest_distance_shapes[];

/** guest_distances_is_shape() - is @word one of them? */
bool guest_distances_is_shape(const char *word);

/**
 * guest_distances_shape() - the distances of @n_nodes nodes in the shape @word, in place of those
 * that @spec has. Neighbours are 10 apart more than a node from itself, and each further hop adds
 * as much, or as much less as 254 leaves room for.
 * Return: 0, -EINVAL (no such shape), -ENOMEM.
 */
int guest_distances_shape(struct guest_spec *spec, const char *word, uint32_t n_nodes,
                          struct errctx *ec);

/**
 * guest_distances_matrix() - the same from a text: @n_nodes lines of as many numbers, row "from".
 * Empty lines and what follows a "#" are nothing. @text may hold any bytes.
 * Return: 0, -EINVAL or -ERANGE with a sentence that names line and column, -ENOMEM.
 */
int guest_distances_matrix(struct guest_spec *spec, const char *text, size_t len, uint32_t n_nodes,
                           struct errctx *ec);

#endif
