/* SPDX-License-Identifier: Apache-2.0 */
/* Stage "irqchip": the GIC and its ITS, which are KVM's; routes, and the bus. There are no ports. */
#include "firmware/arm64/arm64_platform.h"
#include "vmm/machine/arm64/machine_arm64.h"

_Static_assert(ARM64_SERIAL_SPI + 32 < MACHINE_ARM64_IRQS &&
                   ARM64_RTC_SPI + 32 < MACHINE_ARM64_IRQS, "wires of the GIC");

int stage_irqchip_build(struct machine *m, struct errctx *ec)
{
    const struct kvm_gic_map map = {
        .dist = ARM64_GICD_BASE,
        .redist = ARM64_GICR_BASE,
        .its = ARM64_ITS_BASE,
        .n_vcpus = (uint32_t)m->plan->n_vcpus,
        .n_irqs = MACHINE_ARM64_IRQS,
    };
    int r = kvm_gic_make(&m->vm, &map, &m->arch->gic, ec);

    if (r < 0)
        return r;
    r = machine_irq_new(&m->vm, &m->irq, ec);
    if (r < 0)
        goto err_gic;
    machine_irq_hold(m->irq);
    r = bus_new("memory", &m->mem_bus, ec);
    if (r < 0)
        goto err_irq;
    return 0;

err_irq:
    machine_irq_free(m->irq);
err_gic:
    kvm_gic_close(&m->arch->gic);
    return r;
}

void stage_irqchip_undo(struct machine *m)
{
    bus_free(m->mem_bus);
    machine_irq_free(m->irq);
    kvm_gic_close(&m->arch->gic);
}
