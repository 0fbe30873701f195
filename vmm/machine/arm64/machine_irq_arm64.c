/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to the ITS, which asks who sent them, and wires of the GIC; see machine_irq.h. */
#include "vmm/kvm/arm64/kvm_vm_arm64.h"
#include "vmm/machine/machine_irq_private.h"

const uint32_t machine_irq_pins = 0; /* wires have no routes */

/* KVM looks for an ITS at the address itself, and delivers nowhere when there is none. */
bool machine_irq_translate(uint64_t addr, uint32_t data, uint32_t requester,
                           struct machine_irq_route *ret)
{
    ret->address_lo = (uint32_t)addr;
    ret->address_hi = (uint32_t)(addr >> 32);
    ret->data = data;
    ret->flags = KVM_MSI_VALID_DEVID;
    ret->devid = requester;
    return true;
}

void machine_irq_level(void *ctx, uint32_t gsi, bool level)
{
    const struct machine_irq *irq = ctx;

    kvm_vm_irq_line(&irq->vm, gsi, level);
}
