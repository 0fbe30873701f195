/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is the guest within what this process is confined to? The kernel would kill the machine for
 * memory beyond the limit, long after the guest started; so it is said before. Pure.
 */
#include "vmm/topology/plan_parts.h"

#include <errno.h>
#include <inttypes.h>

#include "vmm/base/units.h"

static int check_memory(const struct host_limits *l, uint64_t ram, struct errctx *ec)
{
    char want[32], max[32];

    if (ram <= l->memory_max_bytes)
        return 0;
    return errctx_set(ec, ENOSPC,
                      "the guest has %s of memory, but the cgroup %s allows %s (memory.max): raise "
                      "the limit or make the guest smaller",
                      units_format_human(ram, want, sizeof(want)), l->memory_cgroup,
                      units_format_human(l->memory_max_bytes, max, sizeof(max)));
}

/* A host whose source tells no memory has any amount. */
static void note_beyond_host(const struct host_topo *host, uint64_t ram, struct topo_plan *plan)
{
    char want[32], have[32];
    uint64_t total = 0;

    for (size_t i = 0; i < host->n_nodes; i++)
        total += host->nodes[i].mem_bytes;
    if (total > 0 && ram > total)
        plan_worse(plan, "The guest's %s are more than this host has, %s.",
                  units_format_human(ram, want, sizeof(want)),
                  units_format_human(total, have, sizeof(have)));
}

int plan_limits_check(const struct host_topo *host, struct topo_plan *plan, struct errctx *ec)
{
    const struct host_limits *l = &host->limits;
    char want[32], left[32], list[128];
    uint64_t ram = 0;
    int r;

    for (size_t i = 0; i < plan->n_nodes; i++)
        ram += plan->nodes[i].ram_bytes;
    note_beyond_host(host, ram, plan);
    if (l->has_memory) {
        r = check_memory(l, ram, ec);
        if (r < 0)
            return r;
        if (ram > l->memory_left_bytes)
            plan_worse(plan, "The guest's %s do not fit in the %s that the cgroup %s has left.",
                      units_format_human(ram, want, sizeof(want)),
                      l->memory_left_bytes > 0
                          ? units_format_human(l->memory_left_bytes, left, sizeof(left))
                          : "nothing",
                      l->memory_left_cgroup);
    }
    if (l->has_cpu && plan->n_vcpus * 1000 > l->cpu_milli)
        plan_note(plan, "The cgroup %s gives the %zu vCPUs the time of %" PRIu64 ".%02" PRIu64
                        " CPUs (cpu.max).",
                  l->cpu_cgroup, plan->n_vcpus, l->cpu_milli / 1000, l->cpu_milli % 1000 / 10);
    if (l->has_cpus && plan->n_vcpus > host->n_cpus)
        plan_note(plan, "%zu vCPUs share the CPUs that the cgroup %s allows, %s.", plan->n_vcpus,
                  l->cpus_cgroup, idset_format(&l->cpus, list, sizeof(list)));
    return 0;
}
