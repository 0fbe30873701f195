/* SPDX-License-Identifier: Apache-2.0 */
/* What only x86's KVM can be asked of: CPUID and model-specific registers. */
#ifndef VMM_KVM_X86_KVM_SYS_X86_H
#define VMM_KVM_X86_KVM_SYS_X86_H

#include "vmm/kvm/kvm_sys.h"

/** kvm_sys_supported_cpuid() - what this host's KVM can give to guests. Owned by the caller. */
int kvm_sys_supported_cpuid(const struct kvm_sys *sys, struct kvm_cpuid2 **ret_cpuid,
                            struct errctx *ec);

/** kvm_sys_mce_cap() - what vCPUs may have in MSR IA32_MCG_CAP beside the number of banks; 0:
 *  nothing, or it cannot be asked. */
uint64_t kvm_sys_mce_cap(const struct kvm_sys *sys);

/** kvm_sys_msr_list() - MSRs that make up a vCPU's state (KVM_GET_MSR_INDEX_LIST). */
int kvm_sys_msr_list(const struct kvm_sys *sys, struct kvm_msr_list **ret_list,
                     struct errctx *ec);

#endif
