/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O APIC in user space, for KVM's split interrupt controller.
 */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/device.h"
#include "vmm/base/errctx.h"

struct ioapic_ops {
    /* Deliver a message now. Any thread. */
    void (*send)(void *ctx, uint64_t addr, uint32_t data);
    /* The message that pin @pin would send changed, or the pin was masked: KVM wants to know
     * it, to report ends of interrupt for level-triggered pins. One call at a time, in the order
     * of the changes; pins may be raised and ended meanwhile. Must not write to the I/O APIC. */
    void (*route)(void *ctx, uint32_t pin, uint64_t addr, uint32_t data, bool masked);
};

/** ioapic_new() - 24 pins; for the memory bus, 4 KiB. */
int ioapic_new(const struct ioapic_ops *ops, void *ctx, struct device **ret_dev,
               struct errctx *ec);

/** ioapic_set_pin() - level of an input. Edge pins deliver on a rise, level pins while high.
 *  Any thread. */
void ioapic_set_pin(struct device *dev, uint32_t pin, bool level);

/** ioapic_eoi() - a local APIC ended interrupt @vector. vCPU threads. */
void ioapic_eoi(struct device *dev, uint8_t vector);

#endif
