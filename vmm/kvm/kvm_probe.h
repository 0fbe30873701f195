/* SPDX-License-Identifier: Apache-2.0 */
/* What kind of KVM this is, found out by running a few instructions under it. */
#ifndef VMM_KVM_KVM_PROBE_H
#define VMM_KVM_KVM_PROBE_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"

/**
 * kvm_probe_kernel_code() - does guest kernel code run on the processor, or in KVM's emulator?
 *
 * Runs a loop of 1024 rounds in ring 0 of a throw-away VM and asks KVM's own counter how many
 * instructions it emulated; no clock is involved. A KVM without SVM or VT-x below it emulates
 * them all: bare-metal tests work there, an operating system is too slow to come up.
 * @ret_native: true when the processor ran them.
 * Return: 0; -ENOSYS when the kernel has no such counter (before Linux 5.14); -EIO when the loop
 * did not come to its end; or an errno.
 */
int kvm_probe_kernel_code(const struct kvm_sys *sys, bool *ret_native, struct errctx *ec);

#endif
