/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the host's kernel puts pages and where they are: the only file with mbind(2),
 * set_mempolicy(2), get_mempolicy(2) and move_pages(2).
 *
 * On the mapping of a memfd a policy lives in the inode and holds for every mapping of it; on one
 * of huge pages from a pool it belongs to the mapping alone (numa_memory_policy.rst), so there
 * only pages that are touched through this mapping obey.
 */
#ifndef MEMORY_NUMA_POLICY_H
#define MEMORY_NUMA_POLICY_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"
#include "vmm/topology/guest_memory.h"

/**
 * numa_policy_apply() - take memory for [@addr, @addr+@len_bytes) as @policy says.
 * @policy: BIND, PREFERRED, INTERLEAVE (page by page), LOCAL; @host_nodes empty for LOCAL only.
 *
 * Before the first touch: a page faulted in earlier keeps its place. PREFERRED of several nodes
 * needs Linux 5.15; before that the lowest of them is preferred.
 * Return: 0 or the errno of mbind (EINVAL: a node without memory or not allowed to us).
 */
int numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                      const struct idset *host_nodes, struct errctx *ec);

/** numa_policy_can_prefer_many() - does the kernel know PREFERRED of several nodes? Changes
 *  nothing. */
bool numa_policy_can_prefer_many(void);

/**
 * numa_policy_allowed() - may this process bind memory, have threads prefer nodes, and ask where
 * pages are? Containers often forbid it. Changes nothing.
 * Return: 0, or the errno of the first call that is refused (ENOSYS: a kernel without NUMA).
 */
int numa_policy_allowed(struct errctx *ec);

/** numa_policy_bind() - the same for BIND. */
int numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                     struct errctx *ec);

/**
 * numa_policy_keep() - take memory for the range as this process did when it was started, whatever
 * policy the thread has that touches it first. For memory that nobody asked to be bound, where
 * threads are given policies of their own.
 */
int numa_policy_keep(void *addr, size_t len_bytes, struct errctx *ec);

/** numa_policy_prefer() - have what the kernel makes for the calling thread, page tables above all,
 *  come from @host_nodes while they have memory. */
int numa_policy_prefer(const struct idset *host_nodes, struct errctx *ec);

/**
 * numa_policy_locate() - the host node of each page that is mapped at @pages[i] in this process.
 * Touches nothing and moves nothing.
 * @ret_nodes: the node, or a negative errno (-ENOENT, -EFAULT: no page is mapped there).
 * Return: 0 or the errno of move_pages.
 */
int numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec);

/** numa_policy_is_gone() - is that what is said where no page is mapped (any more)? */
static inline bool numa_policy_is_gone(int node)
{
    return node == -ENOENT || node == -EFAULT;
}

/**
 * numa_policy_move() - move the pages that are mapped at @pages[i] to host node @to, as they are: a
 * huge page whole, by any one address in it. Content stays, and who uses a page waits for it.
 * @nodes: room for 2 * @n; where each page is afterwards is to be asked with
 *         numa_policy_locate(), for which this array is good, too.
 * Return: 0, also when pages stayed that were in use; -ENOMEM when @to has no room, where some may
 * have moved; or another errno of move_pages (ENODEV, EACCES: a node without memory, or not ours).
 */
int numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes, struct errctx *ec);

/**
 * numa_policy_drag() - move what is mapped in [@addr, @addr+@len_bytes) to host node @to by
 * mbind(2), and leave the range with the policy that it had, one for all of it.
 *
 * Cheaper than numa_policy_move(), which is told of each page, and works where the mapping is
 * PROT_NONE, as move_pages(2) does not in Linux 6.1 to 6.4; pages that are mapped so need no flush
 * of TLBs when they move. Until Linux 6.7 page faults of the whole process wait meanwhile.
 * Nobody else may touch holes of the range meanwhile: they would be bound to @to.
 * Return: 0: all that are mapped here and nowhere else are there; or an errno of mbind (EIO: some
 * stayed, in use or without room), and some may have moved.
 */
int numa_policy_drag(void *addr, size_t len_bytes, struct hnode_id to, struct errctx *ec);

/** numa_policy_where() - the host node that the page at @addr, which must be there, lies on.
 *  Return: 0 or the errno of get_mempolicy. */
int numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec);

#endif
