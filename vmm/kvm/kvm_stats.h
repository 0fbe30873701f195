/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's own counters through KVM_GET_STATS_FD: exits, emulated instructions, TLB flushes. */
#ifndef VMM_KVM_KVM_STATS_H
#define VMM_KVM_KVM_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

/** kvm_stats_open() - @kvm_fd is a VM's or a vCPU's descriptor. Return: descriptor owned by the
 *  caller, -ENOSYS on a kernel without it, or an errno. */
int kvm_stats_open(int kvm_fd, struct errctx *ec);

/** kvm_stats_each() - call @cb for each scalar counter of the descriptor. Return: 0 or -EIO. */
int kvm_stats_each(int stats_fd, void (*cb)(void *ctx, const char *name, uint64_t value),
                   void *ctx, struct errctx *ec);

/** kvm_stats_get() - one counter by name; 0 when there is none of that name. */
uint64_t kvm_stats_get(int stats_fd, const char *name);

#endif
