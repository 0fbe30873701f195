/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the process is confined to, and how pressed its host and its cgroup are: cgroup v2, from
 * the process's own group up to the root, and PSI. A limit of version 1 is not read, but hwloc
 * keeps to its cpusets.
 */
#ifndef VMM_TOPOLOGY_HOST_LIMITS_H
#define VMM_TOPOLOGY_HOST_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/idset.h"

enum { HOST_CGROUP_NAME_MAX = 192 };

/* Pools of huge pages that a cgroup limits: hugetlb.2MB.max and so on. */
enum host_pool_size { HOST_POOL_2M, HOST_POOL_1G, HOST_POOLS };

struct host_pool_limit {
    bool has;
    uint64_t left_bytes; /* smallest of max - current, for what is taken and what is reserved */
    char cgroup[HOST_CGROUP_NAME_MAX];
};

/* Every limit names the group that sets it, by its path below the root of all groups. */
struct host_limits {
    char cgroup[HOST_CGROUP_NAME_MAX]; /* our own group; "": no cgroup v2 */

    bool has_memory; /* memory.max of a group above us, the smallest */
    uint64_t memory_max_bytes;
    char memory_cgroup[HOST_CGROUP_NAME_MAX];
    uint64_t memory_left_bytes; /* smallest of memory.max - memory.current, 0 when above it */
    char memory_left_cgroup[HOST_CGROUP_NAME_MAX];

    struct host_pool_limit pool[HOST_POOLS];

    bool has_cpu; /* cpu.max, the smallest share */
    uint64_t cpu_milli; /* CPU time per time, in thousandths of a CPU */
    char cpu_cgroup[HOST_CGROUP_NAME_MAX];

    bool has_cpus; /* fewer than are online */
    struct idset cpus;
    char cpus_cgroup[HOST_CGROUP_NAME_MAX]; /* the outermost group with the same set */

    bool has_mems; /* fewer nodes than are online */
    struct idset mems;
    char mems_cgroup[HOST_CGROUP_NAME_MAX];
};

/* One line of PSI: the share of time in which tasks waited, in hundredths of a per cent. */
struct host_stall {
    uint32_t avg10, avg60, avg300;
};

struct host_pressure {
    bool has;
    struct host_stall some, full; /* some tasks waited; all of them did */
};

/** host_cgroup_dir() - the folder of our own cgroup (version 2) in @buf, without @kernel_root.
 *  @ret_top: length of the mount point, above which nothing is. False where there is none. */
bool host_cgroup_dir(const char *kernel_root, char *buf, size_t size, size_t *ret_top);

#endif
