/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory keeps its content while the host takes it away and brings it back.
 *
 * "passes=N": from 8 MiB on every page of RAM gets words that depend on its address and on the pass,
 * and in the next pass they are checked before they are overwritten; the first pass finds zeroes, after
 * a reset from outside, too. Some pages stay zero, some are equal, some are like no other.
 */
#include "guest-tests/bare/lib/bare.h"

enum { BOOT_RAM = 1, WORDS = 6 };
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */

static uint64_t bad, n_pages;

static uint64_t value(uint64_t page, uint64_t pass, unsigned i)
{
    const uint64_t kind = (page >> 12) % 4;

    if (kind == 0)
        return 0;
    if (kind == 1)
        return pass % 3 + 1;
    return (page ^ pass << 40) * 0x9e3779b97f4a7c15ull + i;
}

static uint64_t word_at(uint64_t page, unsigned i)
{
    return page + (uint64_t)i * 808;
}

static void check_page(uint64_t page, uint64_t pass)
{
    unsigned i;

    for (i = 0; i < WORDS; i++) {
        const uint64_t want = pass == 0 ? 0 : value(page, pass, i), got = read64(word_at(page, i));

        if (got == want)
            continue;
        if (bad++ < 10)
            note("page %lx, word %u, pass %lu: %lx, not %lx", page, i, pass, got, want);
    }
}

static void one_pass(uint64_t pass, bool write)
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
            check_page(page, pass);
            for (i = 0; write && i < WORDS; i++)
                write64(word_at(page, i), value(page, pass + 1, i));
            n_pages++;
        }
    }
}

void guest_main(void)
{
    const uint64_t passes = text_number(boot.cmdline, "passes", 5);
    size_t r;
    uint64_t pass;

    for (r = 0; r < boot.n_ranges; r++)
        if (boot.range[r].type == BOOT_RAM)
            map_range(boot.range[r].base, boot.range[r].len);
    for (pass = 0; pass < passes; pass++) {
        one_pass(pass, true);
        out("pass %lu\n", pass);
    }
    one_pass(passes, false);
    ok(bad == 0, "%lu pages kept their content in %lu passes", n_pages, passes);
    tap_done();
}
