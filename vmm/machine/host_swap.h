/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swapping by the host's kernel, which knows nothing of the pager: what it swaps out is neither counted
 * nor near its node when it comes back. Any thread; each call looks anew.
 */
#ifndef VMM_MACHINE_HOST_SWAP_H
#define VMM_MACHINE_HOST_SWAP_H

#include "vmm/base/errctx.h"

enum host_swap {
    HOST_SWAP_NONE,    /* the host has none */
    HOST_SWAP_OFF,     /* our cgroup, or one above it, may have none (memory.swap.max) */
    HOST_SWAP_REACHES, /* memory of this process may be swapped out */
};

/** host_swap_look() - from /proc/swaps and the cgroups (version 2) that we are in.
 *  @kernel_root: "", or where an archived tree of /sys and /proc is. */
enum host_swap host_swap_look(const char *kernel_root);

/** host_swap_forbid() - let nothing be swapped out of the cgroup in folder @dir, which may get the
 *  memory controller from its parent for it. Counts for memory that its processes take from then on.
 *  Return: 0, or the errno of the call with a sentence. */
int host_swap_forbid(const char *dir, struct errctx *ec);

#endif
