/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps of topo_plan_make(), one file each, in the order in which they run. Each fills its
 * own fields of a plan whose arrays are allocated and zeroed. Private to vmm/topology.
 */
#ifndef VMM_TOPOLOGY_PLAN_PARTS_H
#define VMM_TOPOLOGY_PLAN_PARTS_H

#include "vmm/topology/guest_shape.h"
#include "vmm/topology/topo_plan.h"

/** plan_nodes_fill() - CPUs, memory, hotplug windows, initiators and memory-side caches. */
void plan_nodes_fill(const struct guest_spec *spec, const struct guest_shape *sh,
                     struct topo_plan *plan);

/** plan_apic_fill() - field widths, and every vCPU's place and id.
 *  -ERANGE: an id is beyond what an interrupt message can address; -EINVAL: a CPU's number and
 *  id are a pair that guests cannot be told of. */
int plan_apic_fill(const struct guest_spec *spec, const struct guest_shape *sh,
                   struct topo_plan *plan, struct errctx *ec);

/** plan_caches_fill() - geometry and sharing; needs the APIC ids.
 *  -EINVAL: sizes or sharing that do not go together, with a sentence. */
int plan_caches_fill(const struct guest_spec *spec, const struct host_topo *host,
                     struct topo_plan *plan, struct errctx *ec);

/** plan_distances_fill() - 10 local, as given, mirrored, 20 otherwise. */
void plan_distances_fill(const struct guest_spec *spec, struct topo_plan *plan);

/** plan_links_fill() - the HMAT matrix and its units, values rounded to what it can say;
 *  plan->links is there exactly when a link was given. */
void plan_links_fill(const struct guest_spec *spec, struct topo_plan *plan);

/** plan_place_fill() - host nodes and host CPUs. -ENOENT, -ENOSPC as in topo_plan_make(). */
int plan_place_fill(const struct guest_spec *spec, const struct host_topo *host,
                    struct topo_plan *plan, struct errctx *ec);

/** plan_limits_check() - is the guest within what this process is confined to? Needs the nodes'
 *  memory. -ENOSPC: more memory than a cgroup allows; less serious things become notes. */
int plan_limits_check(const struct host_topo *host, struct topo_plan *plan, struct errctx *ec);

/** plan_memory_fill() - every node's backings; needs the host nodes. -ENOSPC, -EINVAL. */
int plan_memory_fill(const struct guest_spec *spec, const struct host_topo *host,
                     struct topo_plan *plan, struct errctx *ec);

/** plan_note() - append a sentence for the user; one that does not fit whole is replaced by the
 *  remark that there are more. */
void plan_note(struct topo_plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** plan_worse() - the same of something that is not as it was asked for, or as the guest is told. */
void plan_worse(struct topo_plan *plan, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
