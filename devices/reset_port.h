/* SPDX-License-Identifier: Apache-2.0 */
/* Reset control register, port 0xcf9. */
#ifndef DEVICES_RESET_PORT_H
#define DEVICES_RESET_PORT_H

#include "devices/device.h"
#include "devices/vm_events.h"
#include "vmm/base/errctx.h"

/**
 * reset_port_new() - a rising edge of bit 2 calls @events->request_reset().
 * @events, @events_ctx: borrowed; outlive the device. Called on the vCPU's thread.
 * Return: 0 or -ENOMEM; the device is the caller's, device_destroy() ends it.
 */
int reset_port_new(const struct vm_events_ops *events, void *events_ctx, struct device **ret_dev,
                   struct errctx *ec);

#endif
