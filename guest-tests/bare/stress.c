/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory, a disk and a network keep what they were given, whatever the host does with the memory.
 *
 * Without end: user mode writes every byte of every page of RAM from 8 MiB on, by a pattern that
 * depends on the page and on the round, and checks it in the next round before it is overwritten;
 * the first round finds zeroes, after a reset from outside, too. Now and then a page goes to the
 * network's host, which sends its bytes back into the next page, where what lies behind the frame
 * has to stay; then to the disk, from which it is read back into that page, as is what an earlier
 * round left there.
 *
 * Some pages stay zero, some are equal, some shrink, some do not. A line "round I" stands behind
 * each round. "rounds=N": so many.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/net.h"
#include "guest-tests/bare/lib/x86/user.h"

enum {
    BOOT_RAM = 1,
    WORDS = PAGE_BYTES / 8,
    IO_EVERY = 61, /* pages; odd, so that all kinds have their turn */
    SECTORS = PAGE_BYTES / 512,
    FIRST_SECTOR = 8,
    SLOTS = 200, /* of a page each, on the disk */
    MAX_NOTES = 10,
};
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */

enum call { CALL_WRITE, CALL_READ, CALL_ECHO, CALL_WRONG, CALL_ROUND, CALL_END };

/* What a call is about. */
struct io {
    uint64_t page;
    uint64_t slot;   /* of the disk */
    uint64_t len;    /* of what goes out */
    uint64_t target; /* of what comes */
};

static struct vdev disk;
static struct vq disk_queue;
static struct net net;
static uint8_t greeting[NET_ANSWER_BYTES];
static struct {
    uint64_t page, round;
} kept[SLOTS]; /* what is on the disk; nothing in round 0 */
static uint64_t bad, n_disk, n_net, rounds_done;

/* Word @i of @page as round @round finds it: nobody has written before the first. */
static uint64_t value(uint64_t page, uint64_t round, unsigned i)
{
    if (round == 0)
        return 0;
    switch ((page >> 12) % 4) {
    case 0:
        return 0;
    case 1:
        return round % 3 + 1;
    case 2:
        return (page ^ round << 40) + i / 16;
    default:
        return ((page ^ round << 40) + i) * 0x9e3779b97f4a7c15ull;
    }
}

static void wrong(const char *what, uint64_t page, uint64_t round, unsigned i)
{
    const uint64_t said[] = { (uint64_t)(uintptr_t)what, page, round, i,
                              read64(page + (uint64_t)i * 8) };

    (void)user_call(CALL_WRONG, phys(said));
}

/* @page holds what round @round finds in page @as, from byte @from on. */
static void check(const char *what, uint64_t page, uint64_t as, uint64_t round, uint64_t from)
{
    for (unsigned i = (unsigned)((from + 7) / 8); i < WORDS; i++) {
        if (read64(page + (uint64_t)i * 8) == value(as, round, i))
            continue;
        wrong(what, page, round, i);
        return;
    }
}

static void write_page(uint64_t page, uint64_t round)
{
    for (unsigned i = 0; i < WORDS; i++)
        write64(page + (uint64_t)i * 8, value(page, round, i));
}

static bool io(enum call number, struct io *what)
{
    if (user_call(number, phys(what)) != 0)
        return true;
    wrong(number == CALL_ECHO ? "no echo came" : "the disk fails", what->page, 0, 0);
    return false;
}

/* @from, which has its pattern, goes to its place on the disk and back into @to. */
static void by_disk(uint64_t from, uint64_t to, uint64_t round, uint64_t n)
{
    struct io what = { from, n % SLOTS, 0, 0 };
    struct io back = { to, n % SLOTS, 0, 0 };

    if (kept[what.slot].round > 0 && io(CALL_READ, &back))
        check("the disk, from before", to, kept[what.slot].page, kept[what.slot].round, 0);
    kept[what.slot].page = from;
    kept[what.slot].round = round + 1;
    if (io(CALL_WRITE, &what) && io(CALL_READ, &back))
        check("the disk", to, from, round + 1, 0);
}

