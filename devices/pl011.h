/* SPDX-License-Identifier: Apache-2.0 */
/* Arm's PrimeCell UART PL011, one page of registers. */
#ifndef DEVICES_PL011_H
#define DEVICES_PL011_H

#include "devices/serial.h"

/** pl011_new() - as serial_new(), with the same wire at its other end. */
int pl011_new(uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
              const struct serial_wire_ops *wire, void *wire_ctx, struct device **ret_dev,
              struct errctx *ec);

/** pl011_receive() - as serial_receive(). */
size_t pl011_receive(struct device *dev, const void *data, size_t len);

/** pl011_output_ready() - as serial_output_ready(). */
void pl011_output_ready(struct device *dev);

#endif
