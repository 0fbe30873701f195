/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where nodes and vCPUs live: on the host nodes that the description binds them to. A node that
 * is not bound is left to the host's kernel, memory and vCPUs alike. Pure.
 */
#include "vmm/topology/plan_parts.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/topology/guest_memory_check.h"

/* idset_or() for a set known to be empty, without copying the 1 KiB that is not in use. */
static void copy_used(struct idset *dst, const struct idset *src)
{
    dst->n_words = src->n_words;
    memcpy(dst->word, src->word, src->n_words * sizeof(src->word[0]));
}

static uint64_t memory_of(const struct host_topo *host, const struct idset *nodes)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < host->n_nodes; i++)
        if (idset_has(nodes, host->nodes[i].id.v))
            bytes += host->nodes[i].mem_bytes;
    return bytes;
}

static int check_exists(const struct topo_plan_node *n, const struct host_topo *host,
                        struct errctx *ec)
{
    char list[256];
    struct idset have = { 0 };

    for (size_t i = 0; i < host->n_nodes; i++)
        idset_add(&have, host->nodes[i].id.v);
    IDSET_FOREACH(id, &n->host_nodes) {
        if (idset_has(&have, id))
            continue;
        (void)idset_format(&have, list, sizeof(list));
        if (host->limits.has_mems && idset_has(&host->nodes_online, id))
            return errctx_set(ec, ENOENT,
                              "--node %u: host=%u: the cgroup %s keeps this process to host nodes "
                              "%s (cpuset.mems)",
                              n->vnode.v, id, host->limits.mems_cgroup, list);
        return errctx_set(ec, ENOENT, "--node %u: host=%u: this host has no such node (it has %s)",
                          n->vnode.v, id, list);
    }
    return 0;
}

/* Everything that may only live within this node's host nodes must fit there together. */
static int check_fits(const struct topo_plan *plan, const struct topo_plan_node *n,
                      const struct host_topo *host, struct errctx *ec)
{
    uint64_t have = memory_of(host, &n->host_nodes), want = 0;
    unsigned sharers = 0;
    char list[128], a[32], b[32];

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *o = &plan->nodes[i];

        if (idset_empty(&o->host_nodes) || !idset_subset(&o->host_nodes, &n->host_nodes))
            continue;
        want += o->ram_bytes;
        sharers += o != n && o->ram_bytes > 0;
    }
    if (want <= have)
        return 0;
    (void)idset_format(&n->host_nodes, list, sizeof(list));
    return errctx_set(ec, ENOSPC, "--node %u: host=%s has %s, but %s%s asked of it", n->vnode.v,
                      list, units_format_human(have, a, sizeof(a)),
                      units_format_human(want, b, sizeof(b)),
                      sharers > 0 ? " in several nodes are" : " is");
}

static void pin(struct topo_plan *plan, const struct topo_plan_node *n,
                const struct host_topo *host)
{
    struct idset cpus = { 0 };

    for (size_t i = 0; i < host->n_nodes; i++)
        if (idset_has(&n->host_nodes, host->nodes[i].id.v))
            idset_or(&cpus, &host->nodes[i].cpus);
    if (idset_empty(&cpus) && !idset_empty(&n->cpus))
        plan_note(plan, "Node %u is bound to host nodes without usable CPUs: its vCPUs stay free.",
                  n->vnode.v);
    else if (idset_count(&n->cpus) > idset_count(&cpus))
        plan_note(plan, "Node %u has %u vCPUs on the %u CPUs of its host nodes.", n->vnode.v,
                  idset_count(&n->cpus), idset_count(&cpus));
    IDSET_FOREACH(cpu, &n->cpus)
        copy_used(&plan->vcpus[cpu].host_cpus, &cpus);
}

int plan_place_fill(const struct guest_spec *spec, const struct host_topo *host,
                    struct topo_plan *plan, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; i < spec->n_nodes; i++) {
        plan->nodes[i].host_nodes = spec->nodes[i].host_nodes;
        r = check_exists(&plan->nodes[i], host, ec);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < spec->n_nodes; i++) {
        if (idset_empty(&plan->nodes[i].host_nodes))
            continue;
        /* Where memory may come from elsewhere, plan_memory_fill() sees to it. */
        if (spec->fallback.n == 0 &&
            guest_node_memory(spec, (uint32_t)i).policy != GUEST_POLICY_PREFERRED)
            r = check_fits(plan, &plan->nodes[i], host, ec);
        if (r < 0)
            return r;
        pin(plan, &plan->nodes[i], host);
    }
    return 0;
}
