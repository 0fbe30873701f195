/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which CPUs are online, whether SMT is on, and how much each CPU can do now.
 *
 * capacity = what the kernel gives a CPU beside the strongest one, times the clock that is
 * allowed now by the clock that the processor has. Thermal zones, power limits and the firmware
 * lower the allowed clock; a processor that slows itself down without telling the kernel is seen
 * only in its counter of thermal events.
 */
#include "vmm/topology/host_kernel.h"

#include <stdio.h>
#include <string.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/macros.h"

#define CPU "/sys/devices/system/cpu/cpu%u"

static uint32_t lowered(const char *root, uint32_t id, uint32_t full)
{
    uint64_t max, now, bios;

    if (!kernel_file_u64(&max, root, CPU "/cpufreq/cpuinfo_max_freq", id) || max == 0 ||
        max > UINT32_MAX || !kernel_file_u64(&now, root, CPU "/cpufreq/scaling_max_freq", id))
        return full;
    if (kernel_file_u64(&bios, root, CPU "/cpufreq/bios_limit", id))
        now = MIN(now, bios);
    return MAX((uint32_t)(full * MIN(now, max) / max), 1u);
}

static void read_capacity(const char *root, struct host_cpu *c)
{
    uint64_t full;

    if (!kernel_file_u64(&full, root, CPU "/cpu_capacity", c->id.v) || full == 0 ||
        full > HOST_CAPACITY_FULL)
        full = HOST_CAPACITY_FULL;
    c->capacity_full = (uint32_t)full;
    c->capacity = lowered(root, c->id.v, c->capacity_full);
    c->has_throttled = kernel_file_u64(&c->throttled, root,
                                       CPU "/thermal_throttle/core_throttle_count", c->id.v);
}

static void read_online(const char *root, struct host_topo *host)
{
    struct idset present;

    if (!kernel_file_set(&host->cpus_online, root, "/sys/devices/system/cpu/online"))
        return;
    if (!kernel_file_set(&present, root, "/sys/devices/system/cpu/present"))
        return;
    IDSET_FOREACH(id, &present)
        if (!idset_has(&host->cpus_online, id))
            idset_add(&host->cpus_offline, id);
}

void host_cpus_read(const char *kernel_root, struct host_topo *host)
{
    uint64_t active;

    read_online(kernel_root, host);
    (void)kernel_file_set(&host->nodes_online, kernel_root, "/sys/devices/system/node/online");
    host->has_smt = kernel_file_u64(&active, kernel_root, "/sys/devices/system/cpu/smt/active");
    host->smt_active = host->has_smt && active != 0;
    for (size_t i = 0; i < host->n_cpus; i++)
        read_capacity(kernel_root, &host->cpus[i]);
}
