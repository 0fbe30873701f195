/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chase SECONDS MIB NODE [CPU]: a pointer chase over MIB of memory that is taken from NODE, on CPU; a
 * line each second: seconds since the start, nanoseconds a step, pages on each node. Memory has no
 * policy once it is there, so that the kernel's balancing may move it.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 64, PAGE = 4096, AT_ONCE = 256, NODES = 8, MPOL_DEFAULT = 0, MPOL_BIND = 2 };

struct line {
    struct line *next;
    char rest[LINE - sizeof(struct line *)];
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One cycle through all (Sattolo). */
static void weave(struct line *lines, size_t n)
{
    uint64_t seed = 1;

    for (size_t i = 0; i < n; i++)
        lines[i].next = &lines[i];
    for (size_t i = n - 1; i > 0; i--) {
        size_t k;
        struct line *next = lines[i].next;

        seed = seed * 6364136223846793005u + 1442695040888963407u;
        k = (size_t)((seed >> 33) % i);
        lines[i].next = lines[k].next;
        lines[k].next = next;
    }
}

static void count_pages(char *at, size_t bytes, unsigned ret_pages[NODES])
{
    void *page[64];
    int node[64];

    memset(ret_pages, 0, NODES * sizeof(ret_pages[0]));
    for (size_t off = 0; off < bytes; off += sizeof(page) / sizeof(page[0]) * PAGE) {
        for (int i = 0; i < 64; i++)
            page[i] = at + off + (size_t)i * PAGE;
        if (syscall(SYS_move_pages, 0, 64ul, page, NULL, node, 0) != 0)
            continue;
        for (int i = 0; i < 64; i++)
            if (node[i] >= 0 && node[i] < NODES)
                ret_pages[node[i]]++;
    }
}

static void run_on(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 5;
    const size_t bytes = (size_t)(argc > 2 ? atoi(argv[2]) : 16) << 20;
    const unsigned long mask = 1ul << (argc > 3 ? atoi(argv[3]) : 0);
    const uint64_t start = now_ns();
    struct line *lines, *volatile at;
    uint64_t then = start;
    unsigned pages[NODES];

    if (argc > 4)
        run_on(atoi(argv[4]));
    lines = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lines == MAP_FAILED ||
        syscall(SYS_mbind, lines, bytes, MPOL_BIND, &mask, 64ul, 0) != 0)
        return 1;
    madvise(lines, bytes, MADV_NOHUGEPAGE);
    weave(lines, bytes / LINE);
    if (syscall(SYS_mbind, lines, bytes, MPOL_DEFAULT, NULL, 0ul, 0) != 0)
        return 1;
    at = lines;
    while (then - start < (uint64_t)(seconds * 1e9)) {
        const uint64_t begin = now_ns();
        uint64_t steps = 0, end;
        struct line *l = at;

        do {
            for (int i = 0; i < AT_ONCE; i++)
                l = l->next;
            steps += AT_ONCE;
            end = now_ns();
        } while (end - begin < 1000000000u);
        at = l;
        then = end;
        count_pages((char *)lines, bytes, pages);
        printf("%.1f s: %.1f ns a step, pages", (double)(end - start) / 1e9,
               (double)(end - begin) / (double)steps);
        for (int i = 0; i < 4; i++)
            printf(" %u", pages[i]);
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}
