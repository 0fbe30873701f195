/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What measured pairs say of all pairs, and where they contradict the firmware. Pure.
 */
#ifndef VMM_TOPOLOGY_HOST_MEASURED_H
#define VMM_TOPOLOGY_HOST_MEASURED_H

#include "vmm/topology/host_topo.h"

/**
 * host_measured_apply() - fill @host's measured values from samples, of which a copy is kept.
 * @n: more than 0. Samples of nodes that @host does not have are left out.
 *
 * A pair gets its own sample, else the median of its class, else that of its distance.
 * Return: 0; -ENOENT: no sample is of this host's nodes; -ENOMEM. @host is unchanged on failure.
 */
int host_measured_apply(struct host_topo *host, const struct host_sample *samples, size_t n,
                        int64_t measured_at, struct errctx *ec);

enum host_contradiction_kind {
    HOST_CONTRADICTS_ORDER, /* SLIT says nearer, the clock says slower */
    HOST_CONTRADICTS_CLASS, /* unlike the other pairs of its distance and packages */
};

struct host_contradiction {
    enum host_contradiction_kind kind;
    struct host_sample slow;  /* ORDER: the nearer one; CLASS: the one that is unlike the others */
    struct host_sample other; /* ORDER: the farther one; CLASS: latency_ps is the class's median */
    uint32_t slow_distance, other_distance;
    uint32_t percent; /* slow's latency of other's */
};

enum {
    HOST_ORDER_TOLERANCE = 120, /* per cent: noise of a busy machine is below */
    HOST_CLASS_TOLERANCE = 130,
    HOST_CONTRADICTION_BYTES = 256,
};

/**
 * host_measured_judge() - where samples contradict SLIT, worst first.
 * @ret: @max of them are filled; of two distances the worst two pairs stand for all.
 * Return: how many there are, which may be more than @max.
 */
size_t host_measured_judge(const struct host_topo *host, struct host_contradiction *ret,
                           size_t max);

/** host_contradiction_text() - one sentence. */
const char *host_contradiction_text(const struct host_contradiction *c, char *buf, size_t size);

#endif
