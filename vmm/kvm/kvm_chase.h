/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A throw-away VM with one vCPU, whose guest does nothing but chase pointers through a piece of our
 * memory: what such a guest gets done tells what memory costs below this KVM, with all that goes with
 * a fault there (exits, second-level tables, TLBs).
 */
#ifndef VMM_KVM_KVM_CHASE_H
#define VMM_KVM_KVM_CHASE_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"

enum { KVM_CHASE_MAX_BYTES = 16 << 20 };

struct kvm_chase;

/**
 * kvm_chase_new() - the chase reads at @host + x, from x = 0 on, the 64-bit number that is the next x;
 * whoever writes there sees to it that all are below @len_bytes. In user mode, which runs on the
 * processor whatever the KVM, with pages of 4 KiB.
 * @host: whole pages, KVM_CHASE_MAX_BYTES at most; borrowed until kvm_chase_free().
 * Return: 0; -ENOTSUP: not on this architecture; or an errno of KVM's.
 */
int kvm_chase_new(const struct kvm_sys *sys, void *host, size_t len_bytes,
                  struct kvm_chase **ret_chase, struct errctx *ec);
/** kvm_chase_free() - NULL is allowed. Nobody runs it any more. */
void kvm_chase_free(struct kvm_chase *chase);

/** kvm_chase_run() - on one thread, until kvm_chase_stop(). Return: 0; -EIO: the guest ended by
 *  itself; or the errno of KVM_RUN. */
int kvm_chase_run(struct kvm_chase *chase, struct errctx *ec);

/** kvm_chase_steps() - so far; it grows by a few at a time. Any thread. */
uint64_t kvm_chase_steps(const struct kvm_chase *chase);

/** kvm_chase_stop() - soon, without an exit before. For good. Any thread. */
void kvm_chase_stop(struct kvm_chase *chase);

#endif
