/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fixed parts of the x86 machine, in build order: I/O APIC, serial port with its wire to our
 * terminal, clock, debug exit, power block, block of CPUs, reset port. Addresses are
 * firmware/x86/x86_platform.h's.
 */
#include "devices/debug_exit.h"
#include "devices/ioapic.h"
#include "devices/power_block.h"
#include "devices/reset_port.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "firmware/x86/x86_map.h"
#include "firmware/x86/x86_platform.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"
#include "vmm/machine/x86/machine_irq_x86.h"

static void console_room(void *ctx)
{
    const struct machine *m = ctx;

    if (m->serial != NULL)
        serial_output_ready(m->serial);
}

static const struct serial_wire_ops wire_ops = { .send = machine_wire_send };

static int add_port_device(struct machine *m, struct device *dev, uint64_t base, uint64_t len,
                           struct errctx *ec)
{
    int r = machine_keep(m, dev, ec);

    return r < 0 ? r : bus_add(m->port_bus, base, len, dev, 0, ec);
}

static int make_ioapic(struct machine *m, struct errctx *ec)
{
    struct device *dev;
    int r = ioapic_new(machine_irq_ioapic_ops(), m->irq, &dev, ec);

    if (r < 0)
        return r;
    r = machine_keep(m, dev, ec);
    if (r < 0)
        return r;
    m->ioapic = dev;
    machine_irq_attach_ioapic(m->irq, dev);
    return bus_add(m->mem_bus, X86_IOAPIC_BASE, 4 * KIB, dev, 0, ec);
}

static int make_serial(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    struct device *dev;
    int r = machine_make_wire(m, console_room, ec);

    if (r < 0)
        return r;
    r = serial_new(PLATFORM_SERIAL_IRQ, irq->line, irq->ctx, &wire_ops, m, &dev, ec);
    if (r < 0)
        return r;
    r = add_port_device(m, dev, PLATFORM_SERIAL_PORT, 8, ec);
    if (r == 0)
        m->serial = dev;
    return r;
}

int machine_make_legacy(struct machine *m, struct errctx *ec)
{
    const struct irq_services *irq = machine_irq_services(m->irq);
    const struct power_block_wires power = { .events = &machine_events_ops,
                                             .events_ctx = m,
                                             .irq = irq->line,
                                             .irq_ctx = irq->ctx,
                                             .line = PLATFORM_GED_IRQ };
    struct device *dev;
    int r = make_ioapic(m, ec);

    if (r < 0 || (r = make_serial(m, ec)) < 0)
        return r;
    r = rtc_new(m->main_loop, PLATFORM_RTC_IRQ, irq->line, irq->ctx, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_RTC_PORT, 2, ec)) < 0)
        return r;
    r = debug_exit_new(&machine_events_ops, m, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_DEBUG_EXIT, 4, ec)) < 0)
        return r;
    r = power_block_new(m->main_loop, &power, &dev, ec);
    if (r < 0 || (r = add_port_device(m, dev, PLATFORM_POWER_PORT, PLATFORM_POWER_LEN, ec)) < 0)
        return r;
    m->power = dev;
    r = machine_make_cpu_block(m, &dev, ec);
    if (r == 0 && dev != NULL)
        r = machine_keep(m, dev, ec);
    if (r == 0 && dev != NULL)
        r = bus_add(m->mem_bus, PLATFORM_CPU_BASE, PLATFORM_CPU_LEN, dev, 0, ec);
    if (r < 0)
        return r;
    m->cpu_block = dev;
    /* Port 0xcf9 lies inside PCI's configuration ports, so the PCI host passes it on. */
    r = reset_port_new(&machine_events_ops, m, &m->reset_port, ec);
    return r < 0 ? r : machine_keep(m, m->reset_port, ec);
}
