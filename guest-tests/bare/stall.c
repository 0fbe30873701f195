/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long does the longest access take?
 *
 * Every page of RAM from 8 MiB on gets a word of its own. Then they are read and compared, one after
 * the other, over and over, and behind each of "windows=N" times of "ticks=T" stands the longest time
 * between two of them, and how many pages were wrong: "window I longest TICKS of TICKS wrong N".
 */
#include "guest-tests/bare/lib/bare.h"

enum { BOOT_RAM = 1 };
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */

struct place {
    size_t range;
    uint64_t page;
};

static uint64_t n_pages, wrong;

static uint64_t value(uint64_t page)
{
    return (page >> 12) % 2 == 0 ? 7 : page * 0x9e3779b97f4a7c15ull; /* half of them are shared */
}

/* The page behind @at, or the first one; false at the end of all. */
static bool next(struct place *at)
{
    at->page += PAGE_BYTES;
    while (at->range < boot.n_ranges) {
        const uint64_t base = boot.range[at->range].base, end = base + boot.range[at->range].len;

        if (at->page < base || at->page < FIRST_BYTE)
            at->page = base > FIRST_BYTE ? base : FIRST_BYTE;
        if (boot.range[at->range].type == BOOT_RAM && at->page + PAGE_BYTES <= end)
            return true;
        at->range++;
        at->page = 0;
    }
    return false;
}

static void fill(void)
{
    struct place at = { 0 };

    while (next(&at)) {
        write64(at.page, value(at.page));
        n_pages++;
    }
}

/* Go on from @at for @ticks; the longest step. */
static uint64_t watch(struct place *at, uint64_t ticks, uint64_t *ret_took)
{
    const uint64_t start = tsc_read();
    uint64_t last = start, longest = 0;

    while (last - start < ticks) {
        uint64_t now;

        if (!next(at)) {
            *at = (struct place){ 0 };
            continue;
        }
        wrong += read64(at->page) != value(at->page);
        now = tsc_read();
        if (now - last > longest)
            longest = now - last;
        last = now;
    }
    *ret_took = last - start;
    return longest;
}

void guest_main(void)
{
    const uint64_t windows = text_number(boot.cmdline, "windows", 3);
    const uint64_t ticks = text_number(boot.cmdline, "ticks", 100000000);
    struct place at = { 0 };
    uint64_t i, took;
    size_t r;

    for (r = 0; r < boot.n_ranges; r++)
        if (boot.range[r].type == BOOT_RAM)
            map_range(boot.range[r].base, boot.range[r].len);
    fill();
    for (i = 0; i < windows; i++) {
        const uint64_t longest = watch(&at, ticks, &took);

        out("window %lu longest %lu of %lu wrong %lu\n", i, longest, took, wrong);
    }
    ok(n_pages > 0 && wrong == 0, "%lu of %lu pages kept their content", n_pages - wrong, n_pages);
    tap_done();
}
