/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pager on this machine's kernel: two virtual nodes of 16 MiB and the threads that serve their
 * faults. Who includes this skips where userfaultfd is not allowed.
 */
#ifndef MEMORY_PAGER_TEST_PAGER_RIG_H
#define MEMORY_PAGER_TEST_PAGER_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory/pager/pager.h"
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "memory/test/plan_ram.h"
#include "memory/test/test_map.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    SMALL = 4096, NODES = 2, NODE_BYTES = 16 * MIB, PAGES = NODE_BYTES / SMALL,
    EXTENT = 2 * MIB, EXTENT_PAGES = EXTENT / SMALL,
};

struct rig {
    struct plan_ram plan;
    struct mem_layout *layout;
    struct guest_mem *mem;
    struct pager *pager;
    pthread_t thread[NODES];
    int quit_fd;
    _Atomic int lost;
    char why[160];
    uint64_t now_ns;
    bool in_hurry; /* somebody waits for the thread that evicts */
};

static inline bool always(void *ctx, uint64_t evicted_bytes)
{
    (void)ctx;
    (void)evicted_bytes;
    return true;
}

static const struct pager_evict_ops evict_ops = { .between = always };

static inline void was_lost(void *ctx, struct vnode_id vnode, const char *why)
{
    struct rig *rig = ctx;

    (void)vnode;
    (void)snprintf(rig->why, sizeof(rig->why), "%s", why);
    atomic_fetch_add(&rig->lost, 1);
}

static inline bool hurries(void *ctx)
{
    const struct rig *rig = ctx;

    return rig->in_hurry;
}

struct server {
    struct rig *rig;
    uint32_t node;
};

static inline void *serve(void *arg)
{
    struct server server = *(struct server *)arg;

    free(arg);
    pager_serve(server.rig->pager, (struct vnode_id){ server.node }, server.rig->quit_fd);
    return NULL;
}

/* @with: what is not the rig's own of the pager's parameters. @hotplug_bytes: a window of the second
 * node, whose backing is the last then. */
static inline void rig_init_hotplug(struct rig *rig, const struct pager_params *with,
                                    uint64_t hotplug_bytes)
{
    struct pager_params params = *with;
    const uint64_t ram[NODES] = { NODE_BYTES, NODE_BYTES };
    struct errctx ec = { 0 };
    int fd, r = uffd_open(&fd, &ec);

    if (r == -EPERM || r == -EACCES || r == -ENOSYS || r == -ENOTSUP) {
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    assert_int_equal(r, 0);
    (void)close(fd);
    memset(rig, 0, sizeof(*rig));
    plan_ram_init(&rig->plan, NODES, ram);
    rig->plan.nodes[1].hotplug_bytes = hotplug_bytes;
    assert_int_equal(mem_layout_make(&test_map, &rig->plan.plan, 40, &rig->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&rig->plan.plan, rig->layout, &rig->mem, NULL), 0);
    params.mem = rig->mem;
    params.lost = was_lost;
    params.hurry = hurries;
    params.ctx = rig;
    params.budget_milli = 1000;
    r = pager_new(&params, &rig->pager, &ec);
    if (r < 0)
        fail_msg("%s", ec.msg);
    rig->quit_fd = eventfd(0, EFD_CLOEXEC);
    assert_true(rig->quit_fd >= 0);
    for (uint32_t i = 0; i < NODES; i++) {
        struct server *server = malloc(sizeof(*server));

        assert_non_null(server);
        *server = (struct server){ rig, i };
        assert_int_equal(pthread_create(&rig->thread[i], NULL, serve, server), 0);
    }
}

static inline void rig_init_params(struct rig *rig, const struct pager_params *with)
{
    rig_init_hotplug(rig, with, 0);
}

/* @store_bytes, @swap: as of struct pager_params. */
static inline void rig_init_swap(struct rig *rig, uint64_t store_bytes, struct swap *swap)
{
    rig_init_params(rig, &(struct pager_params){ .store_bytes = store_bytes, .swap = swap });
}

static inline void rig_init_with(struct rig *rig, uint64_t store_bytes)
{
    rig_init_swap(rig, store_bytes, NULL);
}

static inline void rig_init(struct rig *rig)
{
    rig_init_with(rig, 0);
}

static inline void rig_fini(struct rig *rig)
{
    assert_int_equal(eventfd_write(rig->quit_fd, 1), 0);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(pthread_join(rig->thread[i], NULL), 0);
    (void)close(rig->quit_fd);
    assert_int_equal(guest_mem_leases(rig->mem), 0);
    pager_free(rig->pager);
    guest_mem_free(rig->mem);
    mem_layout_free(rig->layout);
}

static inline uint8_t *page_at(const struct rig *rig, uint32_t node, size_t page)
{
    return guest_mem_backing(rig->mem, node)->host + page * SMALL;
}

static inline enum page_state state_of(const struct rig *rig, uint32_t node, size_t page)
{
    return page_state(atomic_load(&rig->pager->nodes[node].regions[0].words[page]));
}

static inline uint64_t evict(struct rig *rig, uint32_t node, uint64_t bytes)
{
    struct errctx ec = { 0 };
    uint64_t got = 0;

    if (pager_evict(rig->pager, (struct vnode_id){ node }, bytes, &evict_ops, NULL, &got, &ec) < 0)
        fail_msg("%s", ec.msg);
    return got;
}

static inline struct pager_counts count(struct rig *rig, uint32_t node)
{
    struct pager_counts c;

    assert_true(pager_count(rig->pager, (struct vnode_id){ node }, &c));
    return c;
}

/* Read a byte of a page as the kernel does for others: where that fails the page is lost. Return:
 * why, or NULL. */
static inline const char *why_lost(struct rig *rig, uint32_t node, size_t page)
{
    struct iovec from = { page_at(rig, node, page), 1 };
    uint8_t byte;
    struct iovec to = { &byte, 1 };

    if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1)
        return NULL;
    while (!pager_lost_at(rig->pager, from.iov_base, rig->why, sizeof(rig->why)))
        (void)sched_yield(); /* the fault thread is some lines behind */
    return rig->why;
}

/* Counters follow a moment after who waited was woken. */
static inline struct pager_counts count_all_back(struct rig *rig, uint32_t node)
{
    struct pager_counts c;

    do {
        (void)sched_yield();
        c = count(rig, node);
    } while (c.filled_pages < c.evicted_pages || c.away_pages > 0 || c.away_zero_pages > 0 ||
             c.store.pages > 0);
    return c;
}

/* What page number @page has in its @version: zeroes, something that many pages are, text,
 * noise. */
static inline void make(uint8_t *buf, size_t page, uint32_t version)
{
    uint64_t seed = page * 0x9e3779b97f4a7c15ull + version;
    const unsigned kind = (unsigned)(page + version) % 5;

    memset(buf, kind == 1 ? (int)version % 3 : 0, SMALL);
    if (kind <= 1)
        return;
    for (size_t i = 0; i < SMALL; i += 8) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        if (kind == 2 || i < SMALL * (kind - 2) / 4)
            memcpy(buf + i, &seed, 8);
    }
}

/* The fault thread may be some lines behind who touched. */
static inline void touch(struct rig *rig, size_t page)
{
    (void)*(volatile uint8_t *)page_at(rig, 0, page);
    for (;;) {
        LOCK_SCOPE(&rig->pager->nodes[0].serving);
        if (page_leases(atomic_load(&rig->pager->nodes[0].regions[0].words[page])) == 0)
            return;
    }
}

static inline void mend(struct rig *rig)
{
    while (pager_mend(rig->pager, 100 * 1000 * 1000))
        ;
}

#endif
