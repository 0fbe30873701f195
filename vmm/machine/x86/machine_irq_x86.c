/* SPDX-License-Identifier: Apache-2.0 */
/* Messages to local APICs, and what devices/ioapic.h asks for; see machine_irq.h. */
#include "vmm/machine/x86/machine_irq_x86.h"

#include "devices/platform.h"
#include "vmm/base/cleanup.h"
#include "vmm/machine/machine_irq_private.h"
#include "vmm/topology/topo_limits.h"

const uint32_t machine_irq_pins = PLATFORM_IOAPIC_PINS;

_Static_assert(TOPO_MAX_APIC_ID <= 0x7fff, "a message can name every CPU: 8 bits and 7 more");

/*
 * A message in the form that KVM takes with 32-bit APIC ids: bits 11:5 of the address are bits
 * 14:8 of the destination (KVM_FEATURE_MSI_EXT_DEST_ID) and move to the high word. Returns
 * false for an address outside the interrupt range.
 */
bool machine_irq_translate(uint64_t addr, uint32_t data, uint32_t requester,
                           struct machine_irq_route *ret)
{
    (void)requester; /* APICs do not ask who it was */
    if (addr >> 32 != 0 || (addr & 0xfff00000u) != 0xfee00000u)
        return false;
    ret->address_lo = (uint32_t)addr & ~0xfe0u;
    ret->address_hi = ((uint32_t)addr >> 5 & 0x7f) << 8;
    ret->data = data;
    return true;
}

static void send(void *ctx, uint64_t addr, uint32_t data)
{
    struct machine_irq *irq = ctx;
    struct machine_irq_route r = { 0 };

    if (machine_irq_translate(addr, data, 0, &r))
        (void)kvm_vm_signal_msi(&irq->vm, &(struct kvm_msi){ .address_lo = r.address_lo,
                                                             .address_hi = r.address_hi,
                                                             .data = r.data });
}

static void pin_route(void *ctx, uint32_t pin, uint64_t addr, uint32_t data, bool masked)
{
    struct machine_irq *irq = ctx;
    struct machine_irq_route to = { 0 };
    LOCK_SCOPE(&irq->lock);

    /* A masked pin keeps its last route: KVM reports ends of interrupt for vectors in the table
     * only, and drivers end level-triggered ones while the pin is masked. A reset, which has no
     * message, takes it out. */
    if (masked && addr != 0)
        return;
    to.set = !masked && machine_irq_translate(addr, data, 0, &to);
    machine_irq_set_route_locked(irq, pin, &to);
}

void machine_irq_level(void *ctx, uint32_t gsi, bool level)
{
    struct machine_irq *irq = ctx;

    if (irq->ioapic != NULL)
        ioapic_set_pin(irq->ioapic, gsi, level);
}

static const struct ioapic_ops ioapic_ops = { .send = send, .route = pin_route };

void machine_irq_attach_ioapic(struct machine_irq *irq, struct device *ioapic)
{
    irq->ioapic = ioapic;
}

const struct ioapic_ops *machine_irq_ioapic_ops(void)
{
    return &ioapic_ops;
}
