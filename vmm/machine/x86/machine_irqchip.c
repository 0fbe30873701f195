/* SPDX-License-Identifier: Apache-2.0 */
/* Stage "irqchip": KVM's half of the split interrupt controller, routes, and the two buses. */
#include "devices/platform.h"
#include "vmm/kvm/x86/kvm_vm_x86.h"
#include "vmm/machine/machine_private.h"

int stage_irqchip_build(struct machine *m, struct errctx *ec)
{
    int r = kvm_vm_setup_tss(&m->vm, ec);

    if (r < 0)
        return r;
    r = kvm_vm_setup_irqchip(&m->vm, PLATFORM_IOAPIC_PINS, ec);
    if (r < 0)
        return r;
    r = machine_irq_new(&m->vm, &m->irq, ec);
    if (r < 0)
        return r;
    r = bus_new("port", &m->port_bus, ec);
    if (r < 0)
        goto err_irq;
    r = bus_new("memory", &m->mem_bus, ec);
    if (r < 0)
        goto err_port_bus;
    return 0;

err_port_bus:
    bus_free(m->port_bus);
err_irq:
    machine_irq_free(m->irq);
    return r;
}

void stage_irqchip_undo(struct machine *m)
{
    bus_free(m->mem_bus);
    bus_free(m->port_bus);
    machine_irq_free(m->irq);
}
