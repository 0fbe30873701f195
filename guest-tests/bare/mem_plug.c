/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory device that was asked to plug four blocks in: blocks come and go, what goes is no memory
 * from then on, what comes is zero, and those beside keep what is in them. "rounds=N" says how often;
 * a line "round I" stands behind each.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/memdev.h"

enum { BLOCKS = 4, SECONDS = 60 };

static struct memdev m;

static uint64_t at(unsigned block)
{
    return m.base + block * m.block;
}

enum { SPECIAL = 5, PLACES = SPECIAL + 24 };

/* Some words of a block: its ends, pages of different 2 MiB in the middle, and some that lie side by
 * side. */
static uint64_t place(unsigned block, unsigned i)
{
    const uint64_t off[] = { 0, PAGE_BYTES - 8, 2 << 20, m.block / 2 + (5 << 20), m.block - 8 };

    return at(block) + (i < SPECIAL ? off[i] : (16 << 20) + (i - SPECIAL) * PAGE_BYTES);
}

static void map_block(unsigned block)
{
    unsigned i;

    for (i = 0; i < PLACES; i++)
        map_range(place(block, i) & ~(uint64_t)(PAGE_BYTES - 1), PAGE_BYTES);
}

static bool holds(unsigned block, uint64_t value)
{
    unsigned i;

    for (i = 0; i < PLACES; i++)
        if (read64(place(block, i)) != (value == 0 ? 0 : value + i))
            return false;
    return true;
}

static void put(unsigned block, uint64_t value)
{
    unsigned i;

    for (i = 0; i < PLACES; i++)
        write64(place(block, i), value + i);
}

static bool is_gone(unsigned block)
{
    unsigned i;

    for (i = 0; i < PLACES; i++)
        if (!memdev_is_no_memory(place(block, i)))
            return false;
    return true;
}

static bool ask(uint16_t type, unsigned block, uint16_t n)
{
    return memdev_ask(&m, type, at(block), n) == VIRTIO_MEM_RESP_ACK;
}

static void one_round(uint64_t value)
{
    unsigned i;
    bool zero = true;

    ok(ask(VIRTIO_MEM_REQ_PLUG, 0, BLOCKS), "four blocks are plugged in");
    for (i = 0; i < BLOCKS; i++) {
        zero = zero && holds(i, 0);
        put(i, value + 16 * i);
    }
    ok(zero, "they are zero");
    ok(ask(VIRTIO_MEM_REQ_UNPLUG, 1, 2), "two of them go");
    ok(holds(0, value) && holds(3, value + 48), "those beside keep what is in them");
    ok(is_gone(1) && is_gone(2), "what went is no memory");
    ok(holds(0, value) && holds(3, value + 48), "nor does touching it hurt others");
    ok(ask(VIRTIO_MEM_REQ_PLUG, 2, 1) && holds(2, 0), "one of them comes back, zero");
    ok(is_gone(1), "the other one stays away");
    ok(ask(VIRTIO_MEM_REQ_UNPLUG, 3, 1) && ask(VIRTIO_MEM_REQ_PLUG, 3, 1) && holds(3, 0),
       "one that comes back untouched is zero, too");
    ok(ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), "all of it goes");
    ok(is_gone(0) && is_gone(3), "and is no memory");
}

void guest_main(void)
{
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 3);
    struct deadline late;
    uint64_t round;
    unsigned i;

    if (!memdev_open(&m))
        tap_skip_all("this machine has no memory device");
    ok(memdev_start(&m, 1ull << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE), "the device starts");
    for (i = 0; i < BLOCKS; i++)
        map_block(i);
    note("waiting for memory");
    late = deadline_in(SECONDS);
    while (memdev_requested(&m) < BLOCKS * m.block && !deadline_over(&late))
        cpu_pause();
    for (round = 0; round < rounds; round++) {
        one_round(0x1111111111111111ull * (round % 15 + 1));
        note("round %lu", round);
    }
    tap_done();
}
