/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pager on this machine's kernel: threads write patterns into guest memory and check them while
 * all of it is taken away and comes back, again and again. Skipped where userfaultfd is not allowed.
 */
// LDFLAGS: -Wl,--wrap=numa_policy_bind -Wl,--wrap=numa_policy_move
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory/pager/pager.h"
#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "memory/test/plan_ram.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

/* A host of more nodes than this one has. */
int __wrap_numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                            struct errctx *ec);
int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec);

static struct {
    unsigned binds, moves;
    struct idset bound_to; /* the last */
    uint32_t moved_to;
    size_t moved_pages;
    bool is_full;
} host;

int __wrap_numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                            struct errctx *ec)
{
    (void)ec;
    assert_true(addr != NULL && len_bytes >= 1);
    host.binds++;
    host.bound_to = *host_nodes;
    return 0;
}

int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec)
{
    unsigned char there[1];

    (void)ec;
    for (size_t i = 0; i < 2 * n; i++)
        nodes[i] = 0; /* room for it */
    for (size_t i = 0; i < n; i++)
        assert_int_equal(mincore(pages[i], 1, there), 0);
    host.moves++;
    host.moved_to = to.v;
    host.moved_pages += n;
    return host.is_full ? -ENOMEM : 0;
}

enum {
    SMALL = 4096, NODES = 2, NODE_BYTES = 16 * MIB, PAGES = NODE_BYTES / SMALL, WRITERS = 3,
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
    char why[128];
    uint64_t now_ns;
};

static bool always(void *ctx, uint64_t evicted_bytes)
{
    (void)ctx;
    (void)evicted_bytes;
    return true;
}

static const struct pager_evict_ops evict_ops = { .between = always };

static void was_lost(void *ctx, struct vnode_id vnode, const char *why)
{
    struct rig *rig = ctx;

    (void)vnode;
    (void)snprintf(rig->why, sizeof(rig->why), "%s", why);
    atomic_fetch_add(&rig->lost, 1);
}

struct server {
    struct rig *rig;
    uint32_t node;
};

static void *serve(void *arg)
{
    struct server server = *(struct server *)arg;

    free(arg);
    pager_serve(server.rig->pager, (struct vnode_id){ server.node }, server.rig->quit_fd);
    return NULL;
}

static void rig_init(struct rig *rig)
{
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
    assert_int_equal(mem_layout_make(&rig->plan.plan, 40, &rig->layout, NULL), 0);
    assert_int_equal(guest_mem_new(&rig->plan.plan, rig->layout, &rig->mem, NULL), 0);
    r = pager_new(&(struct pager_params){ .mem = rig->mem, .lost = was_lost, .ctx = rig,
                                       .budget_milli = 1000 },
                  &rig->pager, &ec);
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

static void rig_fini(struct rig *rig)
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

static uint8_t *page_at(const struct rig *rig, uint32_t node, size_t page)
{
    return guest_mem_backing(rig->mem, node)->host + page * SMALL;
}

static uint64_t evict(struct rig *rig, uint32_t node, uint64_t bytes)
{
    struct errctx ec = { 0 };
    uint64_t got = 0;

    if (pager_evict(rig->pager, (struct vnode_id){ node }, bytes, &evict_ops, NULL, &got, &ec) < 0)
        fail_msg("%s", ec.msg);
    return got;
}

static struct pager_counts count(struct rig *rig, uint32_t node)
{
    struct pager_counts c;

    assert_true(pager_count(rig->pager, (struct vnode_id){ node }, &c));
    return c;
}

/* Counters follow a moment after who waited was woken. */
static struct pager_counts count_all_back(struct rig *rig, uint32_t node)
{
    struct pager_counts c;

    do {
        (void)sched_yield();
        c = count(rig, node);
    } while (c.filled_pages < c.evicted_pages || c.away_pages > 0 || c.away_zero_pages > 0 ||
             c.store.pages > 0);
    return c;
}

/* What page number @page has in its @version: zeroes, something that many pages are, text, noise. */
static void make(uint8_t *buf, size_t page, uint32_t version)
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

/* --- one after the other ---------------------------------------------------------------------- */

static void what_is_evicted_comes_back(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t want[SMALL];
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < PAGES / 2; i++) {
        make(want, i, 1);
        memcpy(page_at(rig, 0, i), want, SMALL);
    }
    assert_int_equal(guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 0 }), NODE_BYTES / 2);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES / 2);
    assert_int_equal(guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 0 }), 0);
    c = count(rig, 0);
    assert_int_equal(c.away_pages, PAGES / 2);
    assert_true(c.away_zero_pages >= PAGES / 10);
    assert_true(c.store.held_bytes < NODE_BYTES / 2 * 3 / 4);
    assert_true(c.store.objects < c.store.pages); /* kind 1 is the same everywhere */
    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 1);
        if (i >= PAGES / 2)
            memset(want, 0, SMALL); /* never touched */
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    c = count_all_back(rig, 0);
    assert_int_equal(c.store.objects, 0);
    assert_int_equal(c.filled_pages, PAGES / 2);
    assert_true(c.ahead_pages > PAGES / 4); /* it was read in sequence */
    assert_int_equal(c.lost_pages + rig->lost, 0);
    assert_true(pager_fault_ns(&c, 500) > 0);
    rig_fini(rig);
    free(rig);
}

