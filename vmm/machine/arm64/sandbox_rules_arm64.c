/* SPDX-License-Identifier: Apache-2.0 */
/* What of arm64's KVM the sandbox allows. Compiled on the build's machine, too, whose headers may not
 * have arm64's structs: kvm_vcpu_arm64.c holds the size against the real one. */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "vmm/machine/sandbox_rows.h"

struct vcpu_init {
    uint32_t words[8];
};

#define VCPU_INIT _IOW(KVMIO, 0xae, struct vcpu_init)

static const struct sandbox_rule vcpu[] = {
    /* wires of the serial port and the clock */
    IOCTL(KVM_IRQ_LINE),
    /* where it stood, for the sentence of a failure */
    IOCTL(KVM_GET_ONE_REG),
};

static const struct sandbox_rule main_thread[] = {
    IOCTL(KVM_IRQ_LINE),
    /* registers and interrupt controller as at power-on, at a reset */
    IOCTL(VCPU_INIT), IOCTL(KVM_SET_ONE_REG), IOCTL(KVM_SET_DEVICE_ATTR),
    IOCTL(_IOR(KVMIO, 0xaf, struct vcpu_init)), /* KVM_ARM_PREFERRED_TARGET */
};

const struct sandbox_rules sandbox_rules_vcpu_arch = RULES(vcpu);
const struct sandbox_rules sandbox_rules_main_arch = RULES(main_thread);
