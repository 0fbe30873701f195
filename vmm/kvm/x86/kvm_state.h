/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an x86 vCPU as KVM keeps it. For whom and when: see kvm_vcpu.h. */
#ifndef VMM_KVM_X86_KVM_STATE_H
#define VMM_KVM_X86_KVM_STATE_H

#include "vmm/kvm/kvm_vcpu.h"

int kvm_vcpu_set_cpuid(const struct kvm_vcpu *vcpu, const struct kvm_cpuid2 *cpuid,
                       struct errctx *ec);
int kvm_vcpu_get_regs(const struct kvm_vcpu *vcpu, struct kvm_regs *ret_regs, struct errctx *ec);
int kvm_vcpu_set_regs(const struct kvm_vcpu *vcpu, const struct kvm_regs *regs,
                      struct errctx *ec);
int kvm_vcpu_get_sregs(const struct kvm_vcpu *vcpu, struct kvm_sregs *ret_sregs,
                       struct errctx *ec);
int kvm_vcpu_set_sregs(const struct kvm_vcpu *vcpu, const struct kvm_sregs *sregs,
                       struct errctx *ec);
/** kvm_vcpu_get_msrs() - fills what KVM knows; ->nmsrs becomes the number read. */
int kvm_vcpu_get_msrs(const struct kvm_vcpu *vcpu, struct kvm_msrs *msrs, struct errctx *ec);
/** kvm_vcpu_set_msrs() - Return: number written (it stops at the first refused one), -errno. */
int kvm_vcpu_set_msrs(const struct kvm_vcpu *vcpu, const struct kvm_msrs *msrs,
                      struct errctx *ec);
int kvm_vcpu_get_lapic(const struct kvm_vcpu *vcpu, struct kvm_lapic_state *ret, struct errctx *ec);
int kvm_vcpu_set_lapic(const struct kvm_vcpu *vcpu, const struct kvm_lapic_state *lapic,
                       struct errctx *ec);
int kvm_vcpu_get_events(const struct kvm_vcpu *vcpu, struct kvm_vcpu_events *ret,
                        struct errctx *ec);
int kvm_vcpu_set_events(const struct kvm_vcpu *vcpu, const struct kvm_vcpu_events *events,
                        struct errctx *ec);
int kvm_vcpu_get_xsave(const struct kvm_vcpu *vcpu, struct kvm_xsave *ret, struct errctx *ec);
int kvm_vcpu_set_xsave(const struct kvm_vcpu *vcpu, const struct kvm_xsave *xsave,
                       struct errctx *ec);
int kvm_vcpu_get_xcrs(const struct kvm_vcpu *vcpu, struct kvm_xcrs *ret, struct errctx *ec);
int kvm_vcpu_set_xcrs(const struct kvm_vcpu *vcpu, const struct kvm_xcrs *xcrs,
                      struct errctx *ec);
int kvm_vcpu_get_debugregs(const struct kvm_vcpu *vcpu, struct kvm_debugregs *ret,
                           struct errctx *ec);
int kvm_vcpu_set_debugregs(const struct kvm_vcpu *vcpu, const struct kvm_debugregs *regs,
                           struct errctx *ec);
int kvm_vcpu_set_mp_state(const struct kvm_vcpu *vcpu, uint32_t mp_state, struct errctx *ec);
/** kvm_vcpu_get_nested() - of a vCPU that runs no guest of its own: the fixed part alone.
 *  Return: 0 with ->size set; -ENOTTY or -EINVAL where this KVM nests nothing. */
int kvm_vcpu_get_nested(const struct kvm_vcpu *vcpu, struct kvm_nested_state *ret,
                        struct errctx *ec);
int kvm_vcpu_set_nested(const struct kvm_vcpu *vcpu, const struct kvm_nested_state *state,
                        struct errctx *ec);

/** kvm_vcpu_setup_mce() - @cap: as of MSR IA32_MCG_CAP. Clears what the banks' control registers
 *  hide. */
int kvm_vcpu_setup_mce(const struct kvm_vcpu *vcpu, uint64_t cap, struct errctx *ec);
/** kvm_vcpu_set_mce() - an error into a bank; an uncorrected one is a machine check at the next
 *  entry, or a shutdown where the guest has those off or is at one. */
int kvm_vcpu_set_mce(const struct kvm_vcpu *vcpu, const struct kvm_x86_mce *mce,
                     struct errctx *ec);

/** kvm_vcpu_translate() - where linear address @linear leads by the vCPU's page tables.
 *  Return: 0, -EFAULT when it is not mapped, or the errno of KVM_TRANSLATE. */
int kvm_vcpu_translate(const struct kvm_vcpu *vcpu, uint64_t linear, struct gpa *ret_addr,
                       struct errctx *ec);

/** kvm_vcpu_kvmclock_ctrl() - tell the guest that it was paused (no watchdog false alarms);
 *  silently nothing when the guest does not use kvmclock. */
void kvm_vcpu_kvmclock_ctrl(const struct kvm_vcpu *vcpu);

#endif
