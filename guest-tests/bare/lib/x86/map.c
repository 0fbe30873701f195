/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages to use, and page tables for addresses above 4 GiB. The page tables are those of all
 * CPUs; mappings are added by the boot CPU only and never taken away.
 */
#include "guest-tests/bare/lib/bare.h"

enum { POOL_PAGES = 512, LEAF_EDX_1GIB = 1u << 26 };

extern uint64_t boot_pml4[512];

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

static bool has_1gib_pages(void)
{
    return cpuid(0x80000000, 0).eax >= 0x80000001 &&
           (cpuid(0x80000001, 0).edx & LEAF_EDX_1GIB) != 0;
}

static uint64_t *table_below(uint64_t *entry)
{
    if ((*entry & 1) == 0)
        *entry = phys(page_alloc(1)) | PTE_TABLE;
    return (uint64_t *)(uintptr_t)(*entry & 0xffffffffff000ull);
}

void map_range(uint64_t base, uint64_t len)
{
    bool huge = has_1gib_pages();
    uint64_t step = huge ? GIB : 2 * MIB;
    uint64_t at = base & ~(step - 1), end = base + len;
    uint64_t *pdpt_entry, *pd;

    for (; at < end; at += step) {
        if (at < 4 * GIB)
            continue; /* there from the start */
        pdpt_entry = &table_below(&boot_pml4[at >> 39 & 511])[at >> 30 & 511];
        if (huge) {
            *pdpt_entry = at | PTE_LARGE;
        } else {
            pd = table_below(pdpt_entry);
            pd[at >> 21 & 511] = at | PTE_LARGE;
        }
    }
    barrier();
}
