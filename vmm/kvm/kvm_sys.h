/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system-wide face of KVM: /dev/kvm itself. Together with kvm_vm.h, kvm_vcpu.h and
 * kvm_stats.h the only place that issues KVM ioctls (Documentation/virt/kvm/api.rst).
 */
#ifndef VMM_KVM_KVM_SYS_H
#define VMM_KVM_KVM_SYS_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct kvm_sys {
    int fd; /* /dev/kvm; -1 when closed */
    size_t run_bytes; /* size of a vCPU's shared page area */
};

/** kvm_sys_open() - @path is "/dev/kvm". Return: 0; -ENOENT, -EACCES or another errno of open;
 *  -ENOSYS when it is another device or the API version is not 12. */
int kvm_sys_open(const char *path, struct kvm_sys *ret_sys, struct errctx *ec);
void kvm_sys_close(struct kvm_sys *sys);

/** kvm_sys_check() - value of KVM_CHECK_EXTENSION, 0 when absent. */
int kvm_sys_check(const struct kvm_sys *sys, unsigned cap);

#endif
