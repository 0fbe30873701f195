/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machine checks: how a guest learns that what was in a page of its memory is lost. A vCPU has ten
 * banks; news are in the last, as an uncorrected error of a data load that this vCPU has to act
 * upon (Intel SDM vol. 3, 16.9.3.2; AMD APM vol. 2, 9.3.2), with the page's address. What the guest
 * makes of it is its own business: Linux kills the programs that have the page, or itself.
 */
#ifndef VCPU_X86_MACHINE_CHECK_H
#define VCPU_X86_MACHINE_CHECK_H

#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"
#include "vmm/kvm/kvm_vcpu.h"

enum { MACHINE_CHECK_BANKS = 10, MACHINE_CHECK_MSR = 0x400 /* four for each bank from here on */ };

/** machine_check_setup() - give a vCPU its banks, as many errors as this KVM can tell. Before its
 *  CPUID. Return: 0 or the errno of KVM_X86_SETUP_MCE. */
int machine_check_setup(const struct kvm_sys *sys, const struct kvm_vcpu *vcpu, struct errctx *ec);

#endif
