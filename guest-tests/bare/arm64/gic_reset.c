/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reset leaves nothing of the interrupt controller as the guest had it.
 *
 * Two boots of one run. The first writes what it found into sectors of the disk: distributor,
 * redistributors and ITS, and what each CPU's interface held when it came on. Then it changes all of
 * that, leaves interrupts pending and active, LPIs among them, and resets; the second looks whether
 * it finds the same.
 */
#include "guest-tests/bare/lib/arm64/its.h"
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/virtio.h"

enum {
    SECONDS = 60,
    WORDS = 256,
    SECTORS = WORDS / 64,
    CTLR = 0x0000, /* of the distributor, of a redistributor and of the ITS */
    PROPBASER = 0x0070,
    PENDBASER = 0x0078,
    CBASER = 0x0080,
    CWRITER = 0x0088,
    CREADR = 0x0090,
    BASER = 0x0100,
    IGROUPR = 0x0080,
    ISENABLER = 0x0100,
    ICENABLER = 0x0180,
    ISPENDR = 0x0200,
    ISACTIVER = 0x0300,
    IPRIORITYR = 0x0400,
    ICFGR = 0x0c00,
    IROUTER = 0x6000,
    SECOND_FRAME = 0x10000,
    FIRST_SPI = 32,
    N_SPIS = 32,
    SGI = 9,
    NONE_PENDING = 1020,
    DEVICE = 0x10,
    EVENT = 1,
    LPI = LPI_FIRST + 5,
};
#define NOTE_MARK 0x6769632072657365ull
#define BASE_KEPT (1ull << 63 | 0xffffffff0000ull) /* of a table: valid, and where a guest put it */

struct word {
    const char *what;
    uint64_t cpu, off, v;
};

static struct word word[WORDS];
static unsigned n_words, n_cpus;
static uint64_t mpidr[MAX_CPUS];
static uint64_t sector[SECTORS][64] __attribute__((aligned(512)));
static volatile uint32_t left_active;

static void take(const struct tree_node *node, void *arg)
{
    (void)arg;
    if (tree_is(node, "device_type", "cpu") && n_cpus < MAX_CPUS)
        mpidr[n_cpus++] = tree_cell(node, "reg", 0, 0);
}

/* --- what there is --------------------------------------------------------------------------- */

static void put(const char *what, uint64_t cpu, uint64_t off, uint64_t v)
{
    if (n_words < WORDS)
        word[n_words] = (struct word){ what, cpu, off, v };
    n_words++;
}

static void put_run(const char *what, uint64_t cpu, uint64_t base, unsigned first, unsigned bytes)
{
    unsigned i;

    for (i = first; i < first + bytes; i += 4)
        put(what, cpu, i, read32(base + i));
}

/* A frame's words of @n interrupts from @first on. */
static void put_frame(const char *what, uint64_t cpu, uint64_t base, unsigned first, unsigned n)
{
    put_run(what, cpu, base, IGROUPR + first / 8, n / 8);
    put_run(what, cpu, base, ISENABLER + first / 8, n / 8);
    put_run(what, cpu, base, ISPENDR + first / 8, n / 8);
    put_run(what, cpu, base, ISACTIVER + first / 8, n / 8);
    put_run(what, cpu, base, IPRIORITYR + first, n);
    put_run(what, cpu, base, ICFGR + first / 4, n / 4);
}

static void put_table(const char *what, uint64_t cpu, uint64_t base, unsigned off)
{
    put(what, cpu, off, read64(base + off) & BASE_KEPT);
}

static void put_controller(void)
{
    unsigned i;
    uint64_t at;

    put_run("distributor", 0, ARM64_GICD_BASE, CTLR, 4);
    put_frame("distributor", 0, ARM64_GICD_BASE, FIRST_SPI, N_SPIS);
    put_run("distributor", 0, ARM64_GICD_BASE, IROUTER + 8 * FIRST_SPI, 8 * N_SPIS);
    for (i = 0; i < n_cpus; i++) {
        at = gic_redistributor(mpidr[i]);
        put_run("redistributor", mpidr[i], at, CTLR, 4);
        put_table("redistributor", mpidr[i], at, PROPBASER);
        put_table("redistributor", mpidr[i], at, PENDBASER);
        put_frame("redistributor", mpidr[i], at + SECOND_FRAME, 0, FIRST_SPI);
    }
    put_run("ITS", 0, ARM64_ITS_BASE, CTLR, 4);
    put_table("ITS", 0, ARM64_ITS_BASE, CBASER);
    put("ITS", 0, CWRITER, read64(ARM64_ITS_BASE + CWRITER));
    put("ITS", 0, CREADR, read64(ARM64_ITS_BASE + CREADR));
    for (i = 0; i < 8; i++)
        put_table("ITS", 0, ARM64_ITS_BASE, BASER + 8 * i);
}

/* CPUs came on one by one, in the order of the tree. */
static void put_interfaces(void)
{
    const struct gic_found *f;
    unsigned i;

    for (i = 0; i < n_cpus && (f = gic_found(i)) != NULL; i++) {
        put("MPIDR", f->mpidr, 0, f->mpidr);
        put("GICD_CTLR at", f->mpidr, 0, i > 0 ? 0 : f->distributor);
        put("GICR_IGROUPR0 of", f->mpidr, 0, f->groups);
        put("ICC_CTLR_EL1 of", f->mpidr, 0, f->control);
        put("ICC_PMR_EL1 of", f->mpidr, 0, f->mask);
        put("ICC_BPR1_EL1 of", f->mpidr, 0, f->split);
        put("ICC_IGRPEN1_EL1 of", f->mpidr, 0, f->on);
        put("ICC_AP1R0_EL1 of", f->mpidr, 0, f->active);
    }
}