static void only_so_much_is_taken_as_was_asked_for(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 1, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 1, 5 * SMALL), 5 * SMALL);
    assert_int_equal(evict(rig, 1, 3 * MIB), 3 * MIB);
    assert_int_equal(guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 1 }),
                     NODE_BYTES - 3 * MIB - 5 * SMALL);
    assert_int_equal(count(rig, 0).evicted_pages, 0);
    rig_fini(rig);
    free(rig);
}

static enum page_state state_of(const struct rig *rig, uint32_t node, size_t page)
{
    return page_state(atomic_load(&rig->pager->nodes[node].regions[0].words[page]));
}

/* The fault thread may be at a page a moment longer than who touched it. */
static void evict_both(struct rig *rig)
{
    do
        (void)evict(rig, 0, UINT64_MAX);
    while (state_of(rig, 0, 10) != PAGE_EMPTY || state_of(rig, 0, 11) != PAGE_EMPTY);
}

static void wait_for_both(const struct rig *rig)
{
    while (state_of(rig, 0, 10) != PAGE_RESIDENT || state_of(rig, 0, 11) != PAGE_RESIDENT)
        (void)sched_yield();
}

/* A frame that the kernel holds for a device: vmsplice() keeps it in a pipe. */
static void what_a_device_has_stays(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct mem_lease lease;
    uint8_t got[SMALL];
    struct iovec iov;
    int pipe_fd[2];

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(guest_mem_lease_begin(rig->mem, (struct gpa){ 10 * SMALL }, 2 * SMALL,
                                           LEASE_DMA, &lease),
                     0);
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    iov = (struct iovec){ .iov_base = lease.ptr, .iov_len = SMALL };
    assert_int_equal(vmsplice(pipe_fd[1], &iov, 1, 0), SMALL);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES - 2 * SMALL);
    memset(page_at(rig, 0, 10), 9, SMALL);
    assert_int_equal(read(pipe_fd[0], got, SMALL), SMALL);
    assert_int_equal(got[SMALL - 1], 9); /* the same frame */
    guest_mem_lease_end(rig->mem, &lease);
    evict_both(rig);
    /* a lease of what is away, then a device that writes */
    assert_int_equal(guest_mem_lease_begin(rig->mem, (struct gpa){ 11 * SMALL - 8 }, 16, LEASE_DMA,
                                           &lease),
                     0);
    iov = (struct iovec){ .iov_base = lease.ptr, .iov_len = 16 };
    assert_int_equal(write(pipe_fd[1], "0123456789abcdef", 16), 16);
    assert_int_equal(readv(pipe_fd[0], &iov, 1), 16);
    wait_for_both(rig);
    (void)evict(rig, 0, UINT64_MAX); /* what was brought ahead */
    assert_int_equal(state_of(rig, 0, 10), PAGE_RESIDENT);
    assert_int_equal(state_of(rig, 0, 11), PAGE_RESIDENT);
    guest_mem_lease_end(rig->mem, &lease);
    evict_both(rig);
    assert_memory_equal(page_at(rig, 0, 11) - 8, "0123456789abcdef", 16);
    assert_int_equal(*page_at(rig, 0, 10), 9);
    assert_int_equal(page_at(rig, 0, 11)[8], 7);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    rig_fini(rig);
    free(rig);
}

