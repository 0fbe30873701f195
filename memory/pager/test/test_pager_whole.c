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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_came_back_becomes_huge_again),
        cmocka_unit_test(an_extent_with_a_lease_is_not_touched_by_that),
    };
    return cmocka_run_group_tests_name("memory/pager: whole", tests, NULL, NULL);
}
