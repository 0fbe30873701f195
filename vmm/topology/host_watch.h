/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What changes on a host while machines run on it: CPUs that are online and how fast they may go,
 * how busy each node is and how long tasks wait there, free memory, pressure.
 *
 * All files are opened once, before a sandbox closes around the process, and read again from their
 * beginning each time: reading needs pread(2) and nothing else. A file that is not there, or goes
 * away with its CPU, leaves its values at what they are without it.
 *
 * Heat is judged by the clock that the kernel allows (see host_cpus.c), of some CPUs of each node,
 * since every file is a descriptor.
 *
 * A watch is used by one thread at a time.
 */
#ifndef VMM_TOPOLOGY_HOST_WATCH_H
#define VMM_TOPOLOGY_HOST_WATCH_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/topology/host_limits.h"
#include "vmm/topology/topo_plan.h"

struct host_watch;

struct host_watch_node {
    uint32_t capacity_milli; /* of its CPUs that are online, less what heat takes */
    uint64_t busy_ns;        /* CPU time that was used there since the first reading, by whomever */
    uint64_t wait_ns;        /* that tasks have waited for it, ever; 0 where that is not counted */
    uint64_t mem_bytes;
    uint64_t free_bytes; /* file cache included, which makes way */
};

struct host_reading {
    struct idset online;               /* CPUs; empty: not known */
    struct host_pressure cpu, memory;  /* of the whole machine */
    size_t n_nodes;
    struct host_watch_node *nodes; /* in the order of the hosts given; owned */
};

/**
 * host_watch_new() - open the files of @n host nodes.
 * @kernel_root: "" for this machine, or the folder of an archived tree.
 * @hosts: their CPUs are those that count; not kept.
 * Return: 0 or -ENOMEM. Files that are missing are no failure.
 */
int host_watch_new(const char *kernel_root, const struct topo_plan_host *hosts, size_t n,
                   struct host_watch **ret_watch, struct errctx *ec);
void host_watch_free(struct host_watch *watch);

/** host_watch_read() - now, which is @now_ns of a clock that only grows. @ret: made new; release with host_reading_fini(). Return: 0, -ENOMEM. */
int host_watch_read(struct host_watch *watch, uint64_t now_ns, struct host_reading *ret,
                    struct errctx *ec);
void host_reading_fini(struct host_reading *reading);

#endif
