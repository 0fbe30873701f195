/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which I/O thread serves which device, and on which host CPUs the threads beside the vCPUs run.
 *
 * A device sits on a virtual node. Its thread runs where that node's vCPUs are planned, so that
 * queues and buffers are near for both. Pure; run and plan both get it here.
 */
#ifndef VMM_MACHINE_MACHINE_THREADS_H
#define VMM_MACHINE_MACHINE_THREADS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/config/config.h"
#include "vmm/topology/topo_plan.h"

struct machine_thread {
    struct idset host_cpus; /* empty: any */
    struct idset vnodes;    /* of the devices that it serves */
    uint32_t n_devices;     /* 0: the thread does not exist */
    bool reclaims;          /* the one that gives guest memory back; "reclaim", always the last */
};

struct machine_threads {
    struct machine_thread main; /* console, control socket; no devices */
    size_t n_io, n_devices;
    struct machine_thread *io;
    uint32_t *device; /* per device its thread: the virtio console if any, then the described ones */
};

/**
 * machine_threads_plan() - threads for the devices of @config on the guest of @plan.
 *
 * Devices are spread evenly; those of one node share threads as long as every node can have one of
 * its own. A thread runs on all CPUs that its nodes' vCPUs are pinned to, a node without vCPUs
 * counting as its initiator; with dedicated CPUs it runs beside them while their host nodes have
 * others. Where one of its nodes is not pinned it runs anywhere. The main thread serves all nodes.
 * Devices that give memory back (device_type.reclaims) share one more thread, which serves all
 * nodes, too.
 * Return: 0 or -ENOMEM. Release with machine_threads_free().
 */
int machine_threads_plan(const struct machine_config *config, const struct topo_plan *plan,
                         struct machine_threads **ret_threads, struct errctx *ec);
void machine_threads_free(struct machine_threads *threads);

/** machine_threads_json() - a list of {"name", "host_cpus", "nodes", "devices"}; NULL without
 *  memory. "devices" are names as "disk0". */
json_t *machine_threads_json(const struct machine_config *config,
                             const struct machine_threads *threads);

/** machine_threads_cpus() - the host CPUs that the vCPUs of virtual node @vnode, or of its
 *  initiator, are pinned to; empty when one of them runs anywhere. */
void machine_threads_cpus(const struct topo_plan *plan, uint32_t vnode, struct idset *ret_cpus);

enum { MACHINE_DEVICE_NAME = 32, MACHINE_THREAD_NAME = 16 };

/** machine_thread_name() - of io[@i], in @buf: "io0", "reclaim". */
const char *machine_thread_name(const struct machine_threads *threads, uint32_t i, char *buf);

/** machine_device_vnode() - the virtual node that device @i sits on. */
uint32_t machine_device_vnode(const struct machine_config *config, size_t i);

/** machine_device_name() - of device @i in the order of machine_threads.device, in @buf. */
const char *machine_device_name(const struct machine_config *config, size_t i, char *buf);

#endif
