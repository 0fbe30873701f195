/* SPDX-License-Identifier: Apache-2.0 */
/* Looks by protecting pages, where this kernel can (Linux 7.3), beside those by taking them out of
 * the page table. */
#include <sys/mman.h>

#include "memory/page_table.h"
#include "memory/pager/test/pager_rig.h"
#include "memory/residency.h"

enum { EXTENTS = NODE_BYTES / BACKING_EXTENT };

static void skip_without_protection(void)
{
    CLEANUP_CLOSE int fd = -1, pagemap = residency_open();
    struct uffd_can can = { 0 };

    if (uffd_open_all(&fd, &can, NULL) == 0 && can.protect && page_table_tells(pagemap))
        return;
    print_message("# skip: no userfaultfd that protects pages asynchronously here "
                  "(UFFD_FEATURE_RWP_ASYNC of Linux 7.3)\n");
    skip();
}

static struct rig *new_rig(bool protect)
{
    struct rig *rig;

    skip_without_protection();
    rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    rig_init(rig);
    assert_true(rig->pager->nodes[0].can_protect);
    rig->pager->nodes[0].can_protect = protect;
    rig->pager->nodes[0].regions[0].is_rwp = protect;
    for (size_t i = 0; i < PAGES; i++)
        make(page_at(rig, 0, i), i, 5);
    assert_int_equal(evict(rig, 0, SMALL), SMALL); /* from now on it is watched */
    for (size_t i = 0; i < PAGES; i++) /* and mapped again */
        (void)*(volatile uint8_t *)page_at(rig, 0, i);
    (void)count_all_back(rig, 0);
    {
        LOCK_SCOPE(&rig->pager->nodes[0].serving); /* it counts its faults last */
    }
    return rig;
}

static void free_rig(struct rig *rig)
{
    uint8_t want[SMALL];

    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 5);
        assert_memory_equal(page_at(rig, 0, i), want, SMALL);
    }
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(rig);
}

static void look(struct rig *rig)
{
    pager_look(rig->pager, rig->now_ns += 1000 * 1000 * 1000);
}

/* What the last round said of the extent's region. */
static uint32_t heat_of(const struct rig *rig, uint32_t extent)
{
    const struct heat *heat = &rig->pager->nodes[0].heat;

    return heat->regions[heat_at(heat, extent)].heat;
}

static void read_it(struct rig *rig)
{
    (void)*(volatile uint8_t *)page_at(rig, 0, 3 * EXTENT_PAGES + 77);
}

static void write_it(struct rig *rig)
{
    volatile uint8_t *at = page_at(rig, 0, 3 * EXTENT_PAGES + 511);

    *at = *at;
}

/* As KVM and a device's system call do. */
static void have_the_kernel_read_it(struct rig *rig)
{
    uint8_t byte;
    struct iovec to = { &byte, 1 }, from = { page_at(rig, 0, 3 * EXTENT_PAGES), 1 };

    assert_int_equal(process_vm_readv(getpid(), &to, 1, &from, 1, 0), 1);
}

static void who_touches_is_seen_and_no_fault_is_told(void **state)
{
    static void (*const ways[])(struct rig *rig) = { read_it, write_it, have_the_kernel_read_it };

    (void)state;
    for (size_t way = 0; way < ARRAY_SIZE(ways); way++) {
        struct rig *rig = new_rig(true);
        const uint64_t rounds = count(rig, 0).rounds, faults = count(rig, 0).faults;
        struct pager_counts c;

        while (count(rig, 0).rounds < rounds + 6) {
            look(rig);
            ways[way](rig);
        }
        c = count(rig, 0);
        assert_true(c.can_protect);
        assert_true(c.protected_samples > 0);
        assert_int_equal(c.protected_samples, c.samples);
        assert_true(heat_of(rig, 3) > HEAT_MAX * 9 / 10);
        assert_int_equal(heat_of(rig, 5), 0);
        assert_int_equal(c.hot_bytes, BACKING_EXTENT);
        assert_int_equal(c.cold_bytes, NODE_BYTES - BACKING_EXTENT);
        assert_int_equal(c.faults, faults);
        free_rig(rig);
    }
}

/* What is away when it is asked about, and what comes back by itself. */
static void what_comes_back_counts_as_touched(void **state)
{
    struct rig *rig = new_rig(true);

    (void)state;
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES);
    for (int i = 0; i < 40; i++) {
        look(rig);
        touch(rig, 6 * EXTENT_PAGES + (size_t)i);
    }
    assert_true(heat_of(rig, 6) > HEAT_MAX * 9 / 10);
    assert_int_equal(heat_of(rig, 1), 0);
    free_rig(rig);
}

static size_t count_mappings(const struct rig *rig)
{
    const uintptr_t from = (uintptr_t)page_at(rig, 0, 0), to = from + NODE_BYTES;
    FILE *f = fopen("/proc/self/maps", "re");
    unsigned long long start, end;
    char line[512];
    size_t n = 0;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL)
        n += sscanf(line, "%llx-%llx", &start, &end) == 2 && start < to && end > from;
    (void)fclose(f);
    return n;
}

static bool is_huge(const struct rig *rig, uint32_t extent)
{
    return (atomic_load(&rig->pager->nodes[0].regions[0].extents[extent]) & EXTENT_WHOLE) != 0;
}

