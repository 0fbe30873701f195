/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chase MIB ACCESSES [STEP] - follow a chain of pointers through MIB of memory.
 *
 * The pointers lie STEP bytes apart (64) and all of them are met before one is met again. One load
 * an access, each needs the one before; prints the nanoseconds that one took in the fastest of
 * ROUNDS equal parts, since others use the machine, too. Where the memory lies is the caller's
 * choice (numactl --membind).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { CACHE_LINE = 64, ROUNDS = 64 };

static bool power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of the fastest round of @n accesses each. */
static double chase(void **at, uint64_t n)
{
    double best = 0;
    uint64_t i;
    int round;

    for (round = 0; round < ROUNDS; round++) {
        double took, start = seconds();

        for (i = 0; i < n; i++)
            at = *at;
        __asm__ volatile("" : : "r"(at));
        took = seconds() - start;
        if (round == 0 || took < best)
            best = took;
    }
    return best;
}

int main(int argc, char **argv)
{
    size_t mib = argc >= 3 ? strtoul(argv[1], NULL, 10) : 0;
    uint64_t n = argc >= 3 ? strtoull(argv[2], NULL, 10) / ROUNDS : 0;
    size_t step = argc == 4 ? strtoul(argv[3], NULL, 10) : CACHE_LINE;
    size_t i, slots;
    char *memory;

    if (argc > 4 || n == 0 || !power_of_two(mib) || !power_of_two(step) || step < sizeof(void *) ||
        step > 1u << 20) {
        fprintf(stderr, "usage: chase MIB ACCESSES [STEP]   (MIB and STEP powers of two)\n");
        return 2;
    }
    slots = (mib << 20) / step;
    memory = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("chase");
        return 1;
    }
    /* Every slot once, in an order that jumps: a linear congruence of full period. */
    for (i = 0; i < slots; i++)
        *(void **)(memory + i * step) = memory + (i * 1664525u + 1013904223u) % slots * step;
    printf("%.1f\n", chase((void **)memory, n) * 1e9 / (double)n);
    return 0;
}
