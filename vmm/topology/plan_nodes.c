/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes of a plan: who has which CPUs and how much memory. Pure.
 */
#include "vmm/topology/plan_parts.h"

#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"

static void note_shares(const struct guest_spec *spec, const struct guest_shape *sh,
                        struct topo_plan *plan)
{
    uint32_t last = sh->n_nodes - 1;
    char a[32], b[32];

    if (sh->n_nodes > 1 && sh->split_cpus && sh->cpus[0] != sh->cpus[last])
        plan_note(plan, "%u CPUs do not divide by %u nodes: the first nodes have %u, the last %u.",
                  sh->n_cpus, sh->n_nodes, sh->cpus[0], sh->cpus[last]);
    if (spec->n_nodes == 0 && sh->n_nodes > 1 && sh->ram_bytes[0] != sh->ram_bytes[last])
        plan_note(plan, "Memory does not divide by %u nodes: the first nodes have %s, the last %s.",
                  sh->n_nodes, units_format_size(sh->ram_bytes[0], a, sizeof(a)),
                  units_format_size(sh->ram_bytes[last], b, sizeof(b)));
}

/* What a description leaves open is completed, and said. */
static void note_completed(const struct guest_spec *spec, const struct guest_shape *sh,
                           struct topo_plan *plan)
{
    bool named_memory = false;
    char a[32];

    for (size_t i = 0; i < spec->n_nodes; i++)
        named_memory = named_memory || spec->nodes[i].memory_bytes > 0;
    if (spec->memory_bytes == 0 && !named_memory)
        plan_note(plan, "No memory was asked for: the guest has %s.",
                  units_format_size(GUEST_DEFAULT_MEMORY_BYTES, a, sizeof(a)));
    if (spec->n_nodes > 1 && !named_memory)
        plan_note(plan, "No node names its memory: it is shared out equally.");
    if (spec->n_nodes > 1 && sh->split_cpus)
        plan_note(plan, "No node names its CPUs: they are shared out equally, in order.");
    for (uint32_t i = 0; i < sh->n_nodes; i++)
        if (sh->ram_bytes[i] > 0 && sh->ram_bytes[i] < 4 * MIB)
            plan_note(plan,
                      "Node %u has less than 4 MiB, which Linux before 6.7 treats as no memory.",
                      i);
}

void plan_nodes_fill(const struct guest_spec *spec, const struct guest_shape *sh,
                     struct topo_plan *plan)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < sh->n_nodes; i++) {
        const struct guest_node_spec *said = spec->n_nodes > 0 ? &spec->nodes[i] : NULL;
        struct topo_plan_node *n = &plan->nodes[i];

        n->vnode = (struct vnode_id){ i };
        n->ram_bytes = sh->ram_bytes[i];
        if (sh->split_cpus)
            idset_add_range(&n->cpus, first, sh->cpus[i]);
        else
            n->cpus = said->cpus;
        first += sh->cpus[i];
        n->has_initiator = sh->cpus[i] > 0;
        n->initiator = n->vnode;
        if (said == NULL)
            continue;
        n->hotplug_bytes = said->hotplug_bytes;
        n->generic_initiator = said->generic_initiator;
        n->n_mem_caches = said->n_mem_caches;
        memcpy(n->mem_cache, said->mem_cache, sizeof(n->mem_cache));
        if (!n->has_initiator && said->has_initiator) {
            n->has_initiator = true;
            n->initiator = (struct vnode_id){ said->initiator };
        }
    }
    note_completed(spec, sh, plan);
    note_shares(spec, sh, plan);
}