/* A guest gives memory back: its copies go, and it reads as zeroes. */
static void what_is_given_back_is_not_kept(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts c;
    uint64_t gone;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 0, i), i, 9);
    assert_int_equal(evict(rig, 0, NODE_BYTES / 2), NODE_BYTES / 2);
    assert_int_equal(guest_mem_give_back(rig->mem, (struct gpa){ 0 }, NODE_BYTES, false, &gone), 0);
    c = count(rig, 0);
    assert_int_equal(c.away_pages + c.away_zero_pages + c.store.pages + c.store.objects, 0);
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(*(volatile uint64_t *)page_at(rig, 0, i), 0);
    rig_fini(rig);
    free(rig);
}

static size_t n_present(struct rig *rig, size_t first, size_t n)
{
    uint8_t there[PAGES];
    size_t sum = 0;

    assert_int_equal(guest_mem_present(rig->mem, (struct gpa){ first * SMALL }, n, there), 0);
    for (size_t i = 0; i < n; i++)
        sum += there[i] & 1;
    return sum;
}

/* In the store is not given back; and who touches memory takes nothing along that is. */
static void what_is_away_is_not_gone_and_what_is_gone_stays_so(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t gone = 0;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 0, i), i, 9);
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES);
    assert_int_equal(n_present(rig, 0, PAGES), PAGES);
    assert_int_equal(guest_mem_give_back(rig->mem, (struct gpa){ 0 }, 2 * EXTENT, false, &gone), 0);
    assert_int_equal(gone, 0); /* the host had it already */
    assert_int_equal(n_present(rig, 0, 2 * EXTENT_PAGES), 0);
    assert_int_equal(count(rig, 0).away_pages, PAGES - 2 * EXTENT_PAGES);
    assert_int_equal(guest_mem_give_back(rig->mem, (struct gpa){ 20 * SMALL }, 9 * SMALL, true, &gone),
                     0);
    *(volatile uint8_t *)page_at(rig, 0, 3) = 1;
    assert_int_equal(n_present(rig, 0, 20), 17); /* the rest comes along, up to those */
    assert_int_equal(n_present(rig, 20, EXTENT_PAGES - 20), 0);
    *(volatile uint8_t *)page_at(rig, 0, 24) = 1; /* it is touched itself */
    assert_int_equal(n_present(rig, 20, EXTENT_PAGES - 20), 1);
    *(volatile uint8_t *)page_at(rig, 0, EXTENT_PAGES) = 1; /* not for long: all of it */
    assert_int_equal(n_present(rig, EXTENT_PAGES, EXTENT_PAGES), EXTENT_PAGES);
    rig_fini(rig);
    free(rig);
}

/* As reading the file through another mapping does, or a huge page of an old kernel's. */
static void holes_that_somebody_filled_are_no_pages(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t want[SMALL];
    const uint8_t *other;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 4);
        memcpy(page_at(rig, 0, i), want, SMALL);
    }
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    other = mmap(NULL, NODE_BYTES, PROT_READ, MAP_SHARED, guest_mem_backing(rig->mem, 0)->memfd, 0);
    assert_true(other != MAP_FAILED);
    for (size_t i = 0; i < PAGES; i += 3)
        assert_int_equal(*(const volatile uint8_t *)(other + i * SMALL), 0);
    for (size_t i = PAGES; i > PAGES / 2; i--) { /* backwards, each alone */
        make(want, i - 1, 4);
        assert_memory_equal(page_at(rig, 0, i - 1), want, SMALL);
    }
    assert_true(count(rig, 0).strange_pages >= PAGES / 6);
    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 4);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    (void)munmap((void *)(uintptr_t)other, NODE_BYTES);
    rig_fini(rig);
    free(rig);
}

/* Bytes of memory files that huge pages map here. */
static uint64_t huge_bytes(void)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long long kib, sum = 0;
    char line[512];

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "ShmemPmdMapped: %llu", &kib) == 1)
            sum += kib * KIB;
    (void)fclose(f);
    return sum;
}

static void skip_without_collapse(void)
{
    struct mem_area area;
    int fd = memfd_create("probe", MFD_CLOEXEC), r;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, BACKING_EXTENT), 0);
    assert_int_equal(mem_area_init(BACKING_EXTENT, BACKING_EXTENT, &area, NULL), 0);
    assert_true(mmap(area.start, BACKING_EXTENT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                     0) != MAP_FAILED);
    memset(area.start, 1, BACKING_EXTENT);
    r = madvise(area.start, BACKING_EXTENT, 25 /* MADV_COLLAPSE */);
    mem_area_fini(&area);
    (void)close(fd);
    if (r < 0) {
        print_message("# skip: this kernel makes no huge pages of memory files (Linux 6.1 does)\n");
        skip();
    }
}

