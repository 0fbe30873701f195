/* SPDX-License-Identifier: Apache-2.0 */
/* A plan of which only the nodes' memory matters; storage inside, nothing to release. */
#ifndef MEMORY_TEST_PLAN_RAM_H
#define MEMORY_TEST_PLAN_RAM_H

#include <string.h>

#include "vmm/topology/topo_plan.h"

struct plan_ram {
    struct topo_plan plan;
    struct topo_plan_node nodes[128];
};

static inline void plan_ram_init(struct plan_ram *p, size_t n_nodes, const uint64_t *ram_bytes)
{
    memset(p, 0, sizeof(*p));
    p->plan.nodes = p->nodes;
    p->plan.n_nodes = n_nodes;
    for (uint32_t i = 0; i < n_nodes; i++) {
        p->nodes[i].vnode.v = i;
        p->nodes[i].ram_bytes = ram_bytes[i];
    }
}

#endif