/* The bytes that came with an echo are those at @from. */
static void same_bytes(uint64_t from, uint64_t to, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        if (read8(to + NET_ECHO_AT + i) != read8(from + i)) {
            wrong("the network", to, i, (unsigned)((NET_ECHO_AT + i) / 8));
            return;
        }
}

static void by_net(uint64_t from, uint64_t to, uint64_t round, uint64_t n)
{
    struct io what = { from, n, n % 3 == 0 ? NET_ECHO_MAX : 32 + n % 64 * 16, to };
    const void *data = (const void *)(uintptr_t)from;

    net_echo_head(&net, (uint16_t)n, data, what.len);
    if (!io(CALL_ECHO, &what))
        return;
    same_bytes(from, to, what.len);
    check("behind a frame", to, to, round, what.target);
}

static void one_range(uint64_t page, uint64_t end, uint64_t round, uint64_t *n)
{
    for (; page + PAGE_BYTES <= end; page += PAGE_BYTES, ++*n) {
        check("memory", page, page, round, 0);
        write_page(page, round + 1);
        if (*n % IO_EVERY != 0 || page + 2 * PAGE_BYTES > end)
            continue;
        check("memory", page + PAGE_BYTES, page + PAGE_BYTES, round, 0);
        by_net(page, page + PAGE_BYTES, round, *n / IO_EVERY);
        by_disk(page, page + PAGE_BYTES, round, *n / IO_EVERY);
        page += PAGE_BYTES;
        write_page(page, round + 1);
        ++*n;
    }
}

static void user_main(void)
{
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 3);

    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t n = 0;

        for (size_t r = 0; r < boot.n_ranges; r++) {
            const uint64_t base = boot.range[r].base, end = base + boot.range[r].len;

            if (boot.range[r].type == BOOT_RAM)
                one_range(base < FIRST_BYTE ? FIRST_BYTE : base, end, round, &n);
        }
        (void)user_call(CALL_ROUND, n);
    }
    (void)user_call(CALL_END, 0);
}

static void tell_wrong(const uint64_t *said)
{
    if (bad++ < MAX_NOTES)
        note("%s: page %lx, word %lu, round %lu: %lx", (const char *)(uintptr_t)said[0], said[1],
             said[3], said[2], said[4]);
}

static uint64_t echo(struct io *what)
{
    const int64_t end = net_echo(&net, (const void *)(uintptr_t)what->page, what->len,
                                 (void *)(uintptr_t)what->target);

    n_net++;
    what->target = (uint64_t)end;
    return end >= 0;
}

/* In kernel mode: what user mode cannot do. */
static uint64_t on_call(uint64_t number, uint64_t arg)
{
    struct io *what = (struct io *)(uintptr_t)arg;

    switch (number) {
    case CALL_WRITE:
        n_disk++;
        return blk_write(&disk_queue, FIRST_SECTOR + what->slot * SECTORS,
                         (void *)(uintptr_t)what->page, SECTORS);
    case CALL_READ:
        n_disk++;
        return blk_read(&disk_queue, FIRST_SECTOR + what->slot * SECTORS,
                        (void *)(uintptr_t)what->page, SECTORS);
    case CALL_ECHO:
        return echo(what);
    case CALL_WRONG:
        tell_wrong((const uint64_t *)(uintptr_t)arg);
        return 0;
    case CALL_ROUND:
        ok(bad == 0 && user_is(),
           "%lu pages kept their content, %lu requests to the disk, %lu echoes", arg, n_disk, n_net);
        out("round %lu\n", rounds_done++);
        return 0;
    default:
        tap_done();
    }
}

void guest_main(void)
{
    for (size_t r = 0; r < boot.n_ranges; r++)
        if (boot.range[r].type == BOOT_RAM)
            map_range(boot.range[r].base, boot.range[r].len);
    if (!vdev_open(VIRTIO_ID_BLOCK, 0, &disk) || !vdev_open(VIRTIO_ID_NET, 0, &net.dev))
        tap_skip_all("this machine has no disk or no network");
    ok(vdev_start(&disk, &disk_queue, 0), "the disk starts");
    ok(net_start(&net) && net_greet(&net, greeting), "so does the network, and 10.0.2.2 answers");
    user_run(user_main, on_call);
}
