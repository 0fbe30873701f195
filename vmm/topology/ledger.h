/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Truth ledger: does what a guest was told about its nodes still hold on the host?
 *
 * A guest is told a distance for each pair of nodes (its SLIT). That is a promise: an upper bound
 * for the distance between the host nodes that the two have their memory and CPUs on, both scales
 * beginning with 10 for local. A pair that is farther apart is broken. Two nodes whose order, seen
 * from a third one, is not the order that the guest was told are an inversion: the guest prefers
 * the farther one. Of several host nodes the farthest counts, and of two directions the longer one,
 * as for the planner; where nobody said where a node is there is nothing to hold it against. A
 * node's distance to itself is left out: the share of its pages that are at home tells about that.
 *
 * Pure; any thread.
 */
#ifndef VMM_TOPOLOGY_LEDGER_H
#define VMM_TOPOLOGY_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"
#include "vmm/topology/topo_plan.h"

struct ledger_node {
    struct idset homes;      /* host nodes; empty: nobody said where */
    uint64_t resident_bytes; /* that are there */
    uint64_t home_bytes;     /* of them, on a home */
    bool forced;             /* was moved although that broke a promise */
};

struct ledger_pair {
    uint32_t from, to; /* virtual nodes */
    uint32_t told, real;
};

struct ledger {
    size_t n_nodes;
    struct ledger_node *nodes;
    uint32_t *told, *real;    /* n_nodes * n_nodes, row = from; real 0: not known */
    struct ledger_pair worst; /* greatest real against told; real 0: no pair is known */
    size_t n_broken;          /* pairs */
    uint64_t n_inversions;
};

/** ledger_real() - the distance between two sets of host nodes: the farthest pair's, in the host's
 *  numbers; 0 when one is empty or unknown to the plan. */
uint32_t ledger_real(const struct topo_plan *plan, const struct idset *from,
                     const struct idset *to);

/** ledger_new() - judge @nodes, n_nodes of the plan, which are copied. Return: 0 or -ENOMEM. */
int ledger_new(const struct topo_plan *plan, const struct ledger_node *nodes,
               struct ledger **ret_ledger, struct errctx *ec);

/** ledger_make() - the same from matrices, for one that was heard from a machine. */
int ledger_make(size_t n_nodes, const uint32_t *told, const uint32_t *real,
                const struct ledger_node *nodes, struct ledger **ret_ledger, struct errctx *ec);

/** ledger_free() - NULL is allowed. */
void ledger_free(struct ledger *ledger);

/**
 * ledger_breaks() - would it break a promise if @vnode had its home on host node @to alone? Pairs
 * that are broken already count when they would become worse.
 * @homes: of all nodes, as they are now.
 * @ret_pair: the worst pair, filled when there is one.
 */
bool ledger_breaks(const struct topo_plan *plan, const struct idset *homes, struct vnode_id vnode,
                   struct hnode_id to, struct ledger_pair *ret_pair);

/** ledger_is_broken() - is the pair farther apart than told? */
bool ledger_is_broken(const struct ledger *ledger, size_t from, size_t to);

/**
 * ledger_write_svg() - a picture: for each node the part of its memory that is at home, and every
 * pair's real distance beside the one that was told, broken ones marked.
 * @title: a line of text. Write errors are for ferror(@out).
 */
void ledger_write_svg(const struct ledger *ledger, const char *title, FILE *out);

#endif
