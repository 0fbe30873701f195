/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local APICs in x2APIC mode, starting CPUs, time.
 *
 * The start-up sequence is INIT, start-up, start-up (Intel SDM vol. 3, 9.4.4). The pauses that
 * real hardware wants between them are left out: virtual ones take no time to reset, and a CPU
 * that already runs ignores the second start-up.
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"

enum {
    APIC_BASE_X2 = 0xc00, /* enabled, x2APIC */
    APIC_BASE_ON = 0x800,
    XAPIC_SVR = 0xf0,
    XAPIC_ICR = 0x300,
    ICR_ALL_BUT_SELF = 0xc0000,
    LEAF1_ECX_X2APIC = 1u << 21,
    APIC_SVR_ON = 0x1ff,
    ICR_INIT = 0x4500,
    ICR_STARTUP = 0x4600,
    KVM_LEAF = 0x40000000,
    KVM_MSI_EXT_DEST_ID = 1u << 15,
    RTC_SECONDS = 0,
    RTC_STATUS_A = 0x0a,
    RTC_UPDATING = 0x80,
};

extern const char trampoline[], trampoline_end[];
extern volatile uint32_t ap_next;

static void (*ap_fn)(unsigned number);

void ap_entry(unsigned number);

void apic_on(void)
{
    if ((cpuid(1, 0).ecx & LEAF1_ECX_X2APIC) == 0) {
        out("not ok - this CPU offers no x2APIC\n");
        exit_with(1);
    }
    msr_write(MSR_APIC_BASE, msr_read(MSR_APIC_BASE) | APIC_BASE_X2);
    msr_write(X2APIC_SVR, APIC_SVR_ON);
}

uint32_t apic_id(void)
{
    return (uint32_t)msr_read(X2APIC_ID);
}

bool msi_reaches_all(void)
{
    return cpuid(KVM_LEAF, 0).eax >= KVM_LEAF + 1 &&
           (cpuid(KVM_LEAF + 1, 0).eax & KVM_MSI_EXT_DEST_ID) != 0;
}

void ap_entry(unsigned number)
{
    trap_load();
    apic_on();
    smp_arrive();
    ap_fn(number);
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void place_trampoline(void (*fn)(unsigned number))
{
    ap_fn = fn;
    memcpy((void *)(uintptr_t)AP_TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
    barrier();
}

void smp_start(uint32_t id, void (*fn)(unsigned number))
{
    uint64_t to = (uint64_t)id << 32;

    place_trampoline(fn);
    msr_write(X2APIC_ICR, to | ICR_INIT);
    msr_write(X2APIC_ICR, to | ICR_STARTUP | AP_TRAMPOLINE >> 12);
    msr_write(X2APIC_ICR, to | ICR_STARTUP | AP_TRAMPOLINE >> 12);
}

struct start_all {
    void (*fn)(unsigned number);
    uint32_t me;
    unsigned n;
};

static void start_one(const struct acpi_cpu *cpu, void *arg)
{
    struct start_all *s = arg;

    if (!cpu->enabled || cpu->apic_id == s->me)
        return;
    s->n++;
    smp_start(cpu->apic_id, s->fn);
}

unsigned smp_start_all(void (*fn)(unsigned number))
{
    struct start_all s = { .fn = fn, .me = apic_id() };

    acpi_each_cpu(start_one, &s);
    return s.n;
}

static void count_one(const struct acpi_cpu *cpu, void *arg)
{
    *(unsigned *)arg += cpu->enabled;
}

unsigned smp_broadcast(void (*fn)(unsigned number))
{
    uint64_t base = msr_read(MSR_APIC_BASE);
    unsigned n = 0;

    acpi_each_cpu(count_one, &n);
    place_trampoline(fn);
    msr_write(MSR_APIC_BASE, base & ~(uint64_t)APIC_BASE_X2); /* back only by way of off */
    msr_write(MSR_APIC_BASE, (base & ~(uint64_t)APIC_BASE_X2) | APIC_BASE_ON);
    write32(LAPIC_BASE + XAPIC_SVR, APIC_SVR_ON);
    write32(LAPIC_BASE + XAPIC_ICR, ICR_ALL_BUT_SELF | ICR_INIT);
    write32(LAPIC_BASE + XAPIC_ICR, ICR_ALL_BUT_SELF | ICR_STARTUP | AP_TRAMPOLINE >> 12);
    apic_on();
    return n - 1;
}

uint8_t rtc_read(uint8_t reg)
{
    outb(PLATFORM_RTC_PORT, reg);
    return inb(PLATFORM_RTC_PORT + 1);
}

static uint8_t rtc_second(void)
{
    unsigned tries;

    for (tries = 0; tries < 1000 && (rtc_read(RTC_STATUS_A) & RTC_UPDATING); tries++)
        cpu_pause();
    return rtc_read(RTC_SECONDS);
}

/* One second more than asked for, because the current one is under way. */
struct deadline deadline_in(unsigned seconds)
{
    return (struct deadline){ .last = rtc_second(), .left = seconds + 1 };
}

bool deadline_over(struct deadline *d)
{
    uint8_t now;

    if (d->left == 0)
        return true;
    if (++d->polls % 256 != 0) /* an exit each: not in every round */
        return false;
    now = rtc_second();
    if (now != d->last) {
        d->last = now;
        d->left--;
    }
    return d->left == 0;
}
