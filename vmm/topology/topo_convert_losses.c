/* SPDX-License-Identifier: Apache-2.0 */
/* What a form could not hold: two plans compared, fact by fact. */
#include "vmm/topology/topo_convert.h"

#include <string.h>

#include "vmm/base/units.h"

/* Each returns whether @b lacks that fact of @a; both have the same number of nodes. */

static bool cpus_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (!idset_equal(&a->nodes[i].cpus, &b->nodes[i].cpus))
            return true;
    return false;
}

static bool memory_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i].ram_bytes != b->nodes[i].ram_bytes)
            return true;
    return false;
}

static bool hotplug_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i].hotplug_bytes != b->nodes[i].hotplug_bytes)
            return true;
    return false;
}

static bool later_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_vcpus && a->n_vcpus == b->n_vcpus; i++)
        if (a->vcpus[i].later != b->vcpus[i].later)
            return true;
    return false;
}

static bool cores_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_vcpus && a->n_vcpus == b->n_vcpus; i++) {
        const struct topo_plan_vcpu *x = &a->vcpus[i], *y = &b->vcpus[i];

        if (x->socket != y->socket || x->die != y->die || x->thread != y->thread ||
            x->apic_id >> a->apic.core_shift != y->apic_id >> b->apic.core_shift)
            return true;
    }
    return a->n_vcpus != b->n_vcpus;
}

static bool caches_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_caches; i++) {
        const struct topo_plan_cache *x = &a->caches[i], *y = &b->caches[i];

        if (i >= b->n_caches || x->level != y->level || x->type != y->type ||
            x->size_bytes != y->size_bytes || x->line_bytes != y->line_bytes || x->ways != y->ways)
            return true;
        for (uint32_t cpu = 0; cpu < a->n_vcpus && a->n_vcpus == b->n_vcpus; cpu++) {
            struct idset p = { 0 }, q = { 0 };

            topo_plan_cache_cpus(a, x, (struct vcpu_id){ cpu }, &p);
            topo_plan_cache_cpus(b, y, (struct vcpu_id){ cpu }, &q);
            if (!idset_equal(&p, &q))
                return true;
        }
    }
    return false;
}

static bool distances_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    return memcmp(a->distances, b->distances, a->n_nodes * a->n_nodes * sizeof(*a->distances)) != 0;
}

static bool links_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; a->links != NULL && i < a->n_nodes * a->n_nodes; i++)
        if (b->links == NULL || a->links[i].latency_ns != b->links[i].latency_ns ||
            a->links[i].bandwidth_bytes_per_s != b->links[i].bandwidth_bytes_per_s)
            return true;
    return false;
}

static bool initiators_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i].has_initiator && (!b->nodes[i].has_initiator ||
                                          a->nodes[i].initiator.v != b->nodes[i].initiator.v))
            return true;
    return false;
}

static bool generic_initiators_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i].generic_initiator != b->nodes[i].generic_initiator)
            return true;
    return false;
}

static bool mem_caches_lost(const struct topo_plan *a, const struct topo_plan *b)
{
    for (size_t i = 0; i < a->n_nodes; i++)
        if (a->nodes[i].n_mem_caches != b->nodes[i].n_mem_caches)
            return true;
    return false;
}

void topo_convert_losses(const struct topo_plan *plan, const struct topo_plan *back,
                         const char *form, struct topo_notes *notes)
{
    static const struct {
        bool (*lost)(const struct topo_plan *a, const struct topo_plan *b);
        const char *what;
    } facts[] = {
        { cpus_lost, "which CPUs each node has" },
        { memory_lost, "how much memory each node has" },
        { hotplug_lost, "windows for memory that is added later" },
        { later_lost, "which CPUs are plugged in later" },
        { cores_lost, "sockets, dies, cores and threads as they are" },
        { caches_lost, "the caches and who shares them" },
        { distances_lost, "the distances" },
        { links_lost, "latencies and bandwidths" },
        { initiators_lost, "which node is the initiator of memory without CPUs" },
        { generic_initiators_lost, "which nodes have a generic initiator" },
        { mem_caches_lost, "memory-side caches" },
    };

    if (plan->n_nodes != back->n_nodes) {
        topo_note(notes, "%s, as written here, does not hold all nodes: of %zu there are %zu.", form, plan->n_nodes,
                  back->n_nodes);
        return;
    }
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        if (facts[i].lost(plan, back))
            topo_note(notes, "%s, as written here, does not hold %s.", form, facts[i].what);
}
