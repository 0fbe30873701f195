/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rawmove 4K|thp MIB FROM TO [PID ADDRESS] - what the kernel alone takes to move as much memory.
 *
 * A memory file, bound to host node FROM, touched and mapped, one huge page for each 2 MiB with
 * "thp". Then move_pages(2) 2 MiB at a time, all of whose pages stand in one call; nothing is
 * looked at or asked between. With PID it is that process's memory from ADDRESS on (hexadecimal), a
 * guest's, say, as far as it is there; pages of it that are in use just then may stay.
 *
 * It says "ready", and then for each line that it reads moves everything to TO, or back to FROM
 * where it is there, and prints a line: seconds of CPU time of this thread, seconds of real time,
 * and pages that have moved. Where pages are is looked at outside the time. One thread; addresses
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

/* Is there one more? */
static bool wait_for_line(void)
{
    int c = getchar();

    while (c != '\n' && c != EOF)
        c = getchar();
    return c != EOF;
}

struct job {
    pid_t pid;
    void **page;
    int *status, *target;
    size_t n, batch;
};

/* How many pages are on @node? */
static size_t on_node(const struct job *j, int node)
{
    size_t count = 0;

    if (syscall(SYS_move_pages, j->pid, j->n, j->page, NULL, j->status, 0) < 0)
        die("where pages are");
    for (size_t i = 0; i < j->n; i++)
        count += j->status[i] == node;
    return count;
}

/* Of memory that is another's, pages that were not there when they were looked for are not to be
 * moved. Return: how many are. */
static size_t keep_there(struct job *j)
{
    size_t n = 0;

    for (size_t i = 0; j->pid != 0 && i < j->n; i++)
        if (j->status[i] >= 0)
            j->page[n++] = j->page[i];
    j->n = j->pid != 0 ? n : j->n;
    return j->n;
}

static void move_all(const struct job *j, int to)
{
    double cpu_s, real_s;
    size_t there;

    for (size_t i = 0; i < j->batch; i++)
        j->target[i] = to;
    cpu_s = now(CLOCK_THREAD_CPUTIME_ID);
    real_s = now(CLOCK_MONOTONIC);
    for (size_t i = 0; i < j->n; i += j->batch) {
        const size_t n = MIN(j->batch, j->n - i);
        const long r =
            syscall(SYS_move_pages, j->pid, n, j->page + i, j->target, j->status + i, MPOL_MF_MOVE);

        if (r < 0 || (r > 0 && j->pid == 0))
            die("move_pages");
    }
    cpu_s = now(CLOCK_THREAD_CPUTIME_ID) - cpu_s;
    real_s = now(CLOCK_MONOTONIC) - real_s;
    there = on_node(j, to);
    if (j->pid == 0 && there != j->n)
        die("a page is on another node");
    printf("%.9f %.9f %zu\n", cpu_s, real_s, there);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    const bool fits = argc == 5 || argc == 7, huge = fits && strcmp(argv[1], "thp") == 0;
    const size_t bytes = fits ? strtoull(argv[2], NULL, 10) * MIB : 0;
    const size_t page_bytes = huge ? HUGE_BYTES : SMALL;
    const int from = fits ? atoi(argv[3]) : -1, to = fits ? atoi(argv[4]) : -1;
    struct job j = { .pid = argc == 7 ? atoi(argv[5]) : 0,
                     .n = bytes / page_bytes,
                     .batch = huge ? 1 : BATCH };
    uint8_t *at;
    size_t here;

    j.page = calloc(j.n + 1, sizeof(*j.page));
    j.target = calloc(j.batch, sizeof(*j.target));
    j.status = calloc(j.n + 1, sizeof(*j.status));
    if (bytes == 0 || bytes % HUGE_BYTES != 0 || from < 0 || from >= NODES || to < 0 || !j.page ||
        !j.target || !j.status) {
        fprintf(stderr, "usage: rawmove 4K|thp MIB FROM TO [PID ADDRESS]\n");
        return 2;
    }
    at = j.pid != 0 ? (uint8_t *)(uintptr_t)strtoull(argv[6], NULL, 16) : take(bytes, huge, from);
    for (size_t i = 0; i < j.n; i++)
        j.page[i] = at + i * page_bytes;
    here = on_node(&j, from);
    if (here != keep_there(&j))
        die("a page is on another node");
    puts("ready");
    (void)fflush(stdout);
    for (bool there = false; wait_for_line(); there = !there)
        move_all(&j, there ? from : to);
    return 0;
}
