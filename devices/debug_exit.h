/* SPDX-License-Identifier: Apache-2.0 */
/* A write ends the run with that value; bare-metal test suites report through it. */
#ifndef DEVICES_DEBUG_EXIT_H
#define DEVICES_DEBUG_EXIT_H

#include "devices/device.h"
#include "devices/vm_events.h"
#include "vmm/base/errctx.h"

/**
 * debug_exit_new() - a write calls @events->guest_code() with the value.
 * @events, @events_ctx: borrowed; outlive the device. Called on the vCPU's thread.
 * Return: 0 or -ENOMEM; the device is the caller's, device_destroy() ends it.
 */
int debug_exit_new(const struct vm_events_ops *events, void *events_ctx, struct device **ret_dev,
                   struct errctx *ec);

#endif
