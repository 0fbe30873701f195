/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot MIB - memory that is used over and over, by turns of both nodes, in huge pages if there are any.
 *
 * Fills it and prints "@@ filled"; then each line that comes in has all of it read and compared, once
 * or for as many seconds as the line says, and is answered by "@@ used ROUNDS wrong PAGES".
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, WORDS = PAGE_BYTES / 8, FRESH = 96, MPOL_INTERLEAVE = 3, MAX_NODES = 64 };
#define HUGE_BYTES (2ull << 20)

static uint64_t *memory;
static size_t n_pages;

/* A quarter of a page is like nothing else; the rest repeats it: about what programs' data shrink to. */
static uint64_t value(size_t page, unsigned i)
{
    uint64_t x = ((uint64_t)page << 8 | i % FRESH) * 0x9e3779b97f4a7c15ull;

    return x ^ x >> 29;
}

static void fill(void)
{
    size_t page;
    unsigned i;

    for (page = 0; page < n_pages; page++)
        for (i = 0; i < WORDS; i++)
            memory[page * WORDS + i] = value(page, i);
}

static size_t read_all(void)
{
    const volatile uint64_t *at = memory;
    size_t page, wrong = 0;
    unsigned i;

    for (page = 0; page < n_pages; page++)
        for (i = page % 64; i < WORDS; i += 64)
            if (at[page * WORDS + i] != value(page, i)) {
                wrong++;
                break;
            }
    return wrong;
}

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    const unsigned long both = 3;
    char line[64], *raw;
    size_t bytes;

    if (argc != 2 || (bytes = strtoul(argv[1], NULL, 10) << 20) == 0)
        return 2;
    raw = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED)
        return 1;
    raw += HUGE_BYTES - (uintptr_t)raw % HUGE_BYTES;
    if (syscall(SYS_mbind, raw, bytes, MPOL_INTERLEAVE, &both, MAX_NODES + 1ul, 0) != 0)
        return 1;
    madvise(raw, bytes, MADV_HUGEPAGE);
    memory = (uint64_t *)raw;
    n_pages = bytes / PAGE_BYTES;
    fill();
    puts("@@ filled");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const double end = now_s() + strtod(line, NULL);
        size_t wrong = 0;
        unsigned rounds = 0;

        do {
            wrong += read_all();
            rounds++;
        } while (now_s() < end);
        printf("@@ used %u wrong %zu\n", rounds, wrong);
        fflush(stdout);
    }
    return 0;
}