static void compare(void)
{
    unsigned i, bad = 0;
    uint64_t was;

    for (i = 0; i < n_words && i < WORDS; i++) {
        was = sector[i / 64][i % 64];
        if (word[i].v == was)
            continue;
        if (bad++ < 12)
            note("%s %lx, register %lx: %lx, not %lx", word[i].what, word[i].cpu, word[i].off,
                 word[i].v, was);
    }
    ok(bad == 0, "the interrupt controller is as at power-on (%u of %u registers are not)", bad,
       n_words);
}

/* --- changing all of it ------------------------------------------------------------------------ */

/* Takes an interrupt and never ends it; changes the interface. One that waits already may be of
 * either group. */
static void spoil_interface(void)
{
    struct deadline late = deadline_in(SECONDS);

    while (sys_read("s3_0_c12_c12_0") >= NONE_PENDING && !deadline_over(&late))
        cpu_pause(); /* ICC_IAR1_EL1 */
    sys_write("s3_0_c12_c12_4", 2); /* ICC_CTLR_EL1: deactivation apart */
    sys_write("s3_0_c12_c12_3", 5); /* ICC_BPR1_EL1 */
    sys_write("s3_0_c4_c6_0", 0x58); /* ICC_PMR_EL1 */
    left_active += sys_read("s3_0_c12_c9_0") != 0;
}

static void other_cpu(unsigned number)
{
    (void)number;
    spoil_interface();
    for (;;)
        cpu_wait();
}

static void stays(unsigned number)
{
    (void)number;
    for (;;)
        cpu_wait();
}

static void start_cpus(void (*fn)(unsigned number))
{
    unsigned i;
    bool good = true;

    for (i = 1; i < n_cpus; i++)
        good &= smp_start(mpidr[i], i, fn) == 0 && smp_wait(i, SECONDS);
    ok(good, "the other %u CPUs start", n_cpus - 1);
}

static void spoil_frame(uint64_t base, unsigned first, unsigned n)
{
    unsigned i;

    for (i = first; i < first + n; i += 4)
        write32(base + IPRIORITYR + i, 0x40404040);
    for (i = first; i < first + n; i += 32) {
        write32(base + IGROUPR + i / 8, 0x5a5a5a5a);
        write32(base + ISENABLER + i / 8, 0xff00ff00);
        write32(base + ISPENDR + i / 8, 0xff000000);
        write32(base + ISACTIVER + i / 8, 0x00ff0000);
    }
    write32(base + ICFGR + first / 4 + 4, 0xaaaaaaaa);
}

static void spoil(void)
{
    struct deadline late = deadline_in(SECONDS);
    unsigned i;

    for (i = 0; i < n_cpus; i++) {
        write32(gic_redistributor(mpidr[i]) + SECOND_FRAME + ISENABLER, 1u << SGI);
        gic_send(SGI, mpidr[i]);
    }
    spoil_interface();
    while (left_active < n_cpus && !deadline_over(&late))
        cpu_pause();
    ok(left_active == n_cpus, "an interrupt is active on each CPU (%u)", left_active);
    for (i = 0; i < N_SPIS; i++)
        gic_route(FIRST_SPI + i, mpidr[n_cpus - 1]);
    spoil_frame(ARM64_GICD_BASE, FIRST_SPI, N_SPIS);
    for (i = 0; i < n_cpus; i++) {
        spoil_frame(gic_redistributor(mpidr[i]) + SECOND_FRAME, 0, FIRST_SPI);
        write32(gic_redistributor(mpidr[i]) + SECOND_FRAME + ICENABLER, 0xf0);
    }
}

/* --- the LPI ----------------------------------------------------------------------------------- */

static void leave_pending(void)
{
    ok(its_start(), "tables, redistributors and the ITS start");
    its_device(DEVICE, 2);
    its_map(DEVICE, EVENT, LPI, mpidr[0]);
    its_enable(DEVICE, EVENT, LPI, false);
    its_raise(DEVICE, EVENT);
    ok(its_done(), "an LPI is left pending");
}

static void reset(void)
{
    (void)psci(PSCI_SYSTEM_RESET, 0, 0, 0);
    ok(false, "the machine is reset");
    tap_done();
}

void guest_main(void)
{
    static uint64_t mark[64] __attribute__((aligned(512)));
    struct vdev d = { 0 };
    struct vq q = { 0 };
    unsigned i;
    bool second;

    tree_each(take, NULL);
    put_controller();
    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &d))
        tap_skip_all("this machine has no disk to remember the first boot on");
    if (!ok(vdev_start(&d, &q, 0) && blk_read(&q, 0, mark, 1), "the disk answers"))
        tap_done();
    second = mark[0] == NOTE_MARK;
    note("this is the %s boot", second ? "second" : "first");
    start_cpus(second ? stays : other_cpu);
    put_interfaces();
    ok(n_words <= WORDS, "there is room for all %u words", n_words);
    if (second) {
        ok(blk_read(&q, 1, sector, SECTORS), "what was at power-on is read back");
        compare();
        tap_done();
    }
    for (i = 0; i < n_words && i < WORDS; i++)
        sector[i / 64][i % 64] = word[i].v;
    mark[0] = NOTE_MARK;
    ok(blk_write(&q, 1, sector, SECTORS) && blk_write(&q, 0, mark, 1), "what is here is noted");
    leave_pending();
    spoil();
    reset();
}
