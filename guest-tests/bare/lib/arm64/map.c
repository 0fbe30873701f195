/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages to use, and table entries for addresses above 4 GiB. The tables are those of all CPUs;
 * blocks of 1 GiB are added by the boot CPU only and never taken away.
 */
#include "guest-tests/bare/lib/bare.h"

enum { POOL_PAGES = 512 };

extern uint64_t boot_l0[512];

static uint8_t pool[POOL_PAGES][PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
static size_t pool_used;

void *page_alloc(size_t n)
{
    void *p = pool[pool_used];

    if (n > POOL_PAGES - pool_used) {
        out("not ok - this guest wants more than %u pages\n", (unsigned)POOL_PAGES);
        exit_with(1);
    }
    pool_used += n;
    return p;
}

static bool has_ram(uint64_t base, uint64_t len)
{
    size_t i;

    for (i = 0; i < boot.n_ranges; i++)
        if (base < boot.range[i].base + boot.range[i].len && base + len > boot.range[i].base)
            return true;
    return false;
}

void map_range(uint64_t base, uint64_t len)
{
    uint64_t at = base & ~(GIB - 1), *l0, *entry;

    for (; at < base + len; at += GIB) {
        l0 = &boot_l0[at >> 39 & 511];
        if ((*l0 & 1) == 0)
            *l0 = phys(page_alloc(1)) | TABLE;
        entry = &((uint64_t *)(uintptr_t)(*l0 & ~0xfffull))[at >> 30 & 511];
        if ((*entry & 1) == 0)
            *entry = at | (has_ram(at, GIB) ? BLOCK_NORMAL : BLOCK_DEVICE);
    }
    __asm__ volatile("dsb ishst\n isb" : : : "memory");
}
