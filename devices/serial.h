/* SPDX-License-Identifier: Apache-2.0 */
/* A 16550A UART, eight I/O ports. */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include <stddef.h>
#include <stdint.h>

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/base/errctx.h"

/* The other end of the wire; filled by the machine. Called without the device's lock. */
struct serial_wire_ops {
    /* Take up to @len bytes without blocking; what is not taken stays in the transmitter until
     * serial_output_ready(). vCPU threads. */
    size_t (*send)(void *ctx, const void *data, size_t len);
};

/**
 * serial_new() - a UART whose interrupt is @gsi and whose other end is @wire.
 * @irq, @wire and their contexts are borrowed and outlive the device.
 * Return: 0 or -ENOMEM; the device is the caller's, device_destroy() ends it.
 */
int serial_new(uint32_t gsi, const struct irq_line_ops *irq, void *irq_ctx,
               const struct serial_wire_ops *wire, void *wire_ctx, struct device **ret_dev,
               struct errctx *ec);

/** serial_receive() - bytes arrive; returns how many the FIFO took, the rest is to be offered
 *  again a little later. Any thread. */
size_t serial_receive(struct device *dev, const void *data, size_t len);

/** serial_output_ready() - send() would take bytes again. Any thread. */
void serial_output_ready(struct device *dev);

#endif
