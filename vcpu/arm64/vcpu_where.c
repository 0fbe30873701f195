/* SPDX-License-Identifier: Apache-2.0 */
/* Where an arm64 vCPU stands, for the sentences of failures; see vcpu.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "vcpu/vcpu_private.h"
#include "vmm/kvm/arm64/kvm_vcpu_arm64.h"

/* KVM translates no addresses on arm64, and reports no failed emulation of which one would ask. */
int vcpu_where(const struct vcpu *vcpu, struct gpa *ret_addr)
{
    (void)vcpu;
    (void)ret_addr;
    return -EFAULT;
}

void vcpu_dump(const struct vcpu *vcpu, char *buf, size_t size)
{
    struct kvm_vcpu_arm64_place p;

    if (kvm_vcpu_arm64_place(&vcpu->kvm, &p, NULL) < 0) {
        (void)snprintf(buf, size, "registers cannot be read");
        return;
    }
    (void)snprintf(buf, size,
                   "pc 0x%" PRIx64 " pstate 0x%" PRIx64 " sp_el1 0x%" PRIx64 " elr_el1 0x%" PRIx64
                   " esr_el1 0x%" PRIx64 " far_el1 0x%" PRIx64,
                   p.pc, p.pstate, p.sp_el1, p.elr_el1, p.esr_el1, p.far_el1);
}
