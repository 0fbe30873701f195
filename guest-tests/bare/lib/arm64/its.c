/* SPDX-License-Identifier: Apache-2.0 */
/* The driver that its.h describes. Tables are flat, of pages of 64 KiB; memory is coherent. */
#include "guest-tests/bare/lib/arm64/its.h"

#include "guest-tests/bare/lib/bare.h"

enum {
    GITS_CTLR = 0x0000,
    GITS_TYPER = 0x0008,
    GITS_CBASER = 0x0080,
    GITS_CWRITER = 0x0088,
    GITS_CREADR = 0x0090,
    GITS_BASER = 0x0100,
    N_BASERS = 8,
    TYPE_DEVICES = 1,
    TYPE_COLLECTIONS = 4,
    GICR_CTLR = 0x0000,
    GICR_TYPER = 0x0008,
    GICR_PROPBASER = 0x0070,
    GICR_PENDBASER = 0x0078,
    LPIS_ON = 1,

    CMD_INT = 0x03,
    CMD_SYNC = 0x05,
    CMD_MAPD = 0x08,
    CMD_MAPC = 0x09,
    CMD_MAPTI = 0x0a,
    CMD_INV = 0x0c,
    CMD_BYTES = 32,
    QUEUE_CMDS = PAGE_BYTES / CMD_BYTES,

    ID_BITS = 14, /* interrupt numbers up to 16,383: 8,192 LPIs, the least that there can be */
    BIG_PAGE = 0x10000,
    PRIORITY = 0x80,
    LPI_ON = 1,
    SECONDS = 20,
    MAX = 64,
    ITTS = 4,
};
#define VALID        (1ull << 63)
#define WRITE_BACK   (7ull << 59 | 1ull << 10) /* inner: allocate, write-back; inner shareable */
#define PROP_WB      (7ull << 7 | 1ull << 10)
#define BIG_PAGES    (2ull << 8)
#define PENDING_ZERO (1ull << 62)

static struct {
    uint64_t rdbase[MAX], mpidr[MAX]; /* as commands name a CPU, and its affinity */
    unsigned n;
    volatile uint8_t *config; /* a byte per LPI */
    volatile uint64_t *queue;
    unsigned next; /* command */
} its;

static uint64_t big_pages(unsigned n)
{
    const uint64_t at = phys(page_alloc((n + 1) * (BIG_PAGE / PAGE_BYTES) - 1));

    return (at + BIG_PAGE - 1) & ~(uint64_t)(BIG_PAGE - 1);
}

/* --- commands: four words, the kind in the lowest byte of the first ---------------------------- */

static void command(uint64_t a, uint64_t b, uint64_t c)
{
    volatile uint64_t *at = its.queue + its.next * 4;

    at[0] = a;
    at[1] = b;
    at[2] = c;
    at[3] = 0;
    barrier();
    its.next = (its.next + 1) % QUEUE_CMDS;
    write64(ARM64_ITS_BASE + GITS_CWRITER, its.next * (uint64_t)CMD_BYTES);
    while (read64(ARM64_ITS_BASE + GITS_CREADR) == ((its.next + 1) % QUEUE_CMDS) * CMD_BYTES)
        cpu_pause(); /* full */
}

static uint64_t of(unsigned kind, uint32_t device)
{
    return (uint64_t)device << 32 | kind;
}

static unsigned collection(uint64_t mpidr)
{
    unsigned i;

    for (i = 0; i + 1 < its.n && its.mpidr[i] != mpidr; i++)
        ;
    return i;
}

void its_device(uint32_t device, unsigned bits)
{
    static uint64_t itt[ITTS];
    static uint32_t owner[ITTS];
    unsigned i;

    for (i = 0; i + 1 < ITTS && itt[i] != 0 && owner[i] != device; i++)
        ;
    if (itt[i] == 0) {
        itt[i] = phys(page_alloc(1));
        owner[i] = device;
    }
    command(of(CMD_MAPD, device), bits - 1, VALID | itt[i]);
}

void its_map(uint32_t device, uint32_t event, uint32_t lpi, uint64_t mpidr)
{
    command(of(CMD_MAPTI, device), (uint64_t)lpi << 32 | event, collection(mpidr));
}

void its_enable(uint32_t device, uint32_t event, uint32_t lpi, bool on)
{
    its.config[lpi - LPI_FIRST] = PRIORITY | (on ? LPI_ON : 0);
    barrier();
    command(of(CMD_INV, device), event, 0);
}

void its_raise(uint32_t device, uint32_t event)
{
    command(of(CMD_INT, device), event, 0);
}

bool its_done(void)
{
    struct deadline late = deadline_in(SECONDS);
    unsigned i;

    for (i = 0; i < its.n; i++)
        command(CMD_SYNC, 0, its.rdbase[i]);
    while (read64(ARM64_ITS_BASE + GITS_CREADR) != its.next * (uint64_t)CMD_BYTES)
        if (deadline_over(&late))
            return false;
    return true;
}

/* --- start ------------------------------------------------------------------------------------- */

/* A command names a CPU by its redistributor's address or number, as the ITS wants it. */
static bool start_redistributors(void)
{
    const bool by_address = read64(ARM64_ITS_BASE + GITS_TYPER) & 1ull << 19;
    const uint64_t config = big_pages(1);
    bool good = true;
    uint64_t at, type;

    its.config = (volatile uint8_t *)(uintptr_t)config;
    for (its.n = 0, at = ARM64_GICR_BASE; its.n < MAX; at += ARM64_GICR_LEN, its.n++) {
        type = read64(at + GICR_TYPER);
        its.mpidr[its.n] = (type >> 56) << 32 | (type >> 32 & 0xffffff);
        its.rdbase[its.n] = by_address ? at : (type >> 8 & 0xffff) << 16;
        write64(at + GICR_PROPBASER, config | PROP_WB | (ID_BITS - 1));
        write64(at + GICR_PENDBASER, big_pages(1) | PROP_WB | PENDING_ZERO);
        write32(at + GICR_CTLR, LPIS_ON);
        good &= (read32(at + GICR_CTLR) & LPIS_ON) != 0;
        if (type & 1ull << 4) { /* the last one */
            its.n++;
            break;
        }
    }
    return good;
}

static bool give_table(unsigned i)
{
    const uint64_t at = ARM64_ITS_BASE + GITS_BASER + i * 8ull;
    const unsigned type = read64(at) >> 56 & 7;
    uint64_t table, got;

    if (type != TYPE_DEVICES && type != TYPE_COLLECTIONS)
        return true;
    table = big_pages(1);
    write64(at, VALID | WRITE_BACK | BIG_PAGES | table);
    got = read64(at);
    return (got & VALID) && (got & 0xffffffff0000ull) == table && (got >> 8 & 3) == 2;
}

bool its_start(void)
{
    bool good = start_redistributors();
    unsigned i;

    for (i = 0; i < N_BASERS; i++)
        good &= give_table(i);
    its.queue = page_alloc(1);
    its.next = 0;
    write64(ARM64_ITS_BASE + GITS_CBASER, VALID | WRITE_BACK | phys(its.queue));
    write64(ARM64_ITS_BASE + GITS_CWRITER, 0);
    write32(ARM64_ITS_BASE + GITS_CTLR, 1);
    for (i = 0; i < its.n; i++)
        command(CMD_MAPC, 0, VALID | its.rdbase[i] | i);
    return its_done() && good;
}
