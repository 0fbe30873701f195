/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt routes and doorbells through KVM: what devices/irq.h and devices/ioapic.h ask for.
 *
 * GSIs 0 to 23 are the I/O APIC's pins, the rest are message lines, an eventfd each. The whole
 * table goes to KVM at every change, which happens when a driver sets its vectors up.
 */
#ifndef VMM_MACHINE_MACHINE_IRQ_H
#define VMM_MACHINE_MACHINE_IRQ_H

#include "devices/device.h"
#include "devices/ioapic.h"
#include "devices/irq.h"
#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_vm.h"

struct machine_irq;

/** machine_irq_new() - @vm is borrowed. */
int machine_irq_new(const struct kvm_vm *vm, struct machine_irq **ret_irq, struct errctx *ec);
void machine_irq_free(struct machine_irq *irq);

/** machine_irq_attach_ioapic() - lines set through the services go to @ioapic from now on. */
void machine_irq_attach_ioapic(struct machine_irq *irq, struct device *ioapic);

/** machine_irq_services() - for devices; valid as long as @irq. */
const struct irq_services *machine_irq_services(const struct machine_irq *irq);

/** machine_irq_ioapic_ops() - for ioapic_new(), with @irq as its ctx. */
const struct ioapic_ops *machine_irq_ioapic_ops(void);

#endif
