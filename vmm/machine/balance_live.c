/* SPDX-License-Identifier: Apache-2.0 */
/* See balance_live.h. */
#include "vmm/machine/balance_live.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

enum {
    CPU_MILLI = 1000,
    STRAY_PART = 64, /* less of a node's memory elsewhere is none */
    PLAN_LOCAL = 10, /* the plan's distances */
    SCALE = BALANCE_LOCAL / PLAN_LOCAL,
    UNKNOWN_FAR = 20, /* between host nodes of which nothing is known */
};

/* @part of @whole, in milli-CPUs over @passed_ns. */
static uint64_t rate(uint64_t used_ns, uint64_t passed_ns)
{
    return (uint64_t)((__uint128_t)used_ns * CPU_MILLI / passed_ns);
}

static uint64_t grown(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

/* CPU time of one host node: ours on it, all of it, and what was waited for. */
static void fill_loads(const struct balance_live *l, uint32_t host, struct balance_line *line)
{
    const struct host_watch_node *now = &l->now->nodes[host], *before = &l->before->nodes[host];
    const uint64_t waited = grown(now->wait_ns, before->wait_ns);
    uint64_t busy = grown(now->busy_ns, before->busy_ns), ours = 0, wanted;

    for (uint32_t i = 0; i < line->snap.n_vnodes; i++)
        ours += l->vnodes[i].runs == host ? l->vnodes[i].used_ns : 0;
    busy = MAX(busy, ours); /* that of /proc/stat comes in ticks */
    for (uint32_t i = 0; i < line->snap.n_vnodes && busy > 0; i++) {
        const uint64_t used = l->vnodes[i].used_ns;

        if (l->vnodes[i].runs != host)
            continue;
        wanted = used + (uint64_t)((__uint128_t)waited * used / busy);
        line->vnodes[i].demand_milli =
            (uint32_t)MIN(rate(wanted, l->passed_ns), (uint64_t)BALANCE_MAX_MILLI);
    }
    wanted = busy > 0 ? busy - ours + (uint64_t)((__uint128_t)waited * (busy - ours) / busy) : 0;
    line->nodes[host] = (struct balance_node){
        .capacity_milli = MIN(now->capacity_milli, (uint32_t)BALANCE_MAX_NODE_MILLI),
        .others_milli =
            (uint32_t)MIN(rate(wanted, l->passed_ns), (uint64_t)BALANCE_MAX_NODE_MILLI),
        .mem_bytes = MIN(now->mem_bytes, BALANCE_MAX_BYTES),
        .free_bytes = MIN(MIN(now->free_bytes, now->mem_bytes), BALANCE_MAX_BYTES),
    };
}

static void fill_memory(const struct balance_live *l, uint32_t vnode, struct balance_line *line)
{
    const uint32_t n = line->snap.n_nodes, home = line->vnodes[vnode].home;
    uint64_t *at = &line->at[(size_t)vnode * n];
    uint64_t all = 0;

    for (uint32_t h = 0; h < n; h++) {
        at[h] = l->at_bytes[(size_t)vnode * n + h];
        all += at[h];
    }
    if (all - at[home] < all / STRAY_PART) {
        for (uint32_t h = 0; h < n; h++)
            at[h] = 0;
        at[home] = all;
    }
    for (uint32_t h = 0; h < n; h++) /* counted at another moment than the host's memory */
        at[h] = MIN(at[h], line->nodes[h].mem_bytes);
}

int balance_live_make(const struct balance_live *l, struct balance_line *ret_line,
                      struct errctx *ec)
{
    const struct topo_plan *plan = l->plan;
    const size_t n = plan->n_hosts, v = plan->n_nodes;
    struct balance_line line;
    int r = balance_line_init(&line, n, v, ec);

    if (r < 0)
        return r;
    line.snap.time_ns = l->time_ns;
    line.snap.stall = MIN(l->now->memory.full.avg10, (uint32_t)BALANCE_STALL_ALL);
    for (size_t i = 0; i < n * n; i++) {
        uint32_t d = plan->host_distances[i];

        d = d >= PLAN_LOCAL ? d : i / n == i % n ? (uint32_t)PLAN_LOCAL : (uint32_t)UNKNOWN_FAR;
        line.distances[i] = MIN(d, (uint32_t)(BALANCE_MAX_DISTANCE / SCALE)) * SCALE;
    }
    /* 0: nothing was promised, since one of them is nowhere (a device's node, a window). */
    for (size_t i = 0; i < v * v; i++)
        if (!l->vnodes[i / v].nowhere && !l->vnodes[i % v].nowhere)
            line.told[i] = plan->distances[i];
    for (uint32_t i = 0; i < v; i++) {
        line.vnodes[i].home = l->vnodes[i].home;
        line.vnodes[i].fixed = l->vnodes[i].fixed;
    }
    for (uint32_t h = 0; h < n; h++)
        fill_loads(l, h, &line);
    for (uint32_t i = 0; i < v; i++)
        fill_memory(l, i, &line);
    r = balance_check(&line.snap, ec);
    if (r < 0)
        balance_line_fini(&line);
    else
        *ret_line = line;
    return r;
}

int balance_live_home(const struct topo_plan *plan, const struct idset *nodes,
                      const struct idset *cpus)
{
    int home = -1;

    for (size_t h = 0; h < plan->n_hosts; h++) {
        struct idset here = *cpus;

        idset_and(&here, &plan->hosts[h].cpus);
        if (idset_count(nodes) == 1 && idset_has(nodes, plan->hosts[h].id.v))
            return (int)h;
        if (!idset_empty(cpus) && idset_equal(&here, cpus))
            home = (int)h;
    }
    return home;
}

/* Those of @cpus that are online, if any is. */
static bool take_online(const struct idset *cpus, const struct idset *online, struct idset *ret)
{
    *ret = *cpus;
    if (!idset_empty(online))
        idset_and(ret, online);
    return !idset_empty(ret);
}

void balance_live_cpus(const struct topo_plan *plan, const struct idset *cpus, uint32_t home,
                       const struct idset *online, struct idset *ret_cpus)
{
    const size_t n = plan->n_hosts;
    uint32_t least = UINT32_MAX;
    struct idset there;

    if (take_online(cpus, online, ret_cpus) ||
        take_online(&plan->hosts[home].cpus, online, ret_cpus))
        return;
    for (size_t h = 0; h < n; h++) {
        const uint32_t d = plan->host_distances[(size_t)home * n + h];

        if (d < least && take_online(&plan->hosts[h].cpus, online, &there)) {
            least = d;
            *ret_cpus = there;
        }
    }
}
