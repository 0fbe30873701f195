/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts that do not come from PCI: local APIC timer in both modes, the serial port's line
 * through the I/O APIC to this CPU and to another one; and the real-time clock's registers.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

enum {
    VECTOR_TIMER = 0x60,
    VECTOR_SERIAL = 0x61,
    SECONDS = 5,
    LVT_DEADLINE = 2u << 17,
    LVT_MASKED = 1u << 16,
    TIMER_DIV_1 = 0xb,
    UART_IER = 1,
    UART_IIR = 2,
    UART_MCR = 4,
    UART_MCR_OUT2 = 8, /* connects the line on a PC */
    UART_IER_THRI = 2,
    IOAPIC_VERSION = 1,
    IOAPIC_REDIR = 0x10,
    RTC_REG_B = 0x0b,
    RTC_REG_C = 0x0c,
    RTC_REG_D = 0x0d,
    RTC_D_VALID = 0x80,
    RTC_B_BINARY = 0x04,
};

static volatile uint32_t timer_hits, serial_hits, serial_cpu = ~0u;
static volatile uint32_t other_cpu = ~0u; /* highest APIC id that an entry can name */
static volatile uint32_t listening;

static void on_timer(struct trap_frame *f)
{
    (void)f;
    timer_hits++;
    apic_eoi();
}

static void on_serial(struct trap_frame *f)
{
    (void)f;
    (void)inb(PLATFORM_SERIAL_PORT + UART_IIR); /* takes the line down */
    serial_cpu = apic_id();
    __atomic_fetch_add(&serial_hits, 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

static bool wait_for(const volatile uint32_t *counter, uint32_t n)
{
    struct deadline late = deadline_in(SECONDS);

    while (*counter < n)
        if (deadline_over(&late))
            return false;
    return true;
}

static void apic_timer(void)
{
    uint64_t start;

    trap_on(VECTOR_TIMER, on_timer);
    msr_write(X2APIC_LVT_TIMER, LVT_DEADLINE | VECTOR_TIMER);
    start = tsc_read();
    msr_write(MSR_TSC_DEADLINE, start + 5000000);
    ok(wait_for(&timer_hits, 1), "the TSC deadline timer fires");
    ok(tsc_read() - start >= 5000000, "and not too early");
    ok(msr_read(MSR_TSC_DEADLINE) == 0, "and only once");
    msr_write(X2APIC_LVT_TIMER, VECTOR_TIMER);
    msr_write(X2APIC_TIMER_DIV, TIMER_DIV_1);
    msr_write(X2APIC_TIMER_INIT, 1000000);
    ok(wait_for(&timer_hits, 2), "the one-shot timer fires");
    ok(msr_read(X2APIC_TIMER_NOW) == 0, "and its count is 0 then");
    msr_write(X2APIC_LVT_TIMER, LVT_MASKED);
    ok(timer_hits == 2, "no timer fires twice");
}

static uint32_t ioapic_read(uint32_t reg)
{
    write32(IOAPIC_BASE, reg);
    return read32(IOAPIC_BASE + 0x10);
}

static void ioapic_write(uint32_t reg, uint32_t v)
{
    write32(IOAPIC_BASE, reg);
    write32(IOAPIC_BASE + 0x10, v);
}

/* Serial line to this APIC id: edge, physical. Bits 49 to 55 of an entry are KVM's extended
 * destination, which the I/O APIC passes on into the message. */
static void route(uint32_t id, uint32_t mask)
{
    uint32_t reg = IOAPIC_REDIR + PLATFORM_SERIAL_IRQ * 2;

    ioapic_write(reg, LVT_MASKED);
    ioapic_write(reg + 1, (id & 0xff) << 24 | (id >> 8 & 0x7f) << 17);
    ioapic_write(reg, mask | VECTOR_SERIAL);
}

/* Turning the "transmitter empty" interrupt on raises the line at once. */
static bool serial_raises(uint32_t hits)
{
    bool came;

    outb(PLATFORM_SERIAL_PORT + UART_MCR, UART_MCR_OUT2 | 3);
    outb(PLATFORM_SERIAL_PORT + UART_IER, UART_IER_THRI);
    came = wait_for(&serial_hits, hits);
    outb(PLATFORM_SERIAL_PORT + UART_IER, 0);
    return came;
}

static void ioapic(void)
{
    unsigned pin, pins = (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1, masked = 0;

    ok(pins == PLATFORM_IOAPIC_PINS, "the I/O APIC has %u pins", pins);
    for (pin = 0; pin < pins; pin++)
        masked += ioapic_read(IOAPIC_REDIR + pin * 2) >> 16 & 1;
    ok(masked == pins, "all are masked");
    trap_on(VECTOR_SERIAL, on_serial);
    route(apic_id(), 0);
    ok(ioapic_read(IOAPIC_REDIR + PLATFORM_SERIAL_IRQ * 2) >> 16 == 0, "a pin can be unmasked");
    ok(serial_raises(1), "the serial port's interrupt comes through it");
    ok(serial_cpu == apic_id(), "to this CPU");
    if (other_cpu == ~0u || other_cpu == apic_id()) {
        skip("the serial port's interrupt at another CPU", "none can be reached");
    } else {
        uint32_t n = serial_hits;

        route(other_cpu, 0);
        ok(serial_raises(n + 1) && serial_cpu == other_cpu, "and to the CPU with APIC id %u",
           other_cpu);
    }
    route(apic_id(), LVT_MASKED);
}

static unsigned from_bcd(uint8_t v, bool binary)
{
    return binary ? v : (unsigned)((v >> 4) * 10 + (v & 15));
}

static void rtc(void)
{
    bool binary = (rtc_read(RTC_REG_B) & RTC_B_BINARY) != 0;
    uint8_t before;
    struct deadline late = deadline_in(1);
    unsigned month, day;

    ok((rtc_read(RTC_REG_D) & RTC_D_VALID) != 0, "the clock's time is valid");
    month = from_bcd(rtc_read(8), binary);
    day = from_bcd(rtc_read(7), binary);
    ok(month >= 1 && month <= 12 && day >= 1 && day <= 31, "day %u, month %u", day, month);
    (void)rtc_read(RTC_REG_C);
    before = rtc_read(0);
    while (!deadline_over(&late)) /* two changes of the second */
        cpu_pause();
    ok(rtc_read(0) != before, "its seconds go on");
    fact("rtc.year=%u%02u", from_bcd(rtc_read(0x32), binary), from_bcd(rtc_read(9), binary));
}

static void choose_other(const struct acpi_cpu *cpu, void *arg)
{
    uint32_t limit = *(const uint32_t *)arg;

    if (cpu->enabled && cpu->apic_id <= limit && (other_cpu == ~0u || cpu->apic_id > other_cpu))
        other_cpu = cpu->apic_id;
}

static void listen(unsigned number)
{
    (void)number;
    __atomic_fetch_add(&listening, 1, __ATOMIC_SEQ_CST);
    for (;;)
        __asm__ volatile("sti; hlt");
}

void guest_main(void)
{
    unsigned called = smp_start_all(listen);
    struct deadline late;
    uint32_t limit = msi_reaches_all() ? 0x7fff : 0xff;

    acpi_each_cpu(choose_other, &limit);
    smp_wait(called, SECONDS);
    late = deadline_in(SECONDS);
    while (listening < called && !deadline_over(&late))
        cpu_pause();
    irq_on();
    apic_timer();
    ioapic();
    irq_off();
    rtc();
    tap_done();
}
