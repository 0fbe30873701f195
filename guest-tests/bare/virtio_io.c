/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk and an entropy source do what a driver may expect: right data, and the interrupt of a
 * queue at the CPU that its MSI-X entry names. The host filled the disk with blk_pattern().
 * Without such a device the guest says so and skips. "rounds=N": all of that again and again, with a
 * line "round I" behind each.
 */
#include <linux/virtio_blk.h>

#include "guest-tests/bare/lib/x86/acpi.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum { VECTOR = 0x50, SECONDS = 10, SECTOR = 512, READ_SECTORS = 8 };

static volatile uint32_t interrupts, wrong_cpu;
static volatile uint32_t target = ~0u;
static volatile uint32_t listening;
static uint32_t expected;

static void on_interrupt(struct trap_frame *f)
{
    (void)f;
    if (apic_id() != target)
        __atomic_fetch_add(&wrong_cpu, 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&interrupts, 1, __ATOMIC_SEQ_CST);
    apic_eoi();
}

static void listen(unsigned number)
{
    (void)number;
    __atomic_fetch_add(&listening, 1, __ATOMIC_SEQ_CST);
    for (;;)
        __asm__ volatile("sti; hlt");
}

/* The next interrupt. Waited for behind every request: two that are pending at one CPU with one
 * vector are one. A device may send some without news, too. */
static void expect_interrupt(void)
{
    struct deadline late = deadline_in(SECONDS);

    expected++;
    while (interrupts < expected)
        if (deadline_over(&late))
            return;
}

/* Interrupts go to the highest APIC id; ids above 255 take KVM's extended destinations. */
static void choose_target(const struct acpi_cpu *cpu, void *arg)
{
    uint32_t limit = *(const uint32_t *)arg;

    if (cpu->enabled && cpu->apic_id <= limit && (target == ~0u || cpu->apic_id > target))
        target = cpu->apic_id;
}

static void start_listeners(void)
{
    uint32_t limit = msi_reaches_all() ? 0x7fff : 0xff;
    struct deadline late = deadline_in(SECONDS);
    unsigned n;

    acpi_each_cpu(choose_target, &limit);
    trap_on(VECTOR, on_interrupt);
    n = smp_start_all(listen);
    smp_wait(n, SECONDS);
    while (listening < n && !deadline_over(&late))
        cpu_pause();
    if (target == apic_id()) /* one CPU: it listens itself while it polls */
        irq_on();
}

static void disk(void)
{
    static uint8_t buf[READ_SECTORS * SECTOR] __attribute__((aligned(16)));
    static struct vq q;
    struct vdev d;
    uint64_t capacity;
    unsigned i, bad = 0;

    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &d)) {
        skip("disk", "this machine has none");
        return;
    }
    expected = interrupts;
    ok(vdev_reset(&d) && vdev_negotiate(&d, 0), "disk: features are agreed on");
    pci_msix_set(&d.pci, 0, target, VECTOR);
    pci_msix_enable(&d.pci, true);
    ok(vq_setup(&d, &q, 0, 0), "disk: queue 0 takes MSI-X entry 0");
    vdev_driver_ok(&d);
    capacity = read64(d.config + offsetof(struct virtio_blk_config, capacity));
    fact("disk.sectors=%lu", capacity);
    ok(blk_read(&q, 3, buf, READ_SECTORS), "disk: a read of %u sectors succeeds",
       (unsigned)READ_SECTORS);
    for (i = 0; i < READ_SECTORS; i++)
        bad += !blk_is_pattern(buf + (size_t)i * SECTOR, 3 + i);
    ok(bad == 0, "disk: they hold what the host put there");
    expect_interrupt();
    ok(interrupts >= 1, "disk: an interrupt came");
    ok(blk_read(&q, capacity - 1, buf, 1) && blk_is_pattern(buf, capacity - 1),
       "disk: the last sector reads right");
    expect_interrupt();
    ok(!blk_read(&q, capacity, buf, 1), "disk: the sector behind it does not");
    expect_interrupt();
    memset(buf, 0xa7, SECTOR);
    ok(blk_write(&q, 1, buf, 1), "disk: a write succeeds");
    expect_interrupt();
    memset(buf, 0, SECTOR);
    ok(blk_read(&q, 1, buf, 1) && buf[0] == 0xa7 && buf[SECTOR - 1] == 0xa7,
       "disk: and reads back");
    expect_interrupt();
    ok(interrupts >= expected, "disk: an interrupt for each request (%u)", interrupts);
    ok(wrong_cpu == 0, "disk: all at the CPU with APIC id %u", target);
    ok(vdev_reset(&d), "disk: resets");
    pci_msix_enable(&d.pci, false);
}

static void rng(void)
{
    static uint64_t buf[2][8];
    struct vpart part = { phys(buf[0]), sizeof(buf[0]), true };
    static struct vq q;
    struct vdev d;

    if (!vdev_open(VIRTIO_ID_RNG, 0, &d)) {
        skip("rng", "this machine has none");
        return;
    }
    expected = interrupts;
    ok(vdev_reset(&d) && vdev_negotiate(&d, 0), "rng: features are agreed on");
    pci_msix_set(&d.pci, 0, target, VECTOR);
    pci_msix_enable(&d.pci, true);
    ok(vq_setup(&d, &q, 0, 0), "rng: queue 0 takes MSI-X entry 0");
    vdev_driver_ok(&d);
    vq_request(&q, &part, 1);
    ok(vq_wait(&q, SECONDS) > 0, "rng: gives bytes");
    expect_interrupt();
    part.addr = phys(buf[1]);
    vq_request(&q, &part, 1);
    ok(vq_wait(&q, SECONDS) > 0, "rng: and more");
    expect_interrupt();
    ok(buf[0][0] != 0 && buf[0][0] != buf[1][0], "rng: which are not the same");
    ok(interrupts >= expected, "rng: an interrupt for each request (%u)", interrupts);
    ok(wrong_cpu == 0, "rng: all at the CPU with APIC id %u", target);
    ok(vdev_reset(&d), "rng: resets");
}

void guest_main(void)
{
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 1);
    uint64_t round;

    start_listeners();
    for (round = 0; round < rounds; round++) {
        disk();
        rng();
        if (rounds > 1)
            out("round %lu\n", round);
    }
    tap_done();
}
