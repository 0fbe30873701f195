/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory keeps its content while the host takes it away and brings it back.
 *
 * "rounds=N": from 8 MiB on every page of RAM gets words that depend on its address and on the round,
 * and in the next round they are checked before they are overwritten; the first round finds zeroes,
 * after a reset from outside, too. Some pages stay zero, some are equal, some are like no other. A line
 * "round I" stands behind each.
 */
#include "guest-tests/bare/lib/bare.h"

enum { BOOT_RAM = 1, WORDS = 6 };
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */

static uint64_t bad, n_pages;

static uint64_t value(uint64_t page, uint64_t round, unsigned i)
{
    const uint64_t kind = (page >> 12) % 4;

    if (kind == 0)
        return 0;
    if (kind == 1)
        return round % 3 + 1;
    return (page ^ round << 40) * 0x9e3779b97f4a7c15ull + i;
}

static uint64_t word_at(uint64_t page, unsigned i)
{
    return page + (uint64_t)i * 808;
}

static void check_page(uint64_t page, uint64_t round)
{
    unsigned i;

    for (i = 0; i < WORDS; i++) {
        const uint64_t want = round == 0 ? 0 : value(page, round, i), got = read64(word_at(page, i));

        if (got == want)
            continue;
        if (bad++ < 10)
            note("page %lx, word %u, round %lu: %lx, not %lx", page, i, round, got, want);
    }
}

static void one_round(uint64_t round)
{
    size_t r;
    unsigned i;

    n_pages = 0;
    for (r = 0; r < boot.n_ranges; r++) {
        const uint64_t end = boot.range[r].base + boot.range[r].len;
        uint64_t page = boot.range[r].base;

        if (boot.range[r].type != BOOT_RAM)
            continue;
        if (page < FIRST_BYTE)
            page = FIRST_BYTE;
        for (; page + PAGE_BYTES <= end; page += PAGE_BYTES) {
            check_page(page, round);
            for (i = 0; i < WORDS; i++)
                write64(word_at(page, i), value(page, round + 1, i));
            n_pages++;
        }
    }
}

void guest_main(void)
{
    const uint64_t rounds = text_number(boot.cmdline, "rounds", 5);
    size_t r;
    uint64_t round;

    for (r = 0; r < boot.n_ranges; r++)
        if (boot.range[r].type == BOOT_RAM)
            map_range(boot.range[r].base, boot.range[r].len);
    for (round = 0; round < rounds; round++) {
        one_round(round);
        ok(bad == 0, "%lu pages kept their content", n_pages);
        out("round %lu\n", round);
    }
    tap_done();
}
