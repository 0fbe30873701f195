/* SPDX-License-Identifier: Apache-2.0 */
/* What a description says about its nodes' memory, judged and put together. Private to
 * vmm/topology. */
#ifndef VMM_TOPOLOGY_GUEST_MEMORY_CHECK_H
#define VMM_TOPOLOGY_GUEST_MEMORY_CHECK_H

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_shape.h"
#include "vmm/topology/guest_spec.h"

/* What holds for one node: its own words, else the guest's. */
struct guest_node_memory {
    enum guest_policy policy;
    const struct guest_pages *pages;
    const struct guest_weights *weights; /* NULL: none */
    bool reserve, prealloc;
};

/** guest_node_memory() - of node @i. */
struct guest_node_memory guest_node_memory(const struct guest_spec *spec, uint32_t i);

/** guest_memory_check() - refuse what contradicts itself or has no effect, as far as that can be
 *  told without the host. Return: 0 or -EINVAL. */
int guest_memory_check(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec);

#endif
