/* SPDX-License-Identifier: Apache-2.0 */
/* Where an x86 vCPU stands, for the sentences of failures; see vcpu.h. */
#include <inttypes.h>
#include <stdio.h>

#include "vcpu/vcpu_private.h"
#include "vmm/kvm/x86/kvm_state.h"

int vcpu_where(const struct vcpu *vcpu, struct gpa *ret_addr)
{
    struct kvm_regs regs = { 0 };
    struct kvm_sregs sregs = { 0 };
    int r = kvm_vcpu_get_regs(&vcpu->kvm, &regs, NULL);

    if (r == 0)
        r = kvm_vcpu_get_sregs(&vcpu->kvm, &sregs, NULL);
    /* A code segment's base counts for nothing in 64-bit code, and KVM has 0 there. */
    return r < 0 ? r : kvm_vcpu_translate(&vcpu->kvm, sregs.cs.base + regs.rip, ret_addr, NULL);
}

void vcpu_dump(const struct vcpu *vcpu, char *buf, size_t size)
{
    struct kvm_regs r = { 0 };
    struct kvm_sregs s = { 0 };

    if (kvm_vcpu_get_regs(&vcpu->kvm, &r, NULL) < 0 || kvm_vcpu_get_sregs(&vcpu->kvm, &s, NULL) < 0) {
        (void)snprintf(buf, size, "registers cannot be read");
        return;
    }
    (void)snprintf(buf, size,
                   "rip 0x%" PRIx64 " rsp 0x%" PRIx64 " cs 0x%x cr0 0x%" PRIx64 " cr3 0x%" PRIx64
                   " cr4 0x%" PRIx64 " efer 0x%" PRIx64,
                   (uint64_t)r.rip, (uint64_t)r.rsp, s.cs.selector, (uint64_t)s.cr0,
                   (uint64_t)s.cr3, (uint64_t)s.cr4, (uint64_t)s.efer);
}
