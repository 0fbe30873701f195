/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for every plan, whatever was asked. Shared by the property test and the fuzz
 * target: a violation prints itself and aborts.
 */
#ifndef VMM_TOPOLOGY_TEST_PLAN_INVARIANTS_H
#define VMM_TOPOLOGY_TEST_PLAN_INVARIANTS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/topo_plan.h"

#define INVARIANT(cond)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #cond);             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

enum { INVARIANT_IDS = 0x8000 };

static inline void check_ids(const struct topo_plan *plan)
{
    const struct topo_apic_layout *a = &plan->apic;
    uint8_t *seen = calloc(INVARIANT_IDS, 1);
    uint32_t max = 0;

    INVARIANT(seen != NULL && plan->max_apic_id < INVARIANT_IDS);
    INVARIANT(plan->vcpus[0].apic_id == 0); /* KVM starts vCPU 0 */
    INVARIANT(a->core_shift <= a->complex_shift && a->complex_shift <= a->die_shift);
    INVARIANT(a->die_shift <= a->socket_shift);
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];

        INVARIANT(v->id.v == i && !seen[v->apic_id]);
        seen[v->apic_id] = 1;
        max = v->apic_id > max ? v->apic_id : max;
        INVARIANT(v->thread < a->threads_per_core && v->core < a->cores_per_complex);
        INVARIANT(v->complex < a->complexes_per_die && v->die < a->dies_per_socket);
        INVARIANT(v->socket < a->n_sockets && v->apic_id >> a->socket_shift == v->socket);
        INVARIANT((v->apic_id & ((1u << a->socket_shift) - 1)) >> a->die_shift == v->die);
        INVARIANT((v->apic_id & ((1u << a->die_shift) - 1)) >> a->complex_shift == v->complex);
        INVARIANT((v->apic_id & ((1u << a->complex_shift) - 1)) >> a->core_shift == v->core);
        INVARIANT((v->apic_id & ((1u << a->core_shift) - 1)) == v->thread);
    }
    INVARIANT(max == plan->max_apic_id);
    free(seen);
}

/* All vCPUs that agree above @shift are in one node. */
static inline void check_one_node(const struct topo_plan *plan, uint32_t shift)
{
    uint32_t *node = calloc(INVARIANT_IDS, sizeof(*node)); /* 0: none yet, else node + 1 */

    INVARIANT(node != NULL);
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];
        uint32_t *n = &node[v->apic_id >> shift];

        INVARIANT(*n == 0 || *n == v->vnode.v + 1);
        *n = v->vnode.v + 1;
    }
    free(node);
}

static inline void check_caches(const struct guest_spec *spec, const struct topo_plan *plan)
{
    INVARIANT(plan->n_caches <= TOPO_PLAN_MAX_CACHES);
    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];
        const struct guest_cache_spec *said = NULL;

        for (size_t k = 0; k < spec->n_caches; k++)
            if (spec->caches[k].level == c->level &&
                (spec->caches[k].type == c->type || c->level > 1))
                said = &spec->caches[k];
        INVARIANT(c->size_bytes == (uint64_t)c->line_bytes * c->ways * c->sets);
        INVARIANT(c->size_bytes > 0 && c->ways <= 1024);
        INVARIANT(i == 0 || c->level >= plan->caches[i - 1].level);
        for (size_t k = 0; k < i; k++)
            INVARIANT(plan->caches[k].level == c->level ||
                      plan->caches[k].apic_shift <= c->apic_shift);
        INVARIANT(c->apic_shift >= plan->apic.core_shift);
        if (said == NULL || !said->span_nodes) {
            INVARIANT(c->apic_shift <= plan->apic.die_shift);
            check_one_node(plan, c->apic_shift);
        }
        if (said != NULL && said->size_bytes > 0)
            INVARIANT(c->size_bytes == said->size_bytes);
        for (uint32_t v = 0; said != NULL && said->cores > 0 && v < plan->n_vcpus; v += 7) {
            struct idset cpus;

            topo_plan_cache_cpus(plan, c, (struct vcpu_id){ v }, &cpus);
            INVARIANT(idset_count(&cpus) == said->cores * plan->apic.threads_per_core);
        }
    }
}

