/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI's fixed sleep registers and the register behind the generic event device.
 */
#ifndef DEVICES_POWER_BLOCK_H
#define DEVICES_POWER_BLOCK_H

#include <stdint.h>

#include "devices/device.h"
#include "devices/irq.h"
#include "devices/vm_events.h"
#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

/* Borrowed for as long as the device lives. */
struct power_block_wires {
    const struct vm_events_ops *events;
    void *events_ctx;
    const struct irq_line_ops *irq;
    void *irq_ctx;
    uint32_t line; /* of the event device */
};

/** power_block_new() - PLATFORM_POWER_LEN ports. @loop: where the two below are called. */
int power_block_new(struct evloop *loop, const struct power_block_wires *wires,
                    struct device **ret_dev, struct errctx *ec);

/** power_block_press() - the power button. */
void power_block_press(struct device *dev);

/** power_block_raise() - @events (PLATFORM_GED_*): the guest is told through the event device, and
 *  again until it takes note. */
void power_block_raise(struct device *dev, uint8_t events);

#endif
