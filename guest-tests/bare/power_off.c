/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to power-off. With "wait" on the command line the guest first waits for the power
 * button: an interrupt of the event device, whose register then says which event it was. It
 * ends in S5 by the sleep control register; the host checks the exit status.
 */
#include "guest-tests/bare/lib/bare.h"

enum { VECTOR = 0x62, SECONDS = 60, SLEEP_ENABLE = 1u << 5, SLEEP_TYPE_SHIFT = 2 };

static volatile uint32_t hits;

static void on_event(struct trap_frame *f)
{
    (void)f;
    hits++;
    apic_eoi();
}

static void wait_for_button(void)
{
    struct deadline late = deadline_in(SECONDS);

    trap_on(VECTOR, on_event);
    write32(IOAPIC_BASE, 0x10 + PLATFORM_GED_IRQ * 2 + 1);
    write32(IOAPIC_BASE + 0x10, apic_id() << 24);
    write32(IOAPIC_BASE, 0x10 + PLATFORM_GED_IRQ * 2);
    write32(IOAPIC_BASE + 0x10, VECTOR);
    note("waiting for the power button");
    irq_on();
    while (hits == 0 && !deadline_over(&late))
        cpu_pause();
    irq_off();
    ok(hits > 0, "the event device's interrupt came");
    ok(inb(PLATFORM_GED_PORT) == PLATFORM_GED_POWER, "its register says: power button");
    outb(PLATFORM_GED_PORT, PLATFORM_GED_POWER);
    ok(inb(PLATFORM_GED_PORT) == 0, "and is clear after writing the bit back");
    if (hits == 0)
        tap_done();
}

void guest_main(void)
{
    struct deadline late;

    ok(inb(PLATFORM_GED_PORT) == 0, "no event is pending at power-on");
    if (text_has(boot.cmdline, "wait"))
        wait_for_button();
    outb(PLATFORM_SLEEP_CONTROL, PLATFORM_S5_TYPE << SLEEP_TYPE_SHIFT);
    ok(true, "still here: a sleep type without the enable bit does nothing");
    outb(PLATFORM_SLEEP_CONTROL, PLATFORM_S5_TYPE << SLEEP_TYPE_SHIFT | SLEEP_ENABLE);
    late = deadline_in(5);
    while (!deadline_over(&late))
        cpu_pause();
    ok(false, "the machine is off");
    tap_done();
}
