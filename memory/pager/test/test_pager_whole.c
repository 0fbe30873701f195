/* SPDX-License-Identifier: Apache-2.0 */
/* Extents that become huge pages again, where this kernel makes some. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "memory/pager/test/pager_rig.h"

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

/* The kernel may refuse now and then, because somebody has a page for a moment: the next fault asks
 * anew. */
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
    assert_true(pager_watches(rig->pager, (struct vnode_id){ 0 }));
    assert_false(pager_watches(rig->pager, (struct vnode_id){ 1 }));
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
    /* where it was only taken out of the page table one fault brings all of it back, and it is
     * mended */
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
    assert_int_equal(guest_mem_lease_begin(rig->mem, (struct gpa){ 0 }, SMALL, LEASE_DMA, &lease),
                     0);
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

/* --- touched for the first time --------------------------------------------------------------- */

static void want_huge(struct rig *rig)
{
    skip_without_collapse();
    rig_init(rig);
    for (size_t i = 0; i < rig->pager->n_regions; i++)
        rig->pager->regions[i].wants_huge = i == 0;
}

static void put_byte(struct rig *rig, size_t page, uint8_t v)
{
    *page_at(rig, 0, page) = v;
    touch(rig, page);
}

static void assert_zero(const struct rig *rig, size_t from, size_t to)
{
    for (size_t i = from * SMALL; i < to * SMALL; i++)
        assert_int_equal(page_at(rig, 0, 0)[i], 0);
}

static void new_memory_comes_as_huge_pages(void **state)
{
    const struct vnode_id node0 = { 0 };
    struct rig *rig = malloc(sizeof(*rig));

    (void)state;
    assert_non_null(rig);
    want_huge(rig);
    memset(page_at(rig, 0, 3 * EXTENT_PAGES + 5), 9, SMALL); /* before anybody is watched */
    for (int round = 0; round < 2; round++) {
        assert_false(pager_watches_any(rig->pager));
        assert_int_equal(pager_make_huge(rig->pager, NULL), 0);
        assert_true(pager_watches(rig->pager, node0));
        assert_false(pager_watches(rig->pager, (struct vnode_id){ 1 }));
        assert_false(pager_active(rig->pager));
        assert_int_equal(huge_bytes(), 0);
        put_byte(rig, EXTENT_PAGES + 100, 7);
        assert_int_equal(huge_bytes(), EXTENT);
        assert_zero(rig, EXTENT_PAGES, EXTENT_PAGES + 100);
        assert_int_equal(*page_at(rig, 0, EXTENT_PAGES + 100), 7);
        assert_zero(rig, EXTENT_PAGES + 101, 2 * EXTENT_PAGES);
        assert_int_equal(count(rig, 0).taken_extents, 1 + 2 * round);
        if (round == 0)
            assert_int_equal(count(rig, 0).faults, 1);
        put_byte(rig, 4 * EXTENT_PAGES - 1, 8); /* with what was there */
        assert_int_equal(huge_bytes(), 2 * EXTENT);
        assert_int_equal(*page_at(rig, 0, 4 * EXTENT_PAGES - 1), 8);
        if (round == 0)
            for (size_t i = 0; i < SMALL; i++)
                assert_int_equal(page_at(rig, 0, 3 * EXTENT_PAGES + 5)[i], 9);
        assert_int_equal(count(rig, 0).taken_extents, 2 + 2 * round);
        mend(rig); /* there is nothing to mend */
        assert_int_equal(count(rig, 0).mended_extents, 0);
        assert_int_equal(evict(rig, 0, UINT64_MAX), 2 * EXTENT);
        assert_true(pager_active(rig->pager));
        assert_int_equal(*page_at(rig, 0, 4 * EXTENT_PAGES - 1), 8);
        assert_int_equal(*page_at(rig, 0, EXTENT_PAGES + 100), 7);
        assert_int_equal(pager_reset(rig->pager, NULL), 0);
        assert_int_equal(guest_mem_discard(rig->mem, NULL), 0);
    }
    rig_fini(rig);
    free(rig);
}

