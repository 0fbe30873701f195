/* SPDX-License-Identifier: Apache-2.0 */
/* An arm64 vCPU's registers as KVM keeps them. For whom and when: see kvm_vcpu.h. */
#ifndef VMM_KVM_ARM64_KVM_VCPU_ARM64_H
#define VMM_KVM_ARM64_KVM_VCPU_ARM64_H

#include "vmm/kvm/kvm_vcpu.h"

/**
 * kvm_vcpu_arm64_init() - power-on state: registers, and PSCI for starting others.
 * @off: wait until another one starts it.
 * Again and again at each reset; the first time before anything else.
 */
int kvm_vcpu_arm64_init(const struct kvm_vm *vm, const struct kvm_vcpu *vcpu, bool off,
                        struct errctx *ec);

/** kvm_vcpu_arm64_start_at() - next instruction and X0. */
int kvm_vcpu_arm64_start_at(const struct kvm_vcpu *vcpu, uint64_t pc, uint64_t x0,
                            struct errctx *ec);

/* What tells where it stands. */
struct kvm_vcpu_arm64_place {
    uint64_t pc, pstate, sp_el1, elr_el1, esr_el1, far_el1;
};
int kvm_vcpu_arm64_place(const struct kvm_vcpu *vcpu, struct kvm_vcpu_arm64_place *ret,
                         struct errctx *ec);

#endif
