/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reset starts the machine anew: memory zero, devices as at power-on, all CPUs startable.
 *
 * Two boots of one run. The first marks memory and unsettles devices, notes the fact in sector 0
 * of the disk, the only thing that outlives a reset, and resets; the second checks. On the
 * command line: "how=N" with 0: reset port 0xcf9, 1: triple fault, 2: the FADT's reset register;
 * "once": do not look at the disk, reset at once (the host checks how the run ends).
 */
#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum {
    HOW_PORT,
    HOW_TRIPLE_FAULT,
    HOW_ACPI,
    KEYBOARD_PORT = 0x64,
    KEYBOARD_RESET = 0xfe,
    SCRATCH = PLATFORM_SERIAL_PORT + 7,
    MAX_MARKS = 64,
    SECONDS = 10,
    MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MTRR_WRITE_BACK = 0x806, /* enabled, write-back where no range says otherwise */
    MSR_KERNEL_GS = 0xc0000102,
};
#define MARK      0x6d61726b6d61726bull
#define UNMAPPED  (1ull << 46)
#define NOTE_MARK 0x7265736574202121ull

static uint64_t marks[MAX_MARKS];
static unsigned n_marks;
static uint64_t sector[64] __attribute__((aligned(512)));

static void here(unsigned number)
{
    (void)number;
}

static void mark_add(uint64_t at)
{
    if (n_marks == MAX_MARKS || (at + 8 > phys(image_start) && at < phys(image_end)))
        return;
    map_range(at, 8);
    marks[n_marks++] = at;
}

/* The last word of every range of RAM, and some behind the image. */
static void find_marks(void)
{
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        if (boot.range[i].type == 1 && boot.range[i].len >= PAGE_BYTES)
            mark_add((boot.range[i].base + boot.range[i].len - 8) & ~7ull);
    for (i = 0; i < 8; i++)
        mark_add(phys(image_end) + ((uint64_t)1 << 12 << i));
}

static unsigned marks_not_zero(void)
{
    unsigned i, n = 0;

    for (i = 0; i < n_marks; i++) {
        if (read64(marks[i]) == 0)
            continue;
        n++;
        note("%lx holds %lx", marks[i], read64(marks[i]));
    }
    return n;
}

static uint32_t ioapic_entry(unsigned pin)
{
    write32(IOAPIC_BASE, 0x10 + pin * 2);
    return read32(IOAPIC_BASE + 0x10);
}

/* Memory types as firmware leaves them; a register that only KVM's list of them names. */
static void check_msrs(const char *boot_name)
{
    uint64_t type = 0, base = 0;

    if (msr_read_safe(MSR_MTRR_DEF_TYPE, &type) && msr_read_safe(MSR_MTRR_BASE0, &base))
        ok(type == MTRR_WRITE_BACK && base == 0,
           "%s: all memory is write-back (default type %lx, first range %lx)", boot_name, type,
           base);
    else
        ok(true, "%s: this CPU has no memory type registers", boot_name);
    ok(msr_read(MSR_KERNEL_GS) == 0, "%s: the kernel's GS base is 0", boot_name);
}

/* The state that both boots must find. */
static void check_power_on(const char *boot_name)
{
    struct pci_dev d;
    unsigned n, command = 0, dev;

    find_marks();
    n = marks_not_zero();
    ok(n == 0, "%s: memory is zero (%u of %u marks are not)", boot_name, n, n_marks);
    ok(inb(SCRATCH) == 0, "%s: the serial port's scratch register is 0", boot_name);
    ok((ioapic_entry(PLATFORM_SERIAL_IRQ) & 1u << 16) != 0, "%s: I/O APIC pins are masked",
       boot_name);
    for (dev = 1; dev < 32; dev++)
        if (pci_at(pci_first_bus(), dev, &d))
            command += read16(d.cfg + PCI_COMMAND) & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ok(command == 0, "%s: no PCI function decodes", boot_name);
    ok(inl(PLATFORM_PCI_CF8) == 0, "%s: port 0xcf8 holds 0", boot_name);
    check_msrs(boot_name);
}

static void check_cpus(const char *boot_name)
{
    unsigned called = smp_start_all(here);

    ok(smp_wait(called, SECONDS), "%s: all %u other CPUs start", boot_name, called);
}

static void unsettle(struct vdev *d)
{
    unsigned i, n;

    for (i = 0; i < n_marks; i++)
        write64(marks[i], MARK);
    outb(SCRATCH, 0x5a);
    write32(IOAPIC_BASE, 0x10 + PLATFORM_SERIAL_IRQ * 2);
    write32(IOAPIC_BASE + 0x10, 0x40);
    msr_write(X2APIC_LVT_TIMER, 0x10041);
    (void)msr_write_safe(MSR_MTRR_BASE0, 0x10000000);
    (void)msr_write_safe(MSR_MTRR_DEF_TYPE, 0);
    msr_write(MSR_KERNEL_GS, MARK >> 32);
    if (pci_msix_table(&d->pci, &n) != 0)
        pci_msix_set(&d->pci, 0, apic_id(), 0x51);
    outl(PLATFORM_PCI_CF8, 0x80000004);
}

static _Noreturn void triple_fault(void)
{
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = { 0, 0 };

    __asm__ volatile("lidt %0" : : "m"(none));
    (void)read64(UNMAPPED); /* a fault that any KVM can deliver, unlike int3 */
    __builtin_unreachable();
}

static void acpi_reset(void)
{
    const uint8_t *fadt = (const uint8_t *)acpi_table("FACP");

    if (!ok(fadt != NULL && get32(fadt + 4) >= 129 && (get32(fadt + 112) >> 10 & 1),
            "the FADT has a reset register"))
        return;
    if (ok(fadt[116] == 1, "it is a port"))
        outb((uint16_t)get64(fadt + 120), fadt[128]);
}

static void reset(unsigned how)
{
    struct deadline late;

    outb(KEYBOARD_PORT, KEYBOARD_RESET); /* no such controller: nothing may happen */
    if (how == HOW_TRIPLE_FAULT)
        triple_fault();
    if (how == HOW_ACPI)
        acpi_reset();
    else
        outb(PLATFORM_RESET_PORT, PLATFORM_RESET_VALUE);
    late = deadline_in(SECONDS);
    while (!deadline_over(&late))
        cpu_pause();
    ok(false, "the machine is reset");
    tap_done();
}

void guest_main(void)
{
    unsigned how = (unsigned)text_number(boot.cmdline, "how", HOW_PORT);
    struct vdev d = { 0 };
    struct vq q = { 0 };
    bool second;

    if (text_has(boot.cmdline, "once"))
        reset(how);
    check_power_on("at boot");
    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &d))
        tap_skip_all("this machine has no disk to remember the first boot on");
    ok(vdev_status(&d) == 0, "the disk starts without a driver");
    if (!ok(vdev_start(&d, &q, 0) && blk_read(&q, 0, sector, 1), "the disk answers"))
        tap_done();
    second = sector[0] == NOTE_MARK;
    note("this is the %s boot", second ? "second" : "first");
    check_cpus(second ? "second boot" : "first boot");
    if (second)
        tap_done();
    sector[0] = NOTE_MARK;
    ok(blk_write(&q, 0, sector, 1), "the first boot is noted");
    unsettle(&d);
    reset(how);
}