/* The fault thread may be some lines behind who touched. */
static void touch(struct rig *rig, size_t page)
{
    (void)*(volatile uint8_t *)page_at(rig, 0, page);
    for (;;) {
        LOCK_SCOPE(&rig->pager->nodes[0].serving);
        if (page_leases(atomic_load(&rig->pager->nodes[0].regions[0].words[page])) == 0)
            return;
    }
}

static void mend(struct rig *rig)
{
    while (pager_mend(rig->pager, 100 * 1000 * 1000))
        ;
}

/* The kernel may refuse now and then, because somebody has a page for a moment: the next fault asks anew. */
static void mend_until(struct rig *rig, uint64_t want_bytes)
{
    mend(rig);
    for (int i = 0; i < 1000 && huge_bytes() < want_bytes; i++) {
        for (size_t page = 0; page < PAGES; page += 512)
            touch(rig, page);
        mend(rig);
    }
    assert_int_equal(huge_bytes(), want_bytes);
}

static void what_came_back_becomes_huge_again(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint8_t want[SMALL];
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    skip_without_collapse();
    rig_init(rig);
    assert_false(pager_active(rig->pager));
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 0, i), i, 5);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    assert_true(pager_active(rig->pager));
    mend(rig);
    assert_int_equal(count(rig, 0).mended_extents, 0); /* nothing is there */
    assert_int_equal(huge_bytes(), 0);
    for (size_t i = 0; i < PAGES - 1; i++) { /* one page of the last extent is not asked for */
        make(want, i, 5);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 0, i), i, 6); /* never in sequence with itself */
    (void)count_all_back(rig, 0);
    mend_until(rig, NODE_BYTES);
    c = count(rig, 0);
    assert_true(c.mended_extents >= NODE_BYTES / BACKING_EXTENT);
    assert_true(c.mend_cpu_ns > 0);
    /* where it was only taken out of the page table one fault brings all of it back, and it is mended */
    assert_int_equal(madvise(page_at(rig, 0, 0), BACKING_EXTENT, MADV_DONTNEED), 0);
    for (size_t i = 0; i < 512; i++) {
        make(want, i, 6);
        touch(rig, i);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    assert_int_equal(count(rig, 0).faults, c.faults + 1);
    mend_until(rig, NODE_BYTES);
    assert_true(count(rig, 0).mended_extents > c.mended_extents);
    /* and it goes like any other */
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    assert_int_equal(huge_bytes(), 0);
    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 6);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    rig_fini(rig);
    free(rig);
}

static void an_extent_with_a_lease_is_not_touched_by_that(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct mem_lease lease;
    struct iovec iov;
    int pipe_fd[2];
    uint8_t got;

    (void)state;
    assert_non_null(rig);
    skip_without_collapse();
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    (void)evict(rig, 0, UINT64_MAX);
    memset(page_at(rig, 0, 0), 8, NODE_BYTES);
    (void)count_all_back(rig, 0);
    /* the kernel has a frame, for a device that writes later */
    assert_int_equal(guest_mem_lease_begin(rig->mem, (struct gpa){ 0 }, SMALL, LEASE_DMA, &lease), 0);
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    iov = (struct iovec){ .iov_base = lease.ptr, .iov_len = SMALL };
    assert_int_equal(vmsplice(pipe_fd[1], &iov, 1, 0), SMALL);
    mend_until(rig, NODE_BYTES - BACKING_EXTENT);
    *page_at(rig, 0, 0) = 9;
    assert_int_equal(read(pipe_fd[0], &got, 1), 1);
    assert_int_equal(got, 9); /* the same frame */
    guest_mem_lease_end(rig->mem, &lease);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    rig_fini(rig);
    free(rig);
}

enum { EXTENTS = NODE_BYTES / BACKING_EXTENT };

/* Extents 2 and 5 of node 0 are in use: all small pages, all huge ones, or away. */
static void look_while_two_are_used(struct rig *rig, unsigned rounds)
{
    const uint64_t until = count(rig, 0).rounds + rounds;

    for (size_t i = 0; count(rig, 0).rounds < until; i++) {
        touch(rig, 2 * 512 + i * 31 % 512);
        touch(rig, 5 * 512 + i * 31 % 512);
        rig->now_ns += 100 * 1000 * 1000;
        pager_look(rig->pager, rig->now_ns);
    }
}

