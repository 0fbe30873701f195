/* SPDX-License-Identifier: Apache-2.0 */
/* What machine_irq.c shares with the file of it that each architecture has. */
#ifndef VMM_MACHINE_MACHINE_IRQ_PRIVATE_H
#define VMM_MACHINE_MACHINE_IRQ_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>

#include "vmm/machine/machine_irq.h"

struct machine_irq_route {
    bool used, set; /* reserved; has a message */
    uint32_t address_lo, address_hi, data;
    int fd; /* of its line */
    uint32_t flags, devid; /* KVM_MSI_VALID_DEVID and the device, where a controller asks for it */
};

struct machine_irq {
    struct kvm_vm vm; /* borrowed descriptor */
    struct device *ioapic; /* x86 */
    struct irq_services services;
    uint32_t max_routes;
    bool held; /* lines are not KVM's yet; while the machine is built */

    pthread_mutex_t lock; /* covers everything below and the order of KVM's updates */
    struct machine_irq_route *routes; /* by GSI */
    uint32_t n_routes;
    struct kvm_irq_routing *table; /* room for max_routes, so that a guest's change allocates nothing */
};

/** machine_irq_set_route_locked() - and tell KVM when that is a change. */
void machine_irq_set_route_locked(struct machine_irq *irq, uint32_t gsi,
                                  const struct machine_irq_route *to);

/* --- per architecture --- */

/* GSIs below it are wires, the others messages. */
extern const uint32_t machine_irq_pins;

/** machine_irq_translate() - a message in the form that KVM takes. Return: false when it goes
 *  nowhere. */
bool machine_irq_translate(uint64_t addr, uint32_t data, uint32_t requester,
                           struct machine_irq_route *ret);

/** machine_irq_level() - set a wire; @ctx is the machine_irq. */
void machine_irq_level(void *ctx, uint32_t gsi, bool level);

#endif
