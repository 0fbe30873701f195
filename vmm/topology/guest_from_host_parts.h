/* SPDX-License-Identifier: Apache-2.0 */
/* The steps of guest_from_host(), one file each. Private to vmm/topology. */
#ifndef VMM_TOPOLOGY_GUEST_FROM_HOST_PARTS_H
#define VMM_TOPOLOGY_GUEST_FROM_HOST_PARTS_H

#include "vmm/topology/guest_from_host.h"

/* A host CPU, and where it sorts: the guest's CPUs are in this order. */
struct from_host_cpu {
    uint32_t socket_rank; /* package of its node's first CPU, so that sockets stay together */
    uint32_t node;        /* guest's number */
    const struct host_cpu *cpu;
};

struct from_host {
    const struct host_topo *host;
    struct guest_spec *spec;
    struct topo_notes *notes;
    int node_of[GUEST_MAX_VNODES]; /* by the host's index; -1: left out */
    struct from_host_cpu *cpus;    /* host->n_cpus of them */
    uint32_t max_die_cores;
};

/** from_host_shape() - threads, cores, dies and sockets, from the sorted CPUs. -ENOMEM. */
int from_host_shape(struct from_host *f, struct errctx *ec);

/** from_host_caches() - sizes and sharing; needs the shape. -ENOMEM. */
int from_host_caches(struct from_host *f, struct errctx *ec);

/** from_host_distances() - distances, latencies, bandwidths. -ENOMEM. */
int from_host_distances(struct from_host *f, struct errctx *ec);

#endif
