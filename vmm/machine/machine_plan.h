/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of a machine: what the guest is told (vmm/topology) and, where it is asked for, its
 * places on this host (vcpu/policy). run and plan both get it here, so that they cannot differ.
 */
#ifndef VMM_MACHINE_MACHINE_PLAN_H
#define VMM_MACHINE_MACHINE_PLAN_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/machine/neighbours.h"
#include "vmm/topology/topo_plan.h"

/* Why the nodes are where they are; costs in CPUs, see docs/placement.md. */
struct machine_placement {
    bool applied; /* the plan follows it; else it is what would be chosen */
    struct guest_auto sized; /* of --vnuma auto; nodes 0 without it */
    double traffic, overload, stranded, contention, broken, total, bound;
    bool proved, kept;
    uint32_t expanded;
    struct idset *nodes; /* per virtual node: host nodes, the kernel's numbers */
    size_t n_nodes;
};

/**
 * machine_plan_make() - topo_plan_make(), then places for what --pin, --objective, --vnuma auto or
 * --cpu-reserve or --balance ask for.
 * @others: the other machines on @host, or NULL for none.
 * @ret_placement: NULL, or receives the placement, also where it is not applied; release with
 *                 machine_placement_fini().
 *
 * Places are the host CPUs of vCPUs only: the memory of a node without host= is never bound.
 * Every host node counts with all of its memory but what other machines take of it, in use or not,
 * so a plan made again beside the same machines is the same; where all of the guest's memory is of
 * 2M or of 1G pages, with what its pool of them has free.
 * Pure; any thread.
 *
 * Return: as topo_plan_make(), and -ENOSPC when dedicated CPUs do not suffice, -EINVAL for an
 * objective that has nothing to decide. Results are untouched on failure.
 */
int machine_plan_make(const struct guest_spec *spec, const struct host_topo *host,
                      const struct neighbours *others, struct topo_plan **ret_plan,
                      struct machine_placement *ret_placement, struct errctx *ec);

enum { MACHINE_PLAN_NOTES = 512 };

/**
 * machine_plan_repin() - the host CPUs of @vnode's vCPUs when it lives on @to, by the same planner
 * and at the same level (--pin) as at the start.
 * @plan: whose vCPUs have the host CPUs that they run on now; those of other nodes keep them.
 * @ret_cpus: one per vCPU of the plan; filled for those of @vnode.
 * @ret_notes: MACHINE_PLAN_NOTES bytes; sentences, one per line, about what cannot be had.
 * Pure; any thread.
 * Return: 0; -ENOSPC: too few CPUs for --pin dedicated; -ENOENT: @host has no such node; -ENOMEM.
 */
int machine_plan_repin(const struct guest_spec *spec, const struct host_topo *host,
                       const struct topo_plan *plan, struct vnode_id vnode, struct hnode_id to,
                       struct idset *ret_cpus, char *ret_notes, struct errctx *ec);

void machine_placement_fini(struct machine_placement *placement);

#endif
