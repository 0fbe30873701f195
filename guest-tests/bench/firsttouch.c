/* SPDX-License-Identifier: Apache-2.0 */
/*
 * firsttouch - guest memory that was never used is written to for the first time, natively.
 *
 *   firsttouch plain MIB    as the kernel gives it
 *   firsttouch pager MIB    of a node that was evicted from before, so that its fault thread answers
 *
 * One thread writes to each page of MIB behind the first extent, in order. JSON: seconds and CPU
 * seconds of the process for a GiB, and faults that were answered.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "memory/pager/pager.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"

enum { PAGE = 4096, EXTENT = 2 * MIB, MEMORY_BITS = 40, MIB_MAX = 65536 };

static const struct vnode_id node;
static struct plan_ram plan;
static struct guest_mem *mem;
static struct pager *pager;
static int quit_fd;

static _Noreturn void die(const char *what)
{
    perror(what);
    exit(1);
}

static double seconds(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void lost(void *ctx, struct vnode_id vnode, const char *why)
{
    (void)ctx;
    (void)vnode;
    (void)fprintf(stderr, "firsttouch: a page is lost: %s\n", why);
    exit(1);
}

static bool go_on(void *ctx, uint64_t evicted_bytes)
{
    (void)ctx;
    (void)evicted_bytes;
    return true;
}

static void *serve(void *arg)
{
    (void)arg;
    pager_serve(pager, node, quit_fd);
    return NULL;
}

/* What the first extent had goes, with which the node's faults come to us. */
static void evict_some(pthread_t *server)
{
    static const struct pager_evict_ops ops = { .between = go_on };
    const struct pager_params params = { .mem = mem, .lost = lost, .budget_milli = 1000 };
    struct errctx ec = { 0 };
    uint64_t got;

    quit_fd = eventfd(0, EFD_CLOEXEC);
    if (quit_fd < 0 || pager_new(&params, &pager, &ec) < 0 ||
        pthread_create(server, NULL, serve, NULL) != 0 ||
        pager_evict(pager, node, UINT64_MAX, &ops, NULL, &got, &ec) < 0 || got != EXTENT) {
        (void)fprintf(stderr, "firsttouch: the first extent does not go: %s\n", ec.msg);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const bool paged = argc == 3 && strcmp(argv[1], "pager") == 0;
    const size_t mib = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
    const uint64_t bytes = mib * MIB + EXTENT;
    struct pager_counts c = { 0 };
    struct mem_layout *layout;
    struct errctx ec = { 0 };
    pthread_t server;
    double wall, cpu;
    uint8_t *at;

    if (mib == 0 || mib > MIB_MAX || mib % 2 != 0 || (!paged && strcmp(argv[1], "plain") != 0)) {
        (void)fprintf(stderr, "usage: firsttouch plain|pager MIB (an even number)\n");
        return 2;
    }
    plan_ram_init(&plan, 1, &bytes);
    if (mem_layout_make(&test_map, &plan.plan, MEMORY_BITS, &layout, &ec) < 0 ||
        guest_mem_new(&plan.plan, layout, &mem, &ec) < 0) {
        (void)fprintf(stderr, "firsttouch: %s\n", ec.msg);
        return 1;
    }
    at = guest_mem_backing(mem, 0)->host;
    memset(at, 1, EXTENT);
    if (paged)
        evict_some(&server);
    wall = seconds(CLOCK_MONOTONIC);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t i = EXTENT; i < bytes; i += PAGE)
        *(volatile uint8_t *)(at + i) = 1;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    if (paged) {
        if (!pager_count(pager, node, &c) || eventfd_write(quit_fd, 1) < 0 ||
            pthread_join(server, NULL) != 0)
            die("the fault thread");
        pager_free(pager);
    }
    guest_mem_free(mem);
    mem_layout_free(layout);
    (void)printf("{\"seconds\": %.4f, \"cpu\": %.4f, \"faults\": %llu}\n",
                 wall * 1024 / (double)mib, cpu * 1024 / (double)mib,
                 (unsigned long long)c.faults);
    return 0;
}
