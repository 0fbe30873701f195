/* SPDX-License-Identifier: Apache-2.0 */
/* What of x86's KVM the sandbox allows. */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "vmm/machine/sandbox_rows.h"

static const struct sandbox_rule vcpu[] = {
    /* where it stood, for the sentence of a failure */
    IOCTL(KVM_GET_REGS), IOCTL(KVM_GET_SREGS), IOCTL(KVM_TRANSLATE),
    /* memory that is lost */
    IOCTL(KVM_GET_MSRS), IOCTL(KVM_X86_SET_MCE),
};

static const struct sandbox_rule main_thread[] = {
    /* registers and clock as at power-on, at a reset */
    IOCTL(KVM_SET_REGS), IOCTL(KVM_GET_SREGS), IOCTL(KVM_SET_SREGS), IOCTL(KVM_SET_MSRS),
    IOCTL(KVM_SET_XSAVE), IOCTL(KVM_SET_XCRS), IOCTL(KVM_SET_DEBUGREGS), IOCTL(KVM_SET_LAPIC),
    IOCTL(KVM_SET_VCPU_EVENTS), IOCTL(KVM_SET_MP_STATE), IOCTL(KVM_SET_CLOCK),
    IOCTL(KVM_SET_NESTED_STATE),
    IOCTL(KVM_GET_CLOCK), IOCTL(KVM_KVMCLOCK_CTRL), IOCTL(KVM_GET_REGS), IOCTL(KVM_SET_FPU),
};

const struct sandbox_rules sandbox_rules_vcpu_arch = RULES(vcpu);
const struct sandbox_rules sandbox_rules_main_arch = RULES(main_thread);
