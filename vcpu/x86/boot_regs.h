/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vCPU's state at power-on and at the first instruction of a directly booted kernel.
 *
 * The power-on state is read from KVM once, from a vCPU that has not run, and written back at
 * each reset: KVM knows better than we what its vCPUs look like when new.
 */
#ifndef VCPU_X86_BOOT_REGS_H
#define VCPU_X86_BOOT_REGS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/kvm/x86/kvm_state.h"

/* How the boot processor starts; what the loader says, in this folder's words. */
struct boot_regs {
    bool long_mode; /* else flat 32-bit protected mode, paging off */
    uint64_t rip, rsp, rax, rbx, rsi;
    uint64_t cr3; /* long mode: identity tables in guest memory */
    uint64_t gdt_base; /* 0x10 code, 0x18 data, flat */
    uint16_t gdt_limit;
};

struct power_on_state; /* opaque */

/** power_on_state_capture() - from a vCPU that never ran. Return: 0, -ENOMEM or an errno. */
int power_on_state_capture(const struct kvm_sys *sys, const struct kvm_vcpu *vcpu,
                           struct power_on_state **ret_state, struct errctx *ec);
void power_on_state_free(struct power_on_state *state);

/**
 * power_on_state_apply() - put a vCPU that stands still back to power-on.
 * @apic_id:  for the local APIC's id register.
 * @x2apic:   hand over in x2APIC mode, as firmware does where an id exceeds 254.
 * @boot:     the boot processor (runnable); others wait for INIT and SIPI.
 */
int power_on_state_apply(const struct power_on_state *state, const struct kvm_vcpu *vcpu,
                         uint32_t apic_id, bool x2apic, bool boot, struct errctx *ec);

/** boot_regs_apply() - the boot processor's first instruction; after power-on. */
int boot_regs_apply(const struct boot_regs *regs, const struct kvm_vcpu *vcpu,
                    struct errctx *ec);

#endif
