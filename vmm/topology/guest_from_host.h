/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine as read (struct host_topo) turned into the description of a guest that looks like it:
 * its nodes, CPUs, memory, sockets, dies, caches, distances, and what is known of latencies and
 * bandwidths. docs/topology-language.md has the rules. Pure.
 */
#ifndef VMM_TOPOLOGY_GUEST_FROM_HOST_H
#define VMM_TOPOLOGY_GUEST_FROM_HOST_H

#include "vmm/base/errctx.h"
#include "vmm/topology/guest_spec.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_notes.h"

/**
 * guest_from_host() - describe a guest like @host.
 * @ret_spec: receives a description that topo_plan_make() accepts; guest_spec_fini() it.
 *            Untouched on failure.
 * @notes:    what of the machine could not be kept is appended.
 *
 * Return: 0, -E2BIG (more nodes or CPUs than a guest can have), -EINVAL (no such guest can be
 * made), -ENOMEM.
 */
int guest_from_host(const struct host_topo *host, struct guest_spec *ret_spec,
                    struct topo_notes *notes, struct errctx *ec);

#endif
