/* SPDX-License-Identifier: Apache-2.0 */
/* MC146818 real-time clock with 128 bytes of CMOS memory, ports 0x70 and 0x71. */
#ifndef DEVICES_RTC_H
#define DEVICES_RTC_H

#include "devices/device.h"
#include "devices/irq.h"
#include "vmm/base/errctx.h"
#include "vmm/base/evloop.h"

/**
 * rtc_new() - counts from the host's wall clock in UTC.
 * @loop: where its interrupts are timed; the machine's main loop.
 * @line: which wire it raises.
 */
int rtc_new(struct evloop *loop, uint32_t line, const struct irq_line_ops *irq, void *irq_ctx,
            struct device **ret_dev, struct errctx *ec);

#endif
