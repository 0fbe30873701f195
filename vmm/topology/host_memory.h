/* SPDX-License-Identifier: Apache-2.0 */
/* Free memory and huge pages per host node, from the kernel's files. Private to vmm/topology. */
#ifndef VMM_TOPOLOGY_HOST_MEMORY_H
#define VMM_TOPOLOGY_HOST_MEMORY_H

#include "vmm/topology/host_topo.h"

/**
 * host_memory_read() - fill mem_free_bytes and the page pools of every node.
 * @kernel_root: as for host_topo_discover().
 * What cannot be read stays as it was: a snapshot without free memory is still a snapshot.
 */
void host_memory_read(const char *kernel_root, struct host_topo *host);

/** host_meminfo_parse() - the text of a node's meminfo: all memory, and what is free or file cache.
 *  A value that is not in it is 0. Pure. */
void host_meminfo_parse(const char *text, uint64_t *ret_all_bytes, uint64_t *ret_free_bytes);

/** host_meminfo_tables() - the second-level page tables in the text of a node's meminfo. False, and
 *  nothing is changed, where the kernel is too old to say. Pure. */
bool host_meminfo_tables(const char *text, uint64_t *ret_bytes);

#endif
