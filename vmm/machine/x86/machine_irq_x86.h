/* SPDX-License-Identifier: Apache-2.0 */
/* The I/O APIC's side of interrupt routes: GSIs 0 to 23 are its pins. */
#ifndef VMM_MACHINE_X86_MACHINE_IRQ_X86_H
#define VMM_MACHINE_X86_MACHINE_IRQ_X86_H

#include "devices/ioapic.h"
#include "vmm/machine/machine_irq.h"

/** machine_irq_attach_ioapic() - lines set through the services go to @ioapic from now on. */
void machine_irq_attach_ioapic(struct machine_irq *irq, struct device *ioapic);

/** machine_irq_ioapic_ops() - for ioapic_new(), with @irq as its ctx. */
const struct ioapic_ops *machine_irq_ioapic_ops(void);

#endif