static void what_is_in_use_is_found(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    rig->now_ns = 1000 * 1000 * 1000;
    pager_look(rig->pager, rig->now_ns);
    assert_int_equal(count(rig, 0).samples, 0); /* nothing was evicted, nothing is looked at */
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    look_while_two_are_used(rig, 12);
    c = count(rig, 0);
    assert_int_equal(c.regions, EXTENTS);
    assert_int_equal(c.hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(c.warm_bytes, 0);
    assert_int_equal(c.cold_bytes, (EXTENTS - 2) * (uint64_t)BACKING_EXTENT);
    assert_true(c.samples >= 12 * 4 * EXTENTS);
    assert_true(c.look_cpu_ns > 0);
    mend(rig); /* the same of huge pages, where the kernel makes some */
    look_while_two_are_used(rig, 12);
    assert_int_equal(count(rig, 0).hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES - SMALL);
    look_while_two_are_used(rig, 12);
    c = count(rig, 0);
    assert_int_equal(c.hot_bytes, 2 * BACKING_EXTENT);
    assert_int_equal(c.cold_bytes, 0); /* gone */
    for (size_t i = 0; i < NODE_BYTES; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], 7);
    assert_int_equal(pager_reset(rig->pager, NULL), 0);
    pager_look(rig->pager, rig->now_ns += 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).rounds, c.rounds);
    rig_fini(rig);
    free(rig);
}

/* One touch of an extent brings all of it back into the page table. */
static void a_look_costs_the_guest_one_fault_an_extent(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t before;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    pager_look(rig->pager, 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, EXTENTS);
    before = count(rig, 0).faults;
    for (size_t i = 0; i < 512; i++)
        touch(rig, 3 * 512 + i * 31 % 512);
    assert_int_equal(count(rig, 0).faults, before + 1);
    rig_fini(rig);
    free(rig);
}

static void without_a_budget_nothing_is_looked_at(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    rig->pager->params.budget_milli = 0;
    memset(page_at(rig, 0, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 0, SMALL), SMALL);
    for (uint64_t i = 1; i < 50; i++)
        pager_look(rig->pager, i * 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, 0);
    rig->pager->params.budget_milli = 10;
    pager_look(rig->pager, UINT64_C(51) * 1000 * 1000 * 1000);
    assert_true(count(rig, 0).samples > 0);
    rig_fini(rig);
    free(rig);
}

static uint64_t resident(const struct rig *rig)
{
    return guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 0 });
}

static bool is_all_there(const struct rig *rig, size_t extent)
{
    for (size_t i = 0; i < 512; i++)
        if (state_of(rig, 0, extent * 512 + i) != PAGE_RESIDENT)
            return false;
    return true;
}

/* As the evicting thread's ticks, while extents 2 and 5 are used. */
static void live(struct rig *rig, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        look_while_two_are_used(rig, 1);
        assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    }
}

static void the_coldest_go_until_the_target_is_met(void **state)
{
    const struct vnode_id node0 = { 0 };
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t gone;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < NODE_BYTES; i++)
        page_at(rig, 0, 0)[i] = (uint8_t)(i / SMALL);
    assert_false(pager_active(rig->pager));
    pager_set_target(rig->pager, node0, 2 * NODE_BYTES);
    assert_true(pager_active(rig->pager));
    assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    pager_look(rig->pager, 1000 * 1000 * 1000);
    assert_int_equal(count(rig, 0).samples, 0); /* far from it nothing happens */
    assert_int_equal(count(rig, 0).faults, 0);
    pager_set_target(rig->pager, node0, 4 * BACKING_EXTENT);
    assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
    assert_int_equal(resident(rig), NODE_BYTES); /* it is not known yet what is cold */
    live(rig, 6);
    assert_int_equal(resident(rig), 4 * BACKING_EXTENT);
    assert_true(is_all_there(rig, 2));
    assert_true(is_all_there(rig, 5));
    gone = count(rig, 0).evicted_pages;
    live(rig, 3);
    assert_int_equal(count(rig, 0).evicted_pages, gone); /* and no more */
    pager_set_target(rig->pager, node0, SMALL);
    live(rig, 8);
    assert_int_equal(resident(rig), 2 * BACKING_EXTENT); /* what is in use stays */
    assert_true(is_all_there(rig, 2));
    pager_set_target(rig->pager, node0, PAGER_NO_TARGET);
    gone = count(rig, 0).evicted_pages;
    for (size_t i = 0; i < NODE_BYTES; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], (uint8_t)(i / SMALL));
    live(rig, 3);
    assert_int_equal(count(rig, 0).evicted_pages, gone);
    rig_fini(rig);
    free(rig);
}

