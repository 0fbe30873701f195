/* SPDX-License-Identifier: Apache-2.0 */
/* The GICv3 (Arm IHI 0069) as guests need it: one security state, group 1, affinity routing. */
#include "guest-tests/bare/lib/bare.h"

enum {
    GICD_CTLR = 0x0000,
    GICD_CTLR_ON = 0x12, /* affinity routing, group 1 */
    GICD_IGROUPR = 0x0080,
    GICD_ISENABLER = 0x0100,
    GICD_IPRIORITYR = 0x0400,
    GICD_IROUTER = 0x6000,
    GICR_TYPER = 0x0008,
    GICR_TYPER_LAST = 0x10,
    GICR_WAKER = 0x0014,
    GICR_SGI = 0x10000, /* the second frame: as the distributor, for SGIs and PPIs */
    FIRST_SPI = 32,
    PRIORITY = 0x80,
    SGI_ALL_BUT_ME_SHIFT = 40,
    FOUND_MAX = 8,
};

static uint32_t affinity(uint64_t mpidr)
{
    return (uint32_t)((mpidr >> 32 & 0xff) << 24 | (mpidr & 0xffffff));
}

static struct gic_found found[FOUND_MAX];
static volatile uint32_t n_found;

uint64_t gic_redistributor(uint64_t mpidr)
{
    uint64_t at, type;

    for (at = ARM64_GICR_BASE; at < ARM64_PCI32_BASE; at += ARM64_GICR_LEN) {
        type = read64(at + GICR_TYPER);
        if (type >> 32 == affinity(mpidr))
            return at;
        if (type & GICR_TYPER_LAST)
            break;
    }
    return 0;
}

const struct gic_found *gic_found(unsigned nth)
{
    return nth < n_found && nth < FOUND_MAX ? &found[nth] : NULL;
}

static void remember(uint64_t redist)
{
    const unsigned i = __atomic_fetch_add(&n_found, 1, __ATOMIC_SEQ_CST);

    if (i >= FOUND_MAX)
        return;
    found[i] = (struct gic_found){
        .mpidr = cpu_mpidr(),
        .distributor = read32(ARM64_GICD_BASE + GICD_CTLR),
        .groups = read32(redist + GICR_SGI + GICD_IGROUPR),
        .control = sys_read("s3_0_c12_c12_4"),
        .mask = sys_read("s3_0_c4_c6_0"),
        .split = sys_read("s3_0_c12_c12_3"),
        .on = sys_read("s3_0_c12_c12_7"),
        .active = sys_read("s3_0_c12_c9_0"),
    };
}

bool gic_cpu_on(void)
{
    uint64_t redist;

    sys_write("s3_0_c12_c12_5", 7); /* ICC_SRE_EL1: system registers */
    redist = gic_redistributor(cpu_mpidr());
    if (redist == 0)
        return false;
    remember(redist);
    write32(ARM64_GICD_BASE + GICD_CTLR, GICD_CTLR_ON);
    write32(redist + GICR_WAKER, 0);
    write32(redist + GICR_SGI + GICD_IGROUPR, ~0u);
    sys_write("s3_0_c4_c6_0", 0xff);  /* ICC_PMR_EL1: every priority */
    sys_write("s3_0_c12_c12_7", 1);   /* ICC_IGRPEN1_EL1 */
    return true;
}

void gic_enable(unsigned id)
{
    uint64_t frame = id < FIRST_SPI ? gic_redistributor(cpu_mpidr()) + GICR_SGI : ARM64_GICD_BASE;

    write8(frame + GICD_IPRIORITYR + id, PRIORITY);
    if (id >= FIRST_SPI)
        write32(frame + GICD_IGROUPR + id / 32 * 4, ~0u);
    write32(frame + GICD_ISENABLER + id / 32 * 4, 1u << id % 32);
    barrier();
}

void gic_route(unsigned id, uint64_t mpidr)
{
    write64(ARM64_GICD_BASE + GICD_IROUTER + id * 8ull, mpidr);
    barrier();
}

/* ICC_SGI1R_EL1: a list of 16 in the lowest field, the fields above it, or all but this CPU. */
void gic_send(unsigned id, uint64_t mpidr)
{
    barrier();
    sys_write("s3_0_c12_c11_5", (mpidr >> 32 & 0xff) << 48 | (mpidr >> 16 & 0xff) << 32 |
                                    (uint64_t)id << 24 | (mpidr >> 8 & 0xff) << 16 |
                                    (mpidr >> 4 & 0xf) << 44 | 1ull << (mpidr & 0xf));
}

void gic_send_all(unsigned id)
{
    barrier();
    sys_write("s3_0_c12_c11_5", 1ull << SGI_ALL_BUT_ME_SHIFT | (uint64_t)id << 24);
}
