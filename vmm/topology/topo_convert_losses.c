/* SPDX-License-Identifier: Apache-2.0 */
/* What a form could not hold: two plans compared, fact by fact. */
#include "vmm/topology/topo_convert.h"

#include <string.h>

#include "vmm/base/units.h"

/* Each returns whether @b lacks that fact of @a. Those that look at nodes want as many in both. */

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

/* Whether a plan has such a thing at all. */

static bool has_hotplug(const struct topo_plan *p)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i].hotplug_bytes > 0)
            return true;
    return false;
}

static bool has_links(const struct topo_plan *p)
{
    return p->links != NULL;
}

static bool has_initiators(const struct topo_plan *p)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i].generic_initiator)
            return true;
    return false;
}

static bool has_mem_caches(const struct topo_plan *p)
{
    for (size_t i = 0; i < p->n_nodes; i++)
        if (p->nodes[i].n_mem_caches > 0)
            return true;
    return false;
}

struct loss {
    bool (*lost)(const struct topo_plan *a, const struct topo_plan *b);
    const char *what;
    bool any_nodes; /* it can be told of plans with other numbers of nodes, too ... */
    bool (*has)(const struct topo_plan *p); /* ... or, where there is one, from this */
};

static bool is_lost(const struct loss *l, const struct topo_plan *a, const struct topo_plan *b)
{
    if (a->n_nodes == b->n_nodes || l->any_nodes)
        return l->lost(a, b);
    return l->has != NULL && l->has(a) && !l->has(b);
}

void topo_convert_losses(const struct topo_plan *plan, const struct topo_plan *back,
                         const char *form, struct topo_notes *notes)
{
    static const struct loss facts[] = {
        { .lost = cpus_lost, .what = "which CPUs each node has" },
        { .lost = memory_lost, .what = "how much memory each node has" },
        { .lost = hotplug_lost,
          .what = "windows for memory that is added later",
          .has = has_hotplug },
        { .lost = later_lost, .what = "which CPUs are plugged in later", .any_nodes = true },
        { .lost = cores_lost,
          .what = "sockets, dies, cores and threads as they are",
          .any_nodes = true },
        { .lost = caches_lost, .what = "the caches and who shares them", .any_nodes = true },
        { .lost = distances_lost, .what = "the distances" },
        { .lost = links_lost, .what = "latencies and bandwidths", .has = has_links },
        { .lost = initiators_lost, .what = "which node is the initiator of memory without CPUs" },
        { .lost = generic_initiators_lost,
          .what = "which nodes have a generic initiator",
          .has = has_initiators },
        { .lost = mem_caches_lost, .what = "memory-side caches", .has = has_mem_caches },
    };

    if (plan->n_nodes != back->n_nodes)
        topo_note(notes, "%s, as written here, does not hold all nodes: of %zu there are %zu.",
                  form, plan->n_nodes, back->n_nodes);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        if (is_lost(&facts[i], plan, back))
            topo_note(notes, "%s, as written here, does not hold %s.", form, facts[i].what);
}
