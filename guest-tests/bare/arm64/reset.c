/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PSCI's SYSTEM_RESET starts the machine anew: memory zero, devices as at power-on, CPUs off.
 *
 * Two boots of one run. The first marks memory and unsettles devices, notes the fact in sector 0
 * of the disk, the only thing that outlives a reset, and resets; the second checks. "once" on the
 * command line: do not look at the disk, reset at once (the host checks how the run ends).
 */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { MAX_MARKS = 64, STATE_OFF = 1, SECONDS = 60, UART_MASK = 0x38, RTC_MATCH = 0x04 };
#define MARK      0x6d61726b6d61726bull
#define NOTE_MARK 0x7265736574202121ull

static uint64_t marks[MAX_MARKS], mpidr[MAX_CPUS];
static unsigned n_marks, n_cpus;
static volatile uint32_t stay = 1;
static uint64_t sector[64] __attribute__((aligned(512)));

static void take(const struct tree_node *node, void *arg)
{
    (void)arg;
    if (tree_is(node, "device_type", "cpu") && n_cpus < MAX_CPUS)
        mpidr[n_cpus++] = tree_cell(node, "reg", 0, 0);
}

static void mark_add(uint64_t at)
{
    if (n_marks == MAX_MARKS)
        return;
    map_range(at, 8);
    marks[n_marks++] = at;
}

/* The last word of every range of RAM, and some between image and tree. */
static void find_marks(void)
{
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        mark_add(boot.range[i].base + boot.range[i].len - 8);
    for (i = 0; i < 8 && phys(image_end) + (PAGE_BYTES << i) + 8 < boot.tree; i++)
        mark_add(phys(image_end) + (PAGE_BYTES << i));
}

static void stays(unsigned number)
{
    (void)number;
    while (stay)
        cpu_wait();
}

static void check_power_on(const char *boot_name)
{
    unsigned i, bad = 0, off = 0, command = 0;
    struct pci_dev d;

    for (i = 0; i < n_marks; i++)
        bad += read64(marks[i]) != 0;
    ok(bad == 0, "%s: memory is zero (%u of %u marks are not)", boot_name, bad, n_marks);
    for (i = 1; i < n_cpus; i++)
        off += psci(PSCI_AFFINITY, mpidr[i], 0, 0) == STATE_OFF;
    ok(off == n_cpus - 1, "%s: the other CPUs are off (%u of %u)", boot_name, off, n_cpus - 1);
    for (i = 1; i < 32; i++)
        if (pci_at(pci_first_bus(), i, &d))
            command += read16(d.cfg + PCI_COMMAND) & (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ok(command == 0, "%s: no PCI function decodes", boot_name);
    ok(read32(ARM64_SERIAL_BASE + UART_MASK) == 0, "%s: the serial port's interrupts are masked",
       boot_name);
    ok(read32(ARM64_RTC_BASE + RTC_MATCH) == 0, "%s: the clock has no alarm", boot_name);
}

static void reset(void)
{
    (void)psci(PSCI_SYSTEM_RESET, 0, 0, 0);
    ok(false, "the machine is reset");
    tap_done();
}

static void unsettle(void)
{
    unsigned i;

    for (i = 0; i < n_marks; i++)
        write64(marks[i], MARK);
    write32(ARM64_RTC_BASE + RTC_MATCH, 12345);
    write32(ARM64_SERIAL_BASE + UART_MASK, 0x10);
}

void guest_main(void)
{
    struct vdev d = { 0 };
    struct vq q = { 0 };
    unsigned i, started = 0;
    bool second;

    if (text_has(boot.cmdline, "once"))
        reset();
    tree_each(take, NULL);
    find_marks();
    check_power_on("at boot");
    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &d))
        tap_skip_all("this machine has no disk to remember the first boot on");
    ok(vdev_status(&d) == 0, "the disk starts without a driver");
    if (!ok(vdev_start(&d, &q, 0) && blk_read(&q, 0, sector, 1), "the disk answers"))
        tap_done();
    second = sector[0] == NOTE_MARK;
    note("this is the %s boot", second ? "second" : "first");
    for (i = 1; i < n_cpus; i++)
        started += smp_start(mpidr[i], i, stays) == 0;
    ok(started == n_cpus - 1 && smp_wait(started, SECONDS), "all %u other CPUs start", started);
    if (second)
        tap_done();
    sector[0] = NOTE_MARK;
    ok(blk_write(&q, 0, sector, 1), "the first boot is noted");
    unsettle();
    reset();
}
