/* SPDX-License-Identifier: Apache-2.0 */
/* Reset control register, port 0xcf9. */
#ifndef DEVICES_RESET_PORT_H
#define DEVICES_RESET_PORT_H

#include "devices/device.h"
#include "devices/vm_events.h"
#include "vmm/base/errctx.h"

int reset_port_new(const struct vm_events_ops *events, void *events_ctx, struct device **ret_dev,
                   struct errctx *ec);

#endif
