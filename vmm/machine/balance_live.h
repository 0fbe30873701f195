/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what was measured to what rebalancing decides on: two readings of the host, what the
 * machine's threads did between them, and where memory is, become a snapshot. Pure; any thread.
 *
 * What a virtual node wants is the time its threads ran and, by their part of all that ran there,
 * the time that tasks waited on its host node; the rest of both is others'.
 */
#ifndef VMM_MACHINE_BALANCE_LIVE_H
#define VMM_MACHINE_BALANCE_LIVE_H

#include "vmm/machine/balance_trace.h"
#include "vmm/topology/host_watch.h"

struct balance_live_vnode {
    uint64_t used_ns; /* CPU time of its threads between the readings */
    uint32_t home;    /* index of a host node */
    uint32_t runs;    /* ... where its threads run: home, but for one whose CPUs are offline */
    bool fixed;
    bool nowhere; /* no host node is its home: ->home says nothing of distances */
};

struct balance_live {
    const struct topo_plan *plan; /* host nodes, distances */
    const struct host_reading *before, *now;
    uint64_t time_ns;                        /* of now */
    uint64_t passed_ns;                      /* between the readings; not 0 */
    const struct balance_live_vnode *vnodes; /* the plan's nodes */
    const uint64_t *at_bytes; /* by virtual node and host node: resident memory, as counted */
};

/**
 * balance_live_make() - @ret_line: one that balance_check() takes; untouched on failure.
 * Less than a 64th of a node's memory elsewhere counts as at home: some page is always in use.
 * Return: 0, -ENOMEM, -EINVAL (more nodes than can be balanced).
 */
int balance_live_make(const struct balance_live *live, struct balance_line *ret_line,
                      struct errctx *ec);

/** balance_live_home() - index of the one host node that @nodes names, or else that has all of
 *  @cpus; -1 when there is none. */
int balance_live_home(const struct topo_plan *plan, const struct idset *nodes,
                      const struct idset *cpus);

/**
 * balance_live_cpus() - the CPUs on which threads that belong on @cpus of host node @home can run.
 * @online: empty: not known, all are.
 * @ret_cpus: those of @cpus that are online; where there are none the host node's; where it has
 * none
 *            the nearest host node's that has some. Empty when there is none at all.
 */
void balance_live_cpus(const struct topo_plan *plan, const struct idset *cpus, uint32_t home,
                       const struct idset *online, struct idset *ret_cpus);

#endif