static void a_target_outlives_a_reset(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    pager_set_target(rig->pager, (struct vnode_id){ 0 }, 4 * BACKING_EXTENT);
    for (int round = 0; round < 2; round++) {
        memset(page_at(rig, 0, 0), 7, NODE_BYTES);
        assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
        live(rig, 6);
        assert_int_equal(resident(rig), 4 * BACKING_EXTENT);
        assert_int_equal(pager_reset(rig->pager, NULL), 0);
        assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
        for (size_t i = 0; i < PAGES; i++)
            assert_int_equal(*(volatile uint64_t *)page_at(rig, 0, i), 0);
    }
    rig_fini(rig);
    free(rig);
}

static void damage_is_told_and_does_not_block(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_node *node;
    uint8_t want[SMALL];

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 0);
        memcpy(page_at(rig, 1, i), want, SMALL);
    }
    assert_int_equal(evict(rig, 1, UINT64_MAX), NODE_BYTES);
    node = &rig->pager->nodes[1];
    store_damage(node->first, page_object(atomic_load(&node->regions[0].words[2])));
    assert_int_equal(*(volatile uint8_t *)page_at(rig, 1, 2), 0);
    assert_int_equal(rig->lost, 1);
    assert_string_equal(rig->why, "page 2 of virtual node 1 was damaged in the store");
    make(want, 3, 0);
    assert_memory_equal(page_at(rig, 1, 3), want, SMALL);
    rig_fini(rig);
    free(rig);
}

static bool whole(const struct rig *rig, uint32_t node, uint32_t version)
{
    uint8_t want[SMALL];

    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, version);
        if (memcmp(page_at(rig, node, i), want, SMALL) != 0)
            return false;
    }
    return true;
}

static bool parts_left(void *ctx, uint64_t done_bytes)
{
    unsigned *n = ctx;

    assert_true(done_bytes > 0);
    return --*n > 0;
}

static void follow(struct rig *rig, uint32_t node, uint32_t to, unsigned parts)
{
    static const struct pager_follow_ops ops = { .between = parts_left };

    host.binds = host.moves = 0;
    host.moved_pages = 0;
    assert_int_equal(pager_follow(rig->pager, (struct vnode_id){ node }, (struct hnode_id){ to },
                                  &ops, &parts, NULL),
                     0);
    assert_int_equal(host.binds, 1);
    assert_true(idset_has(&host.bound_to, to) && idset_count(&host.bound_to) == 1);
    assert_true(host.moves == 0 || host.moved_to == to);
}

/* Both nodes share a store at first, since nobody bound them. */
static void what_goes_after_a_move_is_kept_on_the_new_node(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts a, b;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (uint32_t node = 0; node < NODES; node++) {
        for (size_t i = 0; i < PAGES; i++)
            make(page_at(rig, node, i), i, node);
        assert_int_equal(evict(rig, node, UINT64_MAX), NODE_BYTES);
    }
    a = count(rig, 1);
    assert_int_equal(count(rig, 0).store.pages, a.store.pages);
    /* One leaves: it gets a store of its own, and what it has in the other is not the other's. */
    follow(rig, 0, 3, 1000);
    assert_int_equal(host.moves, 0);
    assert_int_equal(count(rig, 0).store.pages, 0);
    assert_true(whole(rig, 0, 0));
    while (count(rig, 0).away_pages > 0) /* counters follow a moment after */
        (void)sched_yield();
    assert_true(evict(rig, 0, UINT64_MAX) > 0);
    a = count(rig, 0);
    b = count(rig, 1);
    assert_true(a.store.pages > 0);
    assert_int_equal(a.store.pages, a.away_pages - a.away_zero_pages);
    assert_int_equal(b.store.pages, b.away_pages - b.away_zero_pages);
    /* Again: all that it has goes along, as long as nobody says stop and there is room. */
    follow(rig, 0, 2, 1000);
    assert_true(host.moved_pages * SMALL >= count(rig, 0).store.used_bytes && host.moves > 3);
    follow(rig, 0, 1, 3);
    assert_int_equal(host.moves, 3);
    host.is_full = true;
    follow(rig, 0, 2, 1000);
    assert_int_equal(host.moves, 1);
    host.is_full = false;
    /* The other one is alone by now. */
    follow(rig, 1, 2, 1000);
    assert_true(host.moved_pages * SMALL >= b.store.used_bytes);
    assert_true(whole(rig, 0, 0) && whole(rig, 1, 1));
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    assert_int_equal(pager_reset(rig->pager, NULL), 0);
    assert_int_equal(count(rig, 0).store.pages + count(rig, 1).store.pages, 0);
    assert_int_equal(rig->lost, 0);
    assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
    rig_fini(rig);
    free(rig);
}