static inline void check_nodes(const struct guest_spec *spec, const struct topo_plan *plan)
{
    struct idset all = { 0 };
    uint64_t ram = 0;

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        INVARIANT(n->vnode.v == i && n->ram_bytes % (2u << 20) == 0);
        INVARIANT(n->hotplug_bytes % (2ull << 30) == 0);
        INVARIANT(n->ram_bytes + n->hotplug_bytes > 0 || topo_plan_node_initiates(n));
        INVARIANT(!idset_intersects(&all, &n->cpus));
        idset_or(&all, &n->cpus);
        ram += n->ram_bytes;
        IDSET_FOREACH(cpu, &n->cpus)
            INVARIANT(plan->vcpus[cpu].vnode.v == i);
        INVARIANT(idset_empty(&n->cpus) || (n->has_initiator && n->initiator.v == i));
        INVARIANT(!n->has_initiator || topo_plan_node_initiates(&plan->nodes[n->initiator.v]));
    }
    INVARIANT(idset_count(&all) == plan->n_vcpus && idset_next(&all, 0) == 0);
    INVARIANT(idset_next(&all, (uint32_t)plan->n_vcpus) == IDSET_MAX);
    INVARIANT(spec->n_cpus == 0 || plan->n_vcpus == spec->n_cpus);
    INVARIANT(ram > 0 && (spec->memory_bytes == 0 || ram == spec->memory_bytes));
}

/* Within an entry of 16 bits, not lost, and as near as its unit allows. */
static inline void check_link_value(uint64_t value, uint64_t said, uint64_t unit)
{
    uint64_t off = value > said ? value - said : said - value;

    INVARIANT((value == 0) == (said == 0));
    if (said == 0)
        return;
    INVARIANT(value % unit == 0 && value / unit <= GUEST_LINK_ENTRY_MAX);
    INVARIANT(off <= MAX(unit, (uint64_t)1));
}

static inline void check_matrices(const struct guest_spec *spec, const struct topo_plan *plan)
{
    size_t n = plan->n_nodes;

    for (size_t i = 0; i < n * n; i++) {
        uint32_t d = plan->distances[i];

        INVARIANT(i / n == i % n ? d == 10 : d > 10 && d <= 254);
    }
    for (size_t i = 0; i < spec->n_distances; i++)
        INVARIANT(plan->distances[spec->distances[i].from * n + spec->distances[i].to] ==
                  spec->distances[i].value);
    INVARIANT((plan->links != NULL) == (spec->n_links > 0));
    for (size_t i = 0; i < spec->n_links; i++) {
        const struct guest_link_spec *l = &spec->links[i];
        const struct topo_plan_link *p = &plan->links[l->from * n + l->to];

        check_link_value(p->latency_ns, l->latency_ns, plan->latency_unit_ns);
        check_link_value(p->bandwidth_bytes_per_s / MIB, l->bandwidth_bytes_per_s / MIB,
                         plan->bandwidth_unit_mib);
        INVARIANT(p->bandwidth_bytes_per_s % MIB == 0);
    }
}

static inline void check_placement(const struct topo_plan *plan, const struct host_topo *host)
{
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];
        struct idset cpus = { 0 };

        IDSET_FOREACH(id, &plan->nodes[v->vnode.v].host_nodes)
            idset_or(&cpus, &host->nodes[host_topo_node_index(host, (struct hnode_id){ id })].cpus);
        INVARIANT(idset_equal(&v->host_cpus, &cpus));
    }
}

static inline void plan_check_invariants(const struct guest_spec *spec,
                                         const struct host_topo *host, const struct topo_plan *plan)
{
    size_t len = strnlen(plan->notes, sizeof(plan->notes));

    INVARIANT(plan->n_nodes >= 1 && plan->n_nodes <= GUEST_MAX_VNODES);
    INVARIANT(plan->n_vcpus >= 1 && plan->n_vcpus <= GUEST_MAX_VCPUS);
    INVARIANT(len < sizeof(plan->notes) && (len == 0 || plan->notes[len - 1] == '\n'));
    check_ids(plan);
    check_one_node(plan, plan->apic.die_shift);
    check_caches(spec, plan);
    check_nodes(spec, plan);
    check_matrices(spec, plan);
    check_placement(plan, host);
}

#endif
