/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans written down by hand, so that the tables are tested against numbers that no planner
 * chose. Node i has its CPUs behind those of node i-1; an APIC id is the node above the CPU's
 * number within it.
 */
#ifndef FIRMWARE_TEST_PLAN_FIXTURE_H
#define FIRMWARE_TEST_PLAN_FIXTURE_H

#include <stdlib.h>

#include "memory/layout.h"
#include "vmm/base/checked.h"
#include "vmm/topology/topo_plan.h"

struct plan_fixture {
    struct topo_plan plan;
    struct mem_layout *layout;
};

static inline void plan_fixture_init(struct plan_fixture *f, size_t n_nodes, size_t cpus_per_node,
                                     uint64_t ram_bytes)
{
    struct topo_plan *p = &f->plan;
    unsigned shift = ceil_log2(cpus_per_node);

    *f = (struct plan_fixture){ 0 };
    p->n_nodes = n_nodes;
    p->n_vcpus = n_nodes * cpus_per_node;
    p->nodes = calloc(n_nodes, sizeof(p->nodes[0]));
    p->vcpus = calloc(p->n_vcpus, sizeof(p->vcpus[0]));
    p->distances = calloc(n_nodes * n_nodes, sizeof(p->distances[0]));
    for (uint32_t i = 0; i < n_nodes; i++) {
        struct topo_plan_node *n = &p->nodes[i];

        n->vnode.v = i;
        n->ram_bytes = ram_bytes;
        n->initiator.v = i;
        n->has_initiator = true;
        idset_add_range(&n->cpus, i * (uint32_t)cpus_per_node, (uint32_t)cpus_per_node);
        for (uint32_t j = 0; j < n_nodes; j++)
            p->distances[i * n_nodes + j] = i == j ? 10 : 20;
    }
    for (uint32_t c = 0; c < p->n_vcpus; c++) {
        uint32_t node = c / (uint32_t)cpus_per_node;

        p->vcpus[c].id.v = c;
        p->vcpus[c].vnode.v = node;
        p->vcpus[c].apic_id = node << shift | c % (uint32_t)cpus_per_node;
        p->max_apic_id = p->vcpus[c].apic_id;
    }
}

/* Take node @i's CPUs away; they stay with node @to. */
static inline void plan_fixture_move_cpus(struct plan_fixture *f, uint32_t i, uint32_t to)
{
    struct topo_plan *p = &f->plan;

    for (uint32_t c = 0; c < p->n_vcpus; c++)
        if (p->vcpus[c].vnode.v == i)
            p->vcpus[c].vnode.v = to;
    idset_or(&p->nodes[to].cpus, &p->nodes[i].cpus);
    p->nodes[i].cpus = (struct idset){ 0 };
    p->nodes[i].has_initiator = false;
}

/* After the nodes have their final sizes. */
static inline int plan_fixture_layout(struct plan_fixture *f, const struct layout_map *map,
                                      struct errctx *ec)
{
    return mem_layout_make(map, &f->plan, 46, &f->layout, ec);
}

static inline void plan_fixture_fini(struct plan_fixture *f)
{
    mem_layout_free(f->layout);
    free(f->plan.nodes);
    free(f->plan.vcpus);
    free(f->plan.distances);
    free(f->plan.links);
    *f = (struct plan_fixture){ 0 };
}

#endif
