/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/numa_policy.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

int numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                     struct errctx *ec)
{
    char list[128];
    /* The kernel counts maxnode one too high (mbind(2), Bugs), hence the extra bit. */
    unsigned long maxnode = (unsigned long)host_nodes->n_words * 64 + 1;

    _Static_assert(sizeof(unsigned long) == sizeof(host_nodes->word[0]),
                   "the mask is passed to the kernel as it is");
    if (syscall(SYS_mbind, addr, len_bytes, MPOL_BIND, host_nodes->word, maxnode, 0) < 0)
        return errctx_set_os(ec, errno, "bind to host node %s: mbind",
                             idset_format(host_nodes, list, sizeof(list)));
    return 0;
}

int numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec)
{
    int node;

    if (syscall(SYS_get_mempolicy, &node, NULL, 0ul, addr, MPOL_F_NODE | MPOL_F_ADDR) < 0)
        return errctx_set_os(ec, errno, "ask where a page lies: get_mempolicy");
    *ret_node = (struct hnode_id){ (uint32_t)node };
    return 0;
}
