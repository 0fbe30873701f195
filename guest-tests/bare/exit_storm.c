/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many exits in a row, of every kind that a guest can cause at will: the host must neither stop
 * nor grow, and devices must keep what they held. "count=N" on the command line.
 */
#include "guest-tests/bare/lib/bare.h"

enum {
    DEFAULT_COUNT = 2000,
    FREE_PORT = 0x2f0,
    SERIAL_SCRATCH = PLATFORM_SERIAL_PORT + 7,
    UNKNOWN_MSR = 0x12345678,
    UNKNOWN_MSR_2 = 0xc0015678,
    HYPERVISOR_MSR = 0x400000ff, /* in the range of another hypervisor's */
};

static uint32_t count;

static void port_storm(void)
{
    unsigned i, bad = 0;

    for (i = 0; i < count; i++) {
        outb(FREE_PORT, (uint8_t)i);
        bad += inb(FREE_PORT) != 0xff;
        outb(SERIAL_SCRATCH, (uint8_t)i);
        bad += inb(SERIAL_SCRATCH) != (i & 255);
    }
    ok(bad == 0, "%u rounds of port accesses", count);
}

static void mmio_storm(void)
{
    unsigned i, bad = 0;

    for (i = 0; i < count; i++) {
        uint64_t at = FREE_MMIO + (uint64_t)(i & 255) * 8;

        write32(at, i);
        bad += read32(at) != ~0u;
    }
    ok(bad == 0, "%u rounds of accesses to an unclaimed address", count);
}

static void msr_storm(uint32_t msr)
{
    unsigned i, trapped = 0, zero = 0;
    uint64_t v;

    for (i = 0; i < count; i++) {
        v = 1;
        if (!msr_read_safe(msr, &v))
            trapped++;
        else if (v == 0)
            zero++;
        (void)msr_write_safe(msr, i);
    }
    ok(trapped + zero == count, "%u reads of unknown MSR %x trap (%u) or give 0 (%u)", count, msr,
       trapped, zero);
}

static void cpuid_storm(void)
{
    struct cpuid_regs first = cpuid(0, 0), r;
    unsigned i, bad = 0;

    for (i = 0; i < count; i++) {
        r = cpuid(0, 0);
        bad += r.ebx != first.ebx || r.eax != first.eax;
        (void)cpuid(i * 0x01010101u, i);
    }
    ok(bad == 0, "%u CPUIDs of any leaf", 2 * count);
}

void guest_main(void)
{
    count = (uint32_t)text_number(boot.cmdline, "count", DEFAULT_COUNT);
    port_storm();
    mmio_storm();
    msr_storm(UNKNOWN_MSR);
    msr_storm(UNKNOWN_MSR_2);
    msr_storm(HYPERVISOR_MSR);
    cpuid_storm();
    tap_done();
}