/* What a balloon has is not brought along, and neither is what would have to be brought back. */
static void not_all_of_an_extent_may_come(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t gone = 0;

    (void)state;
    assert_non_null(rig);
    want_huge(rig);
    assert_int_equal(pager_make_huge(rig->pager, NULL), 0);
    assert_int_equal(
        guest_mem_give_back(rig->mem, (struct gpa){ 20 * SMALL }, SMALL, true, &gone), 0);
    put_byte(rig, 10, 7);
    assert_int_equal(huge_bytes(), 0);
    assert_int_equal(guest_mem_resident_bytes(rig->mem, (struct vnode_id){ 0 }), 10 * SMALL);
    memset(page_at(rig, 0, EXTENT_PAGES), 5, SMALL);
    (void)evict(rig, 0, UINT64_MAX);
    put_byte(rig, EXTENT_PAGES + 1, 6);
    assert_int_equal(page_at(rig, 0, EXTENT_PAGES)[0], 5);
    assert_int_equal(page_at(rig, 0, 10)[0], 7);
    assert_int_equal(huge_bytes(), 0);
    rig_fini(rig);
    free(rig);
}

struct giver {
    struct rig *rig;
    size_t page; /* the first of half an extent */
    atomic_bool go;
    uint64_t gone;
};

static void *give_half(void *arg)
{
    struct giver *g = arg;

    while (!atomic_load(&g->go))
        ;
    assert_int_equal(guest_mem_give_back(g->rig->mem, (struct gpa){ g->page * SMALL },
                                         EXTENT_PAGES / 2 * SMALL, true, &g->gone),
                     0);
    return NULL;
}

/* A balloon takes half of an extent just when the other half is touched, or is made huge. */
static void what_is_given_back_meanwhile_stays_away(void **state)
{
    const struct vnode_id node0 = { 0 };
    struct rig *rig = malloc(sizeof(*rig));
    const struct backing *b;

    (void)state;
    assert_non_null(rig);
    want_huge(rig);
    assert_int_equal(pager_make_huge(rig->pager, NULL), 0);
    b = rig->pager->regions[0].backing;
    for (size_t round = 0; round < 200; round++) {
        const size_t first = round % 4 * EXTENT_PAGES, half = EXTENT_PAGES / 2;
        struct giver giver = { .rig = rig, .page = first + half };
        uint64_t gone;
        pthread_t thread;

        assert_int_equal(
            guest_mem_give_back(rig->mem, (struct gpa){ 0 }, NODE_BYTES, false, &gone), 0);
        assert_int_equal(guest_mem_resident_bytes(rig->mem, node0), 0);
        for (size_t i = 0; i < EXTENT_PAGES && round % 2 == 1; i++) /* all there, and not huge */
            assert_int_equal(pwrite(b->memfd, "x", 1, backing_file_at(b, (first + i) * SMALL)), 1);
        assert_int_equal(pthread_create(&thread, NULL, give_half, &giver), 0);
        atomic_store(&giver.go, true);
        put_byte(rig, first, 8);
        mend(rig);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(guest_mem_resident_bytes(rig->mem, node0), half * SMALL);
        assert_true(round % 2 == 0 || giver.gone == half * SMALL);
        assert_int_equal(*page_at(rig, 0, first), 8);
    }
    rig_fini(rig);
    free(rig);
}

/* A host that makes none now is asked again when the extent is mended. */
static void an_extent_that_was_refused_is_mended(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    struct iovec iov;
    int pipe_fd[2];

    (void)state;
    assert_non_null(rig);
    want_huge(rig);
    memset(page_at(rig, 0, 5), 9, SMALL);
    assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
    iov = (struct iovec){ .iov_base = page_at(rig, 0, 5), .iov_len = SMALL };
    assert_int_equal(vmsplice(pipe_fd[1], &iov, 1, 0), SMALL); /* the kernel has its frame */
    assert_int_equal(pager_make_huge(rig->pager, NULL), 0);
    put_byte(rig, 6, 7);
    assert_int_equal(huge_bytes(), 0);
    assert_int_equal(count(rig, 0).taken_extents, 0);
    assert_int_equal(page_at(rig, 0, 5)[1], 9);
    assert_zero(rig, 7, EXTENT_PAGES);
    (void)close(pipe_fd[0]);
    (void)close(pipe_fd[1]);
    mend_until(rig, NODE_BYTES);
    assert_int_equal(page_at(rig, 0, 5)[1], 9);
    assert_int_equal(page_at(rig, 0, 6)[0], 7);
    rig_fini(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_back_becomes_huge_again),
        cmocka_unit_test(an_extent_with_a_lease_is_not_touched_by_that),
        cmocka_unit_test(new_memory_comes_as_huge_pages),
        cmocka_unit_test(not_all_of_an_extent_may_come),
        cmocka_unit_test(an_extent_that_was_refused_is_mended),
        cmocka_unit_test(what_is_given_back_meanwhile_stays_away),
    };
    return cmocka_run_group_tests_name("memory/pager: whole", tests, NULL, NULL);
}
