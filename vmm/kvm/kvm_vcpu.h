/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One KVM vCPU: making it and entering it. Its registers are in a folder per architecture.
 *
 * All functions but the creation belong to the vCPU's own thread, or to any thread while the
 * vCPU is known to stand still.
 */
#ifndef VMM_KVM_KVM_VCPU_H
#define VMM_KVM_KVM_VCPU_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/kvm/kvm_vm.h"

struct kvm_vcpu {
    int fd;
    struct kvm_run *run; /* shared with the kernel */
    size_t run_bytes;
};

/** kvm_vcpu_create() - @kvm_id becomes the vCPU's KVM id; on x86 that is its initial APIC id. */
int kvm_vcpu_create(const struct kvm_sys *sys, const struct kvm_vm *vm, uint32_t kvm_id,
                    struct kvm_vcpu *ret_vcpu, struct errctx *ec);
void kvm_vcpu_close(struct kvm_vcpu *vcpu);

/** kvm_vcpu_enter() - KVM_RUN. Return: 0 with ->run filled, or a negative errno as it came
 *  (-EINTR when kicked); no sentence, because it is the hottest call we have. */
int kvm_vcpu_enter(const struct kvm_vcpu *vcpu);

#endif
