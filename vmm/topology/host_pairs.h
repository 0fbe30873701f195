/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pairs of nodes to measure. Pure.
 *
 * 128 nodes are 16,384 pairs, far too many for seconds; but pairs of the same SLIT distance
 * between the same two packages go over the same wires. So one pair stands for its class, and
 * some more, drawn at random, check that classes are what they are taken for.
 */
#ifndef VMM_TOPOLOGY_HOST_PAIRS_H
#define VMM_TOPOLOGY_HOST_PAIRS_H

#include "vmm/topology/host_topo.h"

struct host_pair {
    uint32_t from, to; /* indices of nodes: CPUs of one, memory of the other */
    bool check;
};

/** host_pairs_packages() - per node the package of its CPUs; for a node without any that of the
 *  nearest node with some. @ret holds n_nodes. */
void host_pairs_packages(const struct host_topo *host, uint32_t *ret);

/** host_pairs_class() - equal for pairs of one class; @packages as above. The distance is in the
 *  upper half. */
uint64_t host_pairs_class(const struct host_topo *host, const uint32_t *packages, size_t from,
                          size_t to);

/**
 * host_pairs_choose() - a pair for each class, then checks, in the order in which to measure.
 * @seed: equal seeds choose equally.
 * @max_pairs: no more than these; classes are left out evenly over all distances.
 * @ret_pairs: the caller frees it; untouched on failure.
 *
 * The first ones stand for every distance, the next for the other classes, the last are checks;
 * within each of the three, pairs with the same memory follow each other.
 * Return: 0, or -ENOMEM, or -ENODEV: no node with CPUs, or none with memory.
 */
int host_pairs_choose(const struct host_topo *host, uint64_t seed, size_t max_pairs,
                      struct host_pair **ret_pairs, size_t *ret_n, struct errctx *ec);

#endif