/* Memory that can be protected is refused huge pages, so it is not for a moment. */
static void huge_pages_are_made_and_asked_about_by_the_other_way(void **state)
{
    struct rig *rig = new_rig(true);
    struct pager_counts c;

    (void)state;
    for (int i = 0; i < 1000 && !is_huge(rig, 2); i++) {
        assert_int_equal(madvise(page_at(rig, 0, 2 * EXTENT_PAGES), EXTENT, MADV_DONTNEED), 0);
        touch(rig, 2 * EXTENT_PAGES);
        mend(rig);
    }
    assert_true(is_huge(rig, 2));
    assert_int_equal(count_mappings(rig), 1); /* and it is watched again */
    c = count(rig, 0);
    for (int i = 0; i < 40; i++) {
        look(rig);
        touch(rig, 2 * EXTENT_PAGES + (size_t)i);
        mend(rig);
    }
    assert_true(heat_of(rig, 2) > HEAT_MAX * 9 / 10);
    assert_int_equal(heat_of(rig, 4), 0);
    assert_true(count(rig, 0).protected_samples > c.protected_samples);
    assert_true(count(rig, 0).protected_samples - c.protected_samples <
                count(rig, 0).samples - c.samples);
    assert_true(count(rig, 0).faults > c.faults);
    assert_int_equal(count_mappings(rig), 1);
    assert_int_equal(evict(rig, 0, UINT64_MAX), NODE_BYTES); /* and free_rig() has it come back */
    free_rig(rig);
}

/* A window's blocks may be closed, of which the kernel protects nothing. */
static void windows_are_asked_about_by_the_other_way(void **state)
{
    struct rig *rig;

    (void)state;
    skip_without_protection();
    rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    rig_init_hotplug(rig, &(struct pager_params){ 0 }, 128 * MIB);
    memset(page_at(rig, 1, 0), 7, NODE_BYTES);
    assert_int_equal(evict(rig, 1, SMALL), SMALL);
    assert_true(rig->pager->nodes[1].regions[0].is_rwp);
    assert_true(rig->pager->nodes[1].regions[1].is_window);
    assert_false(rig->pager->nodes[1].regions[1].is_rwp);
    for (int i = 0; i < 20; i++)
        look(rig);
    assert_true(count(rig, 1).samples > count(rig, 1).protected_samples);
    assert_true(count(rig, 1).protected_samples > 0);
    rig_fini(rig);
    free(rig);
}

static void what_nobody_has_access_to_is_refused(void **state)
{
    CLEANUP_CLOSE int fd = -1, file = memfd_create("closed", MFD_CLOEXEC);
    struct uffd_can can;
    void *at;

    (void)state;
    skip_without_protection();
    assert_int_equal(uffd_open_all(&fd, &can, NULL), 0);
    assert_true(file >= 0 && ftruncate(file, EXTENT) == 0);
    at = mmap(NULL, EXTENT, PROT_NONE, MAP_SHARED, file, 0);
    assert_true(at != MAP_FAILED);
    assert_int_equal(uffd_register(fd, at, EXTENT, NULL), 0);
    assert_int_equal(uffd_unregister(fd, at, EXTENT, NULL), 0);
    assert_int_equal(uffd_register_rwp(fd, at, EXTENT, NULL), -EINVAL);
    assert_int_equal(munmap(at, EXTENT), 0);
}

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the looks take of CPUs, and who touches @n_pages of each extent of time and faults. */
static void tell_costs(bool protect, size_t n_pages)
{
    enum { ROUNDS = 20 };
    struct rig *rig = new_rig(protect);
    const struct pager_counts before = count(rig, 0);
    uint64_t took = 0;
    struct pager_counts c;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t begin;

        look(rig);
        begin = now_ns();
        for (size_t page = 0; n_pages > 0 && page < PAGES; page += EXTENT_PAGES / n_pages)
            (void)*(volatile uint8_t *)page_at(rig, 0, page);
        took += now_ns() - begin;
    }
    {
        LOCK_SCOPE(&rig->pager->nodes[0].serving); /* the fault thread is done */
        c = count(rig, 0);
    }
    print_message("# %s, %3zu pages of each extent touched: %llu samples, %.1f us CPU each, %llu "
                  "faults told, the touches of an extent %.1f us\n",
                  protect ? "protected" : "unmapped ", n_pages,
                  (unsigned long long)(c.samples - before.samples),
                  (double)(c.look_cpu_ns - before.look_cpu_ns) / 1000 /
                      (double)(c.samples - before.samples),
                  (unsigned long long)(c.faults - before.faults),
                  (double)took / 1000 / ROUNDS / EXTENTS);
    if (protect)
        assert_int_equal(c.faults, before.faults);
    else
        assert_int_equal(c.faults > before.faults, n_pages > 0);
    free_rig(rig);
}

static void what_looks_cost_is_told(void **state)
{
    static const size_t n_pages[] = { 0, 1, 32, 512 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(n_pages); i++)
        for (int protect = 0; protect < 2; protect++)
            tell_costs(protect != 0, n_pages[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_touches_is_seen_and_no_fault_is_told),
        cmocka_unit_test(what_comes_back_counts_as_touched),
        cmocka_unit_test(huge_pages_are_made_and_asked_about_by_the_other_way),
        cmocka_unit_test(windows_are_asked_about_by_the_other_way),
        cmocka_unit_test(what_nobody_has_access_to_is_refused),
        cmocka_unit_test(what_looks_cost_is_told),
    };
    return cmocka_run_group_tests_name("memory/pager: protect", tests, NULL, NULL);
}
