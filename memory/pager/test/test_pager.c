/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that goes and comes back, one thing after the other: content, leases, gifts, damage,
 * reset. */
// LDFLAGS: -Wl,--wrap=uffd_copy
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "memory/pager/test/pager_rig.h"

int __wrap_uffd_copy(int fd, uint8_t *addr, const void *page);
int __real_uffd_copy(int fd, uint8_t *addr, const void *page);

static _Atomic bool host_is_full;

int __wrap_uffd_copy(int fd, uint8_t *addr, const void *page)
{
    return atomic_load(&host_is_full) ? -ENOMEM : __real_uffd_copy(fd, addr, page);
}

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
    {
        LOCK_SCOPE(&rig->pager->nodes[0].serving); /* the last fault's end */
    }
    assert_int_equal(evict(rig, 0, NODE_BYTES), NODE_BYTES); /* nothing holds it */
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

static void *read_page(void *page)
{
    return (void *)(uintptr_t)*(volatile uint8_t *)page;
}

/* A page that somebody waits for, and the host has no memory for, holds up nobody who gives some
 * back. */
static void what_cannot_come_back_now_is_left_out(void **state)
{
    enum { PAGE = 7 };
    struct rig *rig = malloc(sizeof(*rig));
    enum page_state then;
    pthread_t reader;
    uint64_t gone, away;
    void *got;

    (void)state;
    assert_non_null(rig);
    rig_init(rig);
    memset(page_at(rig, 0, 0), 0x55, EXTENT);
    assert_int_equal(evict(rig, 0, NODE_BYTES), EXTENT);
    atomic_store(&host_is_full, true);
    assert_int_equal(pthread_create(&reader, NULL, read_page, page_at(rig, 0, PAGE)), 0);
    while (state_of(rig, 0, PAGE) != PAGE_FILLING)
        (void)sched_yield();
    assert_int_equal(guest_mem_give_back(rig->mem, (struct gpa){ 0 }, EXTENT, false, &gone), 0);
    then = state_of(rig, 0, PAGE);
    away = count(rig, 0).away_pages;
    atomic_store(&host_is_full, false);
    assert_int_equal(pthread_join(reader, &got), 0);
    assert_int_equal(then, PAGE_FILLING);
    assert_int_equal(away, 1);
    assert_int_equal((uintptr_t)got, 0x55);
    for (size_t i = 0; i < EXTENT_PAGES; i++)
        assert_int_equal(*page_at(rig, 0, i), i == PAGE ? 0x55 : 0);
    assert_int_equal(guest_mem_give_back(rig->mem, (struct gpa){ 0 }, EXTENT, false, &gone), 0);
    assert_int_equal(*page_at(rig, 0, PAGE), 0);
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(rig);
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
    assert_int_equal(
        guest_mem_give_back(rig->mem, (struct gpa){ 20 * SMALL }, 9 * SMALL, true, &gone), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_evicted_comes_back),
        cmocka_unit_test(only_so_much_is_taken_as_was_asked_for),
        cmocka_unit_test(what_a_device_has_stays),
        cmocka_unit_test(what_is_given_back_is_not_kept),
        cmocka_unit_test(what_cannot_come_back_now_is_left_out),
        cmocka_unit_test(what_is_away_is_not_gone_and_what_is_gone_stays_so),
        cmocka_unit_test(holes_that_somebody_filled_are_no_pages),
        cmocka_unit_test(a_reset_leaves_nothing_behind),
        cmocka_unit_test(pools_are_refused),
    };
    return cmocka_run_group_tests_name("memory/pager", tests, NULL, NULL);
}
