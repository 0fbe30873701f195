/* SPDX-License-Identifier: Apache-2.0 */
/* Which hardware a measurement belongs to. */
#ifndef VMM_TOPOLOGY_HOST_FINGERPRINT_H
#define VMM_TOPOLOGY_HOST_FINGERPRINT_H

enum { HOST_FINGERPRINT_BYTES = 17 }; /* 16 hexadecimal digits */

/**
 * host_fingerprint() - a hash of what makes memory near or far: mainboard and firmware version,
 * processor model, nodes, distances, and which nodes have CPUs. CPUs that go offline, free memory
 * and the cgroup we are in leave it as it is.
 * @kernel_root: as for host_topo_discover().
 * Not secret and not proof against malice: it only keeps a folder that is shared between machines
 * from mixing them up.
 */
void host_fingerprint(const char *kernel_root, char ret[static HOST_FINGERPRINT_BYTES]);

#endif
