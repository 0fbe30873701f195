/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network interface on the user network carries frames both ways: the guest asks who has
 * 10.0.2.2 and gets the answer, and what it sends there as echo requests comes back, byte by byte.
 * Then receive buffers that no driver should offer, each followed by an answer that has nowhere to
 * go: the device may drop it or break, but a reset must help.
 *
 * "rounds=N": the answer and echoes again and again, out of every part of RAM from 8 MiB on and
 * into every other, which keeps its content around them; a line "round I" behind each.
 */
#include "guest-tests/bare/lib/bare.h"
#include "guest-tests/bare/lib/net.h"

enum { PATIENCE = 1, SECONDS = 5, BOOT_RAM = 1, ECHOES = 16, FILL_BYTES = 8 };
#define OUTSIDE (1ull << 45)
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */

static struct net net;
static uint8_t in_buf[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

static bool exchange(void)
{
    return net_start(&net) && net_greet(&net, in_buf);
}

static void offer(const char *name, uint64_t addr, uint32_t len, bool device_writes)
{
    struct vpart part = { addr, len, device_writes };
    unsigned i, bad = 0;

    if (!ok(net_start(&net), "%s: the device starts", name))
        return;
    memset(in_buf, 0x77, sizeof(in_buf));
    vq_request(&net.rx, &part, 1);
    net_ask(&net);
    (void)vq_wait(&net.rx, PATIENCE);
    note("%s: %s", name,
         vdev_status(&net.dev) & VIRTIO_CONFIG_S_NEEDS_RESET ? "DEVICE_NEEDS_RESET" : "dropped");
    for (i = device_writes ? len : 0; i < sizeof(in_buf); i++)
        bad += addr == phys(in_buf) && in_buf[i] != 0x77;
    ok(bad == 0, "%s: nothing is written beyond it", name);
    ok(exchange(), "%s: after a reset frames come again", name);
}

/* A header in one buffer and the frame in pieces, as a driver may (5.1.6.3.1). */
static void pieces(void)
{
    struct vpart part[] = {
        { phys(in_buf), 5, true },
        { phys(in_buf) + 5, NET_HEADER - 5 + 3, true },
        { phys(in_buf) + NET_HEADER + 3, 1, true },
        { phys(in_buf) + NET_HEADER + 4, 1600, true },
    };

    if (!ok(net_start(&net), "pieces: the device starts"))
        return;
    memset(in_buf, 0, sizeof(in_buf));
    vq_request(&net.rx, part, COUNT_OF(part));
    net_ask(&net);
    ok(vq_wait(&net.rx, SECONDS) > NET_HEADER && net_is_answer(in_buf), "a frame comes in pieces");
}

/* Word @i of page @page in a round. */
static uint64_t value(uint64_t page, uint64_t round, unsigned i)
{
    return (page ^ round << 40 ^ i) * 0x9e3779b97f4a7c15ull;
}

static void fill(uint64_t page, uint64_t round)
{
    for (unsigned i = 0; i < PAGE_BYTES / FILL_BYTES; i++)
        write64(page + (uint64_t)i * FILL_BYTES, value(page, round, i));
}

/* Words of @page that are not what fill() put there, from byte @from on. */
static unsigned wrong_words(uint64_t page, uint64_t round, uint64_t from)
{
    unsigned bad = 0;

    for (unsigned i = (unsigned)((from + FILL_BYTES - 1) / FILL_BYTES); i < PAGE_BYTES / FILL_BYTES;
         i++)
        bad += read64(page + (uint64_t)i * FILL_BYTES) != value(page, round, i);
    return bad;
}

/* What is in page @from goes, and comes to page @to. */
static bool echo(uint64_t from, uint64_t to, uint64_t round, unsigned k)
{
    const size_t len = k % 3 == 0 ? NET_ECHO_MAX : 32 + k * 16;
    const void *data = (const void *)(uintptr_t)from;
    void *in = (void *)(uintptr_t)to;
    int64_t end;

    fill(from, round);
    fill(to, round);
    net_echo_head(&net, (uint16_t)(round * ECHOES + k), data, len);
    end = net_echo(&net, data, len, in);
    return ok(end >= 0, "echo %u comes back", k) &&
           ok(memcmp((uint8_t *)in + NET_ECHO_AT, data, len) == 0, "with its %lu bytes", len) &&
           ok(wrong_words(from, round, 0) == 0, "what was sent is as it was") &&
           ok(wrong_words(to, round, (uint64_t)end) == 0, "so is what is behind the frame");
}

static void echoes(uint64_t round)
{
    for (size_t r = 0; r < boot.n_ranges; r++) {
        uint64_t base = boot.range[r].base, end = base + boot.range[r].len, step;

        if (boot.range[r].type != BOOT_RAM || end <= FIRST_BYTE)
            continue;
        if (base < FIRST_BYTE)
            base = FIRST_BYTE;
        step = (end - base) / (2ull * ECHOES) & ~(PAGE_BYTES - 1ull);
        for (unsigned k = 0; k < ECHOES && step != 0; k++) {
            const uint64_t at = base + 2 * k * step + round % (step / PAGE_BYTES) * PAGE_BYTES;

            if (!echo(at, at + step, round, k))
                return;
        }
    }
}

static void run_rounds(uint64_t rounds)
{
    for (uint64_t round = 0; round < rounds; round++) {
        if (ok(exchange(), "10.0.2.2 answers"))
            echoes(round);
        out("round %lu\n", round);
    }
    tap_done();
}

void guest_main(void)
{
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 0);

    if (!vdev_open(VIRTIO_ID_NET, 0, &net.dev))
        tap_skip_all("this machine has no network");
    for (size_t r = 0; r < boot.n_ranges; r++)
        if (boot.range[r].type == BOOT_RAM)
            map_range(boot.range[r].base, boot.range[r].len);
    if (rounds > 0)
        run_rounds(rounds);
    ok(exchange(), "10.0.2.2 answers");
    echoes(0);
    pieces();
    offer("a buffer smaller than the header", phys(in_buf), 8, true);
    offer("a buffer smaller than the frame", phys(in_buf), NET_HEADER + 10, true);
    offer("a buffer that only the driver writes", phys(in_buf), 1600, false);
    offer("a buffer outside RAM", OUTSIDE, 1600, true);
    offer("an empty buffer", phys(in_buf), 0, true);
    tap_done();
}
