/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed parts of the arm64 machine: serial port with its wire to our terminal, clock, debug
 * exit. Addresses are arm64_platform.h's; power-off and reset are PSCI's, which KVM has. */
#include "devices/debug_exit.h"
#include "devices/pl011.h"
#include "devices/pl031.h"
#include "firmware/arm64/arm64_platform.h"
#include "vmm/machine/arm64/machine_arm64.h"

static void console_room(void *ctx)
{
    const struct machine *m = ctx;

    if (m->serial != NULL)
        pl011_output_ready(m->serial);
}

static const struct serial_wire_ops wire_ops = { .send = machine_wire_send };

static int add(struct machine *m, struct device *dev, uint64_t base, uint64_t len,
               struct errctx *ec)
{
    int r = machine_keep(m, dev, ec);

    return r < 0 ? r : bus_add(m->mem_bus, base, len, dev, 0, ec);
}

int machine_make_legacy(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    struct device *dev;
    int r = machine_make_wire(m, console_room, ec);

    if (r < 0)
        return r;
    r = pl011_new(ARM64_SERIAL_SPI, irq->line, irq->ctx, &wire_ops, m, &dev, ec);
    if (r < 0 || (r = add(m, dev, ARM64_SERIAL_BASE, ARM64_PART_LEN, ec)) < 0)
        return r;
    m->serial = dev;
    r = pl031_new(m->main_loop, ARM64_RTC_SPI, irq->line, irq->ctx, &dev, ec);
    if (r < 0 || (r = add(m, dev, ARM64_RTC_BASE, ARM64_PART_LEN, ec)) < 0)
        return r;
    r = debug_exit_new(&machine_events_ops, m, &dev, ec);
    return r < 0 ? r : add(m, dev, ARM64_EXIT_BASE, ARM64_EXIT_LEN, ec);
}
