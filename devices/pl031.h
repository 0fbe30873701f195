/* SPDX-License-Identifier: Apache-2.0 */
/* Arm's PrimeCell real-time clock PL031, one page of registers. */
#ifndef DEVICES_PL031_H
#define DEVICES_PL031_H

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

/** pl031_new() - counts from the host's wall clock in UTC. @loop, @line: as rtc_new(), where its
 *  alarm is timed and which wire it raises. */
int pl031_new(struct evloop *loop, uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
              struct device **ret_dev, struct errctx *ec);

#endif
