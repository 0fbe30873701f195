/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --vnuma auto: how many equal nodes a guest gets on this host.
 *
 * As few as possible, so that each one fits whole on a host node of its own: by cores and by
 * memory. A guest that fits one host node has one node. See docs/placement.md. Pure.
 */
#ifndef VMM_TOPOLOGY_GUEST_AUTO_H
#define VMM_TOPOLOGY_GUEST_AUTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct guest_spec;
struct host_topo;

/* Which number was chosen, and why. */
struct guest_auto {
    uint32_t nodes;              /* 0: not asked for */
    uint32_t by_cpus, by_memory; /* what either alone asks for; 0: no number would do */
    uint32_t cpus;               /* of the guest: cores, or vCPUs with by_threads */
    uint64_t memory_bytes;       /* of the guest */
    uint32_t host_cpus;          /* the most that a host node has of them */
    uint64_t host_memory_bytes;  /* the most that a host node has, as it was counted */
    bool by_threads; /* cores do not suffice: hardware threads were counted */
    bool by_total;   /* free memory does not suffice: all memory was counted */
    bool too_large;  /* no number of nodes makes it fit: one for each host node */
};

/**
 * guest_auto_resolve() - the description with the number that was left to the host.
 * @spec: with n_vnuma GUEST_VNUMA_AUTO; guest_spec_check() has seen it.
 * @ret_spec: a copy that borrows everything from @spec, with nodes, CPUs and distances said;
 *            release with guest_auto_release() before @spec goes.
 * Return: 0, or as guest_spec_check() where no number of nodes suits the rest of @spec, -ENOMEM.
 */
int guest_auto_resolve(const struct guest_spec *spec, const struct host_topo *host,
                       struct guest_spec *ret_spec, struct guest_auto *ret_why, struct errctx *ec);
void guest_auto_release(struct guest_spec *copy);

enum { GUEST_AUTO_BYTES = 256 };

/** guest_auto_text() - the reason as one sentence, without its option's name. */
const char *guest_auto_text(const struct guest_auto *why, char *buf, size_t size);

#endif
