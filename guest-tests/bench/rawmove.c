/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rawmove 4K|thp MIB FROM TO [PID ADDRESS] - what the kernel alone takes to move as much memory.
 *
 * A memory file, bound to host node FROM, touched and mapped, one huge page for each 2 MiB with
 * "thp". Then move_pages(2) 2 MiB at a time, all of whose pages stand in one call; nothing is
 * looked at or asked between. Prints one line: seconds of CPU time of this thread, seconds of real
 * time, and pages. With PID it is that process's memory from ADDRESS on (hexadecimal), a guest's, say.
 * What was prepared and where pages are afterwards is checked outside the time, which begins when it
 * has said "ready" and got a line; after its figures it waits for another one. One thread; addresses
 * are listed once, before the first call.
 */
#include <linux/mempolicy.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/macros.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum { SMALL = 4096, BATCH = 512, HUGE_BYTES = BATCH * SMALL, NODES = 64 };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "rawmove: %m: %s\n", what);
    exit(1);
}

static double now(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint8_t *take(size_t bytes, bool huge, int from)
{
    const unsigned long mask = 1ul << from;
    const int fd = memfd_create("rawmove", MFD_CLOEXEC);
    uint8_t *room, *at;

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        die("memory file");
    room = mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        die("addresses");
    at = room + (HUGE_BYTES - (uintptr_t)room % HUGE_BYTES) % HUGE_BYTES;
    at = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    if (at == MAP_FAILED)
        die("mapping");
    if (syscall(SYS_mbind, at, bytes, MPOL_BIND, &mask, NODES + 1ul, 0) < 0)
        die("mbind");
    if (madvise(at, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0)
        die("kind of pages");
    memset(at, 1, bytes);
    for (size_t off = 0; huge && off < bytes; off += HUGE_BYTES)
        if (madvise(at + off, HUGE_BYTES, MADV_COLLAPSE) < 0)
            die("no huge page");
    memset(at, 2, bytes); /* whatever was put together is mapped again */
    return at;
}

static void wait_for_line(void)
{
    int c = getchar();

    while (c != '\n' && c != EOF)
        c = getchar();
}

/* Are all pages on @node? */
static void check(pid_t pid, void *const *page, int *status, size_t n, int node)
{
    if (syscall(SYS_move_pages, pid, n, page, NULL, status, 0) < 0)
        die("where pages are");
    for (size_t i = 0; i < n; i++)
        if (status[i] != node)
            die("a page is on another node");
}

int main(int argc, char **argv)
{
    const bool fits = argc == 5 || argc == 7, huge = fits && strcmp(argv[1], "thp") == 0;
    const size_t bytes = fits ? strtoull(argv[2], NULL, 10) * MIB : 0;
    const pid_t pid = argc == 7 ? atoi(argv[5]) : 0;
    const size_t page_bytes = huge ? HUGE_BYTES : SMALL, batch = huge ? 1 : BATCH;
    const size_t n = bytes / page_bytes;
    const int from = fits ? atoi(argv[3]) : -1, to = fits ? atoi(argv[4]) : -1;
    void **page = calloc(n + 1, sizeof(*page));
    int *target = calloc(batch, sizeof(*target)), *status = calloc(n + 1, sizeof(*status));
    double cpu_s, real_s;
    uint8_t *at;

    if (bytes == 0 || bytes % HUGE_BYTES != 0 || from < 0 || from >= NODES || to < 0 || !page ||
        !target || !status) {
        fprintf(stderr, "usage: rawmove 4K|thp MIB FROM TO [PID ADDRESS]\n");
        return 2;
    }
    at = pid != 0 ? (uint8_t *)(uintptr_t)strtoull(argv[6], NULL, 16) : take(bytes, huge, from);
    for (size_t i = 0; i < n; i++)
        page[i] = at + i * page_bytes;
    for (size_t i = 0; i < batch; i++)
        target[i] = to;
    check(pid, page, status, n, from);
    puts("ready");
    (void)fflush(stdout);
    wait_for_line();

    cpu_s = now(CLOCK_THREAD_CPUTIME_ID);
    real_s = now(CLOCK_MONOTONIC);
    for (size_t i = 0; i < n; i += batch)
        if (syscall(SYS_move_pages, pid, batch, page + i, target, status + i, MPOL_MF_MOVE) != 0)
            die("move_pages");
    cpu_s = now(CLOCK_THREAD_CPUTIME_ID) - cpu_s;
    real_s = now(CLOCK_MONOTONIC) - real_s;

    printf("%.9f %.9f %zu\n", cpu_s, real_s, n);
    (void)fflush(stdout);
    wait_for_line();
    check(pid, page, status, n, to);
    return 0;
}
