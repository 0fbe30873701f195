/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory whose content is lost, and a guest that hears of it, or one that does not listen ("deaf").
 *
 * Fills pages from 8 MiB on with words that depend on their address, says so and waits for the
 * power button, which the host presses when it has taken the pages away and damaged where it keeps
 * them. Then it reads them all. Each must have what was written, or be told as lost by a machine
 * check whose bank has its address, and once more when it is touched again. "lost=N": so many are.
 */
#include "guest-tests/bare/lib/bare.h"

enum {
    SECONDS = 90,
    VECTOR_MACHINE_CHECK = 18,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_BANKS = 0x400,
    MCIP = 1 << 2,
    RIPV = 1 << 0,
    CR4_MCE = 1 << 6,
    CODE_DATA_LOAD = 0x134,
    UNTOUCHED = 0x5a5a, /* what is where a load would have put something */
};
#define FIRST_BYTE (8 * MIB) /* behind the image and what the loader puts there */
#define LEN_BYTES  (6 * MIB)
#define BIT(n)     (1ull << (n))

static volatile uint64_t told, told_at, told_status, told_mcg, told_misc, told_banks, told_rip;
static volatile uint64_t load_at, load_end; /* the instruction that touches a page */

static void machine_check(struct trap_frame *f)
{
    const unsigned n = (unsigned)msr_read(MSR_MCG_CAP) & 0xff;
    unsigned i;

    told_rip = f->rip;
    f->rip = load_end; /* or it would be tried for ever */
    told_mcg = msr_read(MSR_MCG_STATUS);
    for (i = 0; i < n; i++) {
        const uint64_t status = msr_read(MSR_BANKS + 4 * i + 1);

        if ((status & BIT(63)) == 0)
            continue;
        told_banks++;
        told_status = status;
        told_at = msr_read(MSR_BANKS + 4 * i + 2);
        told_misc = msr_read(MSR_BANKS + 4 * i + 3);
        msr_write(MSR_BANKS + 4 * i + 1, 0);
    }
    told++;
    msr_write(MSR_MCG_STATUS, 0);
}

static void listen_for_machine_checks(void)
{
    uint64_t cr4;

    trap_on(VECTOR_MACHINE_CHECK, machine_check);
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_MCE));
}

static uint64_t value(uint64_t page)
{
    return page * 0x9e3779b97f4a7c15ull + 5;
}

static void fill(uint64_t page)
{
    unsigned i;

    for (i = 0; i < PAGE_BYTES; i += 8)
        write64(page + i, value(page + i));
}

/* One touch. Return: was it told that the page is lost? */
static bool is_lost(uint64_t page, uint64_t *got)
{
    const uint64_t before = told;
    uint64_t v;

    told_banks = 0;
    __asm__ volatile("lea 1f(%%rip), %0\n\t"
                     "mov %0, %1\n\t"
                     "lea 2f(%%rip), %0\n\t"
                     "mov %0, %2\n\t"
                     "mov %4, %0\n"
                     "1:\tmov (%3), %0\n"
                     "2:"
                     : "=&r"(v), "=m"(load_at), "=m"(load_end)
                     : "r"(page), "i"(UNTOUCHED)
                     : "memory");
    *got = v;
    return told != before;
}

static bool was_told_well(uint64_t page)
{
    const uint64_t uncorrected = BIT(63) | BIT(61) | BIT(60) | BIT(59) | BIT(58);

    return told_banks == 1 && told_at >> 12 == page >> 12 &&
           (told_status & uncorrected) == uncorrected && (told_status & BIT(57)) == 0 &&
           (told_status & 0xffff) == CODE_DATA_LOAD && told_misc == 0x8c &&
           (told_mcg & MCIP) != 0 && told_rip == ((told_mcg & RIPV) != 0 ? load_at : load_end);
}

static uint64_t n_pages, n_lost, n_bad, n_badly;

static void check(uint64_t page)
{
    uint64_t got;

    n_pages++;
    if (!is_lost(page, &got)) {
        n_bad += got != value(page);
        return;
    }
    if (n_lost++ < 3)
        note("page %lx is lost: status %lx, %lx, MCG status %lx", page, told_status, told_at,
             told_mcg);
    n_badly += !was_told_well(page);
    n_bad += got != ((told_mcg & RIPV) != 0 ? UNTOUCHED : UINT64_MAX);
    n_badly += !is_lost(page, &got) || !was_told_well(page); /* and so it stays */
}

static void each_page(void (*f)(uint64_t page))
{
    uint64_t page;

    for (page = FIRST_BYTE; page < FIRST_BYTE + LEN_BYTES; page += PAGE_BYTES)
        f(page);
}

void guest_main(void)
{
    const uint64_t want = text_number(boot.cmdline, "lost", 1);
    struct deadline late = deadline_in(SECONDS);

    map_range(FIRST_BYTE, LEN_BYTES);
    if (!text_has(boot.cmdline, "deaf"))
        listen_for_machine_checks();
    ok((msr_read(MSR_MCG_CAP) & 0xff) == 10, "there are banks for errors (%lx)",
       msr_read(MSR_MCG_CAP));
    each_page(fill);
    note("waiting for the power button");
    while ((inb(PLATFORM_GED_PORT) & PLATFORM_GED_POWER) == 0 && !deadline_over(&late))
        cpu_pause();
    each_page(check);
    note("%lu pages, %lu of them lost", n_pages, n_lost);
    ok(n_lost == want, "%lu pages are lost", want);
    ok(n_bad == 0, "no page has anything else than was written");
    ok(n_badly == 0, "each lost page is told with its address, whenever it is touched");
    tap_done();
}
