/* SPDX-License-Identifier: Apache-2.0 */
#include "memory/numa_policy.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel counts maxnode one too high (mbind(2), Bugs), hence the extra bit. */
static unsigned long max_node(const struct idset *nodes)
{
    _Static_assert(sizeof(unsigned long) == sizeof(nodes->word[0]),
                   "the mask is passed to the kernel as it is");
    return (unsigned long)nodes->n_words * 64 + 1;
}

static int kernel_mode(enum guest_policy policy)
{
    switch (policy) {
    case GUEST_POLICY_BIND:
        return MPOL_BIND;
    case GUEST_POLICY_PREFERRED:
        return MPOL_PREFERRED_MANY;
    case GUEST_POLICY_INTERLEAVE:
        return MPOL_INTERLEAVE;
    default:
        return MPOL_LOCAL;
    }
}

static struct idset lowest(const struct idset *nodes)
{
    struct idset one = { 0 };

    idset_add(&one, idset_next(nodes, 0));
    return one;
}

static const char *verb(enum guest_policy policy)
{
    return policy == GUEST_POLICY_BIND ? "bind to" : guest_policy_words[policy];
}

int numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                      const struct idset *host_nodes, struct errctx *ec)
{
    const int mode = kernel_mode(policy);
    char list[128];

    if (mode == MPOL_LOCAL) {
        if (syscall(SYS_mbind, addr, len_bytes, mode, NULL, 0ul, 0) < 0)
            return errctx_set_os(ec, errno, "local memory: mbind");
        return 0;
    }
    if (syscall(SYS_mbind, addr, len_bytes, mode, host_nodes->word, max_node(host_nodes), 0) == 0)
        return 0;
    if (mode == MPOL_PREFERRED_MANY && errno == EINVAL) {
        const struct idset one = lowest(host_nodes);

        if (syscall(SYS_mbind, addr, len_bytes, MPOL_PREFERRED, one.word, max_node(&one), 0) == 0)
            return 0;
    }
    return errctx_set_os(ec, errno, "%s host node %s: mbind", verb(policy),
                         idset_format(host_nodes, list, sizeof(list)));
}

bool numa_policy_can_prefer_many(void)
{
    struct idset nodes = { 0 };

    idset_add(&nodes, 0);
    return syscall(SYS_mbind, NULL, 0ul, MPOL_PREFERRED_MANY, nodes.word, max_node(&nodes), 0) == 0;
}

int numa_policy_allowed(struct errctx *ec)
{
    if (syscall(SYS_mbind, NULL, 0ul, MPOL_DEFAULT, NULL, 0ul, 0) < 0)
        return errctx_set_os(ec, errno, "mbind");
    /* A policy that there is not: whoever may set one hears of that, and keeps what it has. */
    if (syscall(SYS_set_mempolicy, -1, NULL, 0ul) < 0 && errno != EINVAL)
        return errctx_set_os(ec, errno, "set_mempolicy");
    if (syscall(SYS_move_pages, 0, 0ul, NULL, NULL, NULL, 0) < 0)
        return errctx_set_os(ec, errno, "move_pages");
    return 0;
}

int numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                     struct errctx *ec)
{
    return numa_policy_apply(addr, len_bytes, GUEST_POLICY_BIND, host_nodes, ec);
}

int numa_policy_keep(void *addr, size_t len_bytes, struct errctx *ec)
{
    struct idset nodes = { .n_words = IDSET_WORDS };
    int mode = MPOL_DEFAULT;

    if (syscall(SYS_get_mempolicy, &mode, nodes.word, (unsigned long)IDSET_MAX, NULL, 0ul) < 0)
        return errctx_set_os(ec, errno, "get_mempolicy");
    if (mode == MPOL_DEFAULT || mode == MPOL_LOCAL)
        return numa_policy_apply(addr, len_bytes, GUEST_POLICY_LOCAL, &nodes, ec);
    if (syscall(SYS_mbind, addr, len_bytes, mode, nodes.word, max_node(&nodes), 0) < 0)
        return errctx_set_os(ec, errno, "memory as this process has it: mbind");
    return 0;
}

int numa_policy_prefer(const struct idset *host_nodes, struct errctx *ec)
{
    const unsigned long max = max_node(host_nodes);
    char list[128];

    if (syscall(SYS_set_mempolicy, MPOL_PREFERRED_MANY, host_nodes->word, max) == 0)
        return 0;
    if (errno == EINVAL) {
        const struct idset one = lowest(host_nodes);

        if (syscall(SYS_set_mempolicy, MPOL_PREFERRED, one.word, max_node(&one)) == 0)
            return 0;
    }
    return errctx_set_os(ec, errno, "prefer host node %s: set_mempolicy",
                         idset_format(host_nodes, list, sizeof(list)));
}

int numa_policy_locate(void **pages, size_t n, int *ret_nodes, struct errctx *ec)
{
    if (syscall(SYS_move_pages, 0, n, pages, NULL, ret_nodes, 0) < 0)
        return errctx_set_os(ec, errno, "ask where pages are: move_pages");
    return 0;
}

int numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes, struct errctx *ec)
{
    int *const targets = nodes + n;
    long left;

    for (size_t i = 0; i < n; i++) {
        nodes[i] = -EBUSY; /* the kernel says nothing about what it did not come to */
        targets[i] = (int)to.v;
    }
    left = syscall(SYS_move_pages, 0, n, pages, targets, nodes, MPOL_MF_MOVE);
    if (left >= 0 || errno == ENOENT) /* some are in use, or are there already */
        return 0;
    return errctx_set_os(ec, errno, "move pages to host node %u: move_pages", to.v);
}

int numa_policy_drag(void *addr, size_t len_bytes, struct hnode_id to, struct errctx *ec)
{
    struct idset was = { .n_words = IDSET_WORDS }, target = { 0 };
    int mode, r;

    if (syscall(SYS_get_mempolicy, &mode, was.word, (unsigned long)IDSET_MAX, addr, MPOL_F_ADDR) <
        0)
        return errctx_set_os(ec, errno, "ask for a policy: get_mempolicy");
    idset_add(&target, to.v);
    r = syscall(SYS_mbind, addr, len_bytes, MPOL_BIND, target.word, max_node(&target),
                MPOL_MF_MOVE | MPOL_MF_STRICT) == 0
            ? 0
            : errctx_set_os(ec, errno, "move pages to host node %u: mbind", to.v);
    if (syscall(SYS_mbind, addr, len_bytes, mode, was.word, max_node(&was), 0) < 0)
        return errctx_set_os(ec, errno, "the policy that was: mbind");
    return r;
}

int numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec)
{
    int node;

    if (syscall(SYS_get_mempolicy, &node, NULL, 0ul, addr, MPOL_F_NODE | MPOL_F_ADDR) < 0)
        return errctx_set_os(ec, errno, "ask where a page lies: get_mempolicy");
    *ret_node = (struct hnode_id){ (uint32_t)node };
    return 0;
}
