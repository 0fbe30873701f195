/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt routes and doorbells through KVM: what devices/irq.h asks for.
 *
 * The first GSIs are wires of the architecture's controller, the rest are message lines, an
 * eventfd each. The whole table goes to KVM at every change, which happens when a driver sets its
 * vectors up.
 */
#ifndef VMM_MACHINE_MACHINE_IRQ_H
#define VMM_MACHINE_MACHINE_IRQ_H

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_vm.h"

struct machine_irq;

/** machine_irq_new() - @vm is borrowed. */
int machine_irq_new(const struct kvm_vm *vm, struct machine_irq **ret_irq, struct errctx *ec);
void machine_irq_free(struct machine_irq *irq);

/** machine_irq_hold() / machine_irq_release() - between the two lines are made without KVM, which
 *  takes none before its interrupt controller was started. While the machine is built. Return: 0
 *  or an errno. */
void machine_irq_hold(struct machine_irq *irq);
int machine_irq_release(struct machine_irq *irq, struct errctx *ec);

/** machine_irq_services() - for devices; valid as long as @irq. */
const struct irq_services *machine_irq_services(const struct machine_irq *irq);

#endif
