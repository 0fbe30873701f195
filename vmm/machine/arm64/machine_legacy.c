/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed parts of the arm64 machine: serial port with its wire to our terminal, and clock.
 * Addresses are arm64_platform.h's; power-off and reset are PSCI's, which KVM has. */
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

static int add(struct machine *m, struct device *dev, uint64_t base, struct errctx *ec)
{
    int r = machine_keep(m, dev, ec);

    return r < 0 ? r : bus_add(m->mem_bus, base, ARM64_PART_LEN, dev, 0, ec);
}

int machine_make_legacy(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    struct device *dev;
    int r = machine_make_wire(m, console_room, ec);

    if (r < 0)
        return r;
    r = pl011_new(ARM64_SERIAL_SPI, irq->line, irq->ctx, &wire_ops, m, &dev, ec);
    if (r < 0 || (r = add(m, dev, ARM64_SERIAL_BASE, ec)) < 0)
        return r;
    m->serial = dev;
    r = pl031_new(m->main_loop, ARM64_RTC_SPI, irq->line, irq->ctx, &dev, ec);
    return r < 0 ? r : add(m, dev, ARM64_RTC_BASE, ec);
}
