/* SPDX-License-Identifier: Apache-2.0 */
/* Binding memory to host nodes: the only file that calls mbind(2) and get_mempolicy(2). */
#ifndef MEMORY_NUMA_POLICY_H
#define MEMORY_NUMA_POLICY_H

#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"

/**
 * numa_policy_bind() - allocate [@addr, @addr+@len_bytes) on @host_nodes only (MPOL_BIND).
 *
 * Before the first touch: a page faulted in earlier keeps its place. On a memfd mapping the
 * policy lives in the inode, so it holds for every mapping of it.
 * Return: 0 or the errno of mbind (EINVAL: a node without memory or not allowed to us).
 */
int numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                     struct errctx *ec);

/** numa_policy_where() - the host node that the page at @addr, which must be there, lies on.
 *  Return: 0 or the errno of get_mempolicy. */
int numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec);

#endif
