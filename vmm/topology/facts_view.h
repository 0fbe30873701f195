/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest sees of its CPUs and nodes at one moment, from its facts (facts.h); what it should
 * see after a change; and the first difference. Pure; any thread.
 */
#ifndef VMM_TOPOLOGY_FACTS_VIEW_H
#define VMM_TOPOLOGY_FACTS_VIEW_H

#include "vmm/base/idset.h"
#include "vmm/topology/facts.h"
#include "vmm/topology/guest_spec.h"

struct facts_view_node {
    struct idset cpus;   /* that are online */
    uint64_t memory_kib; /* 0 where the node is not online */
};

struct facts_view {
    struct idset nodes, cpus; /* that are online */
    struct idset initiators;  /* nodes that stay without memory and CPUs: generic initiators */
    struct facts_view_node node[GUEST_MAX_VNODES];
};

/** facts_view_of() - the part of @facts that a view has. @ret_view: untouched on failure.
 *  Return: 0; -EINVAL (something is missing or makes no sense, with a sentence); -ENOMEM. */
int facts_view_of(const struct facts *facts, struct facts_view *ret_view, struct errctx *ec);

/** facts_view_node_of() - the node that has @cpu, or UINT32_MAX. */
uint32_t facts_view_node_of(const struct facts_view *view, uint32_t cpu);

/** facts_view_set_cpu() - @cpu comes online on @node (below GUEST_MAX_VNODES), or goes. */
void facts_view_set_cpu(struct facts_view *view, uint32_t cpu, uint32_t node, bool online);

/** facts_view_add_memory() - @node (below GUEST_MAX_VNODES) has @kib more, or less where @less, and
 *  is online as long as it has memory or CPUs, or a generic initiator. */
void facts_view_add_memory(struct facts_view *view, uint32_t node, uint64_t kib, bool less);

/** facts_view_differ() - the first difference as a sentence in @buf; false: there is none. */
bool facts_view_differ(const struct facts_view *expected, const struct facts_view *seen, char *buf,
                       size_t size);

#endif
