/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host has left while a plan takes memory from it, piece by piece. Private to
 * vmm/topology.
 */
#ifndef VMM_TOPOLOGY_PLAN_SUPPLY_H
#define VMM_TOPOLOGY_PLAN_SUPPLY_H

#include "vmm/topology/topo_plan.h"

/* Kinds of memory that are counted apart. */
enum supply_kind {
    SUPPLY_MEMORY, /* all there is, in use or not: for what comes when the guest touches it */
    SUPPLY_FREE,   /* free now, file cache included: for what is taken at the start */
    SUPPLY_2M,     /* free pages of the pool */
    SUPPLY_1G,
    SUPPLY_KINDS,
};

struct plan_supply {
    const struct host_topo *host;
    bool known[SUPPLY_KINDS]; /* else there is no end of it */
    uint64_t (*left)[SUPPLY_KINDS]; /* bytes, by index of the host's nodes */
    uint64_t allowed[SUPPLY_KINDS]; /* bytes of all nodes, by our cgroup; UINT64_MAX: any */
};

int plan_supply_init(const struct host_topo *host, struct plan_supply *ret_supply,
                     struct errctx *ec);
void plan_supply_fini(struct plan_supply *supply);

/** plan_supply_kind() - what @backing is made of. */
enum supply_kind plan_supply_kind(const struct topo_plan_backing *backing);

/** plan_supply_fit() - how much of @backing is there, in whole pages; its policy and host nodes
 *  decide where it may come from. One in chunks fits whole or not at all. */
uint64_t plan_supply_fit(const struct plan_supply *supply, const struct topo_plan_backing *backing);

/** plan_supply_take() - take it; after plan_supply_fit() found enough. */
void plan_supply_take(struct plan_supply *supply, const struct topo_plan_backing *backing);

/** plan_supply_explain() - one sentence: what is wanted, and what the host nodes have.
 *  Return: -ENOSPC. */
int plan_supply_explain(const struct plan_supply *supply, const struct topo_plan_backing *backing,
                        struct errctx *ec);

#endif