static void a_reset_leaves_nothing_behind(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct pager_counts c;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < PAGES; i++)
            make(page_at(rig, 0, i), i, 8);
        assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
        assert_int_equal(pager_reset(rig->pager, NULL), 0);
        assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
        c = count(rig, 0);
        assert_int_equal(c.away_pages + c.store.pages + c.store.held_bytes, 0);
        for (size_t i = 0; i < PAGES; i++)
            assert_int_equal(*(volatile uint8_t *)page_at(rig, 0, i), 0);
        assert_int_equal(count(rig, 0).faults, c.faults); /* the kernel serves them alone */
    }
    rig_fini(rig);
    free(rig);
}

static void pools_are_refused(void **state)
{
    struct topo_plan_backing backing = { .vnode = { 3 }, .pages = GUEST_PAGES_2M };
    const struct topo_plan plan = { .backings = &backing, .n_backings = 1 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(pager_pageable(&plan, &ec), -ENOTSUP);
    assert_string_equal(ec.msg,
                        "virtual node 3 has pages of 2M from a pool, which cannot be paged");
    backing = (struct topo_plan_backing){ .pages = GUEST_PAGES_THP, .reserve = true };
    assert_int_equal(pager_pageable(&plan, &ec), -ENOTSUP);
    backing.reserve = false;
    assert_int_equal(pager_pageable(&plan, &ec), 0);
}

/* --- all at once ------------------------------------------------------------------------------ */

struct writer {
    pthread_t thread;
    struct rig *rig;
    unsigned number;
    _Atomic bool *quit;
    uint64_t seed, n_checks, n_wrong;
    uint32_t version[NODES * PAGES]; /* of those that are this writer's */
};

static uint32_t dice(struct writer *w)
{
    w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(w->seed >> 33);
}

/* Pages number writer, writer + WRITERS, ... are its own: nobody else writes there. */
static void *write_and_check(void *arg)
{
    struct writer *w = arg;
    uint8_t want[SMALL];

    while (!atomic_load(w->quit)) {
        const size_t page = dice(w) % (NODES * PAGES) / WRITERS * WRITERS + w->number;
        const uint32_t node = (uint32_t)(page / PAGES);
        uint8_t *at;

        if (page >= (size_t)NODES * PAGES)
            continue;
        at = page_at(w->rig, node, page % PAGES);
        make(want, page, w->version[page]);
        if (w->version[page] == 0)
            memset(want, 0, SMALL);
        w->n_wrong += memcmp(at, want, SMALL) != 0;
        w->n_checks++;
        if (dice(w) % 2 == 0)
            make(at, page, ++w->version[page]);
    }
    return NULL;
}

/* A device: leases, and the kernel that writes into what is leased. Its pages are a writer's that it
 * gives back as they were. */
static void *do_io(void *arg)
{
    struct writer *w = arg;
    uint8_t was[SMALL];
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return NULL;
    while (!atomic_load(w->quit)) {
        const size_t page = dice(w) % PAGES / WRITERS * WRITERS + w->number;
        struct mem_lease lease;

        if (page >= PAGES ||
            guest_mem_lease_begin(w->rig->mem, (struct gpa){ page * SMALL }, SMALL, LEASE_DMA,
                                  &lease) < 0)
            continue;
        make(was, page, w->version[page]);
        if (w->version[page] == 0)
            memset(was, 0, SMALL);
        w->n_wrong += write(pipe_fd[1], lease.ptr, SMALL) != SMALL;
        make(was, page, ++w->version[page]);
        if (read(pipe_fd[0], lease.ptr, SMALL) != SMALL)
            w->n_wrong++;
        if (write(pipe_fd[1], was, SMALL) != SMALL || read(pipe_fd[0], lease.ptr, SMALL) != SMALL)
            w->n_wrong++;
        guest_mem_lease_end(w->rig->mem, &lease);
        w->n_wrong += memcmp(page_at(w->rig, 0, page), was, SMALL) != 0;
        w->n_checks++;
    }
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    return NULL;
}

static void nothing_is_lost_while_all_of_it_goes_and_comes(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct writer *w = calloc(WRITERS, sizeof(*w));
    struct pager_counts c[NODES];
    _Atomic bool quit = false;
    uint64_t checks = 0;
    unsigned rounds = 0;

    (void)state;
    assert_non_null(rig);
    assert_non_null(w);
    rig_init(rig);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i] = (struct writer){ .rig = rig, .number = i, .quit = &quit, .seed = i + 1 };
        assert_int_equal(pthread_create(&w[i].thread, NULL, i == 0 ? do_io : write_and_check,
                                        &w[i]),
                         0);
    }
    pager_set_target(rig->pager, (struct vnode_id){ 1 }, NODE_BYTES / 2);
    /* until everything went three times over */
    do {
        for (uint32_t node = 0; node < NODES; node++) {
            /* all, or so little that whole extents come back and become huge */
            (void)evict(rig, node, rounds % 2 == 0 ? UINT64_MAX : (uint64_t)MIB);
            c[node] = count(rig, node);
        }
        for (int i = 0; i < 20; i++) { /* let some of it come back */
            (void)usleep(50);
            (void)pager_mend(rig->pager, 100 * 1000);
            pager_look(rig->pager, rig->now_ns += 100 * 1000 * 1000);
            assert_int_equal(pager_evict_cold(rig->pager, NULL), 0);
        }
    } while (++rounds < 100000 &&
             (c[0].filled_pages < 3 * PAGES || c[1].filled_pages < 3 * PAGES));
    atomic_store(&quit, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        assert_int_equal(w[i].n_wrong, 0);
        checks += w[i].n_checks;
    }
    for (uint32_t i = 0; i < NODES; i++) {
        c[i] = count(rig, i);
        assert_true(c[i].filled_pages >= 3 * PAGES);
        print_message("# node %u: %llu evicted, %llu cancelled, %llu filled, %llu faults, "
                      "%llu mended, "
                      "p50 %llu ns, p99 %llu ns, %llu ns CPU an evicted page\n",
                      i, (unsigned long long)c[i].evicted_pages,
                      (unsigned long long)c[i].cancelled_pages,
                      (unsigned long long)c[i].filled_pages, (unsigned long long)c[i].faults,
                      (unsigned long long)c[i].mended_extents,
                      (unsigned long long)pager_fault_ns(&c[i], 500),
                      (unsigned long long)pager_fault_ns(&c[i], 990),
                      (unsigned long long)(c[i].evict_cpu_ns / c[i].evicted_pages));
    }
    print_message("# %llu checks in %u rounds\n", (unsigned long long)checks, rounds);
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(w);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_evicted_comes_back),
        cmocka_unit_test(only_so_much_is_taken_as_was_asked_for),
        cmocka_unit_test(what_a_device_has_stays),
        cmocka_unit_test(what_is_given_back_is_not_kept),
        cmocka_unit_test(what_is_away_is_not_gone_and_what_is_gone_stays_so),
        cmocka_unit_test(holes_that_somebody_filled_are_no_pages),
        cmocka_unit_test(what_came_back_becomes_huge_again),
        cmocka_unit_test(an_extent_with_a_lease_is_not_touched_by_that),
        cmocka_unit_test(what_is_in_use_is_found),
        cmocka_unit_test(a_look_costs_the_guest_one_fault_an_extent),
        cmocka_unit_test(without_a_budget_nothing_is_looked_at),
        cmocka_unit_test(the_coldest_go_until_the_target_is_met),
        cmocka_unit_test(a_target_outlives_a_reset),
        cmocka_unit_test(damage_is_told_and_does_not_block),
        cmocka_unit_test(what_goes_after_a_move_is_kept_on_the_new_node),
        cmocka_unit_test(a_reset_leaves_nothing_behind),
        cmocka_unit_test(pools_are_refused),
        cmocka_unit_test(nothing_is_lost_while_all_of_it_goes_and_comes),
    };
    return cmocka_run_group_tests_name("memory/pager", tests, NULL, NULL);
}
