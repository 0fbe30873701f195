/* SPDX-License-Identifier: Apache-2.0 */
/* Counting pages: all that are there, huge ones as such, and none comes or goes by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/backing.h"
#include "memory/residency.h"
#include "vmm/base/macros.h"

enum { LEN = 40 * MIB /* more than is looked at at once */ };

struct fixture {
    struct topo_plan_backing plan;
    struct mem_area area;
    struct backing b;
    struct residency res;
    int pagemap;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->plan = (struct topo_plan_backing){ .len_bytes = LEN };
    f->pagemap = residency_open();
    assert_true(f->pagemap >= 0);
    assert_int_equal(mem_area_init(LEN, 2 * MIB, &f->area, NULL), 0);
    assert_int_equal(backing_init(&f->plan, f->area.start, false, &f->b, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    backing_fini(&f->b);
    mem_area_fini(&f->area);
    (void)close(f->pagemap);
    free(f);
    return 0;
}

static uint64_t taken(const struct fixture *f)
{
    struct stat st;

    assert_int_equal(fstat(f->b.memfd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* Sums over all host nodes; the scan must leave the file as it is. */
static void scan(struct fixture *f, uint64_t *ret_4k, uint64_t *ret_2m)
{
    const uint64_t before = taken(f);

    assert_int_equal(residency_scan(&f->b, f->pagemap, &f->res, NULL), 0);
    assert_true(taken(f) == before);
    assert_true(f->res.present_bytes + f->res.reserved_bytes + f->res.unknown_bytes == before);
    assert_int_equal(f->res.unknown_bytes, 0);
    *ret_4k = *ret_2m = 0;
    for (uint32_t i = 0; i < f->res.n_nodes; i++) {
        *ret_4k += f->res.node[i].pages_4k;
        *ret_2m += f->res.node[i].pages_2m;
        assert_int_equal(f->res.node[i].pages_1g, 0);
    }
}

static void nothing_there_stays_nothing(void **state)
{
    uint64_t small, huge;

    scan(*state, &small, &huge);
    assert_int_equal(small, 0);
    assert_int_equal(huge, 0);
}

static void single_pages_are_counted_wherever_they_are(void **state)
{
    static const size_t at[] = { 0, 4096, 2 * MIB - 4096, 31 * MIB + 4096, 32 * MIB, LEN - 4096 };
    struct fixture *f = *state;
    uint64_t small, huge;

    for (size_t i = 0; i < ARRAY_SIZE(at); i++)
        f->b.host[at[i]] = 1;
    scan(f, &small, &huge);
    assert_int_equal(small, ARRAY_SIZE(at));
    assert_int_equal(huge, 0);
}

static void pages_that_the_mapping_lacks_are_counted_too(void **state)
{
    struct fixture *f = *state;
    uint64_t small, huge;
    char byte = 7;

    for (size_t i = 0; i < 100; i++) /* by the file: no mapping has ever seen them */
        assert_int_equal(pwrite(f->b.memfd, &byte, 1, (off_t)(5 * MIB + i * 8192)), 1);
    f->b.host[0] = 1;
    assert_int_equal(madvise(f->b.host, LEN, MADV_DONTNEED), 0); /* taken out of the table */
    scan(f, &small, &huge);
    assert_int_equal(small, 101);
    assert_int_equal(huge, 0);
}

static void an_extent_of_small_pages_is_not_huge(void **state)
{
    struct fixture *f = *state;
    uint64_t small, huge;

    assert_int_equal(madvise(f->b.host, LEN, MADV_NOHUGEPAGE), 0);
    assert_int_equal(madvise(f->b.host, 4 * MIB, MADV_POPULATE_WRITE), 0);
    scan(f, &small, &huge);
    assert_int_equal(small, 1024);
    assert_int_equal(huge, 0);
}

static void huge_pages_count_as_such(void **state)
{
    struct fixture *f = *state;
    uint64_t small, huge;

    f->b.host[6 * MIB] = 1;
    if (madvise(f->b.host + 6 * MIB, 2 * MIB, 25) != 0) /* MADV_COLLAPSE */
        skip();
    f->b.host[34 * MIB] = 1;
    assert_int_equal(madvise(f->b.host + 34 * MIB, 2 * MIB, 25), 0);
    f->b.host[0] = 1;
    scan(f, &small, &huge);
    assert_int_equal(small, 1);
    assert_int_equal(huge, 2);
    assert_int_equal(madvise(f->b.host, LEN, MADV_DONTNEED), 0);
    scan(f, &small, &huge);
    assert_int_equal(huge, 2);
}

static void memory_set_aside_is_reserved_until_it_is_used(void **state)
{
    struct fixture *f = *state;
    uint64_t small, huge;

    assert_int_equal(backing_reserve(&f->b, NULL), 0);
    scan(f, &small, &huge);
    assert_true(f->res.reserved_bytes == LEN);
    assert_int_equal(small, 0);
    f->b.host[9 * MIB] = 1;
    scan(f, &small, &huge);
    assert_int_equal(small, 1);
    assert_true(f->res.reserved_bytes == LEN - 4096);
}

static void without_a_pagemap_huge_pages_count_as_small_ones(void **state)
{
    struct fixture *f = *state;
    uint64_t small, huge;
    int kept = f->pagemap;

    assert_int_equal(madvise(f->b.host, 2 * MIB, MADV_POPULATE_WRITE), 0);
    f->pagemap = -1;
    scan(f, &small, &huge);
    f->pagemap = kept;
    assert_int_equal(small, 512);
    assert_int_equal(huge, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_there_stays_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(single_pages_are_counted_wherever_they_are, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pages_that_the_mapping_lacks_are_counted_too, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_extent_of_small_pages_is_not_huge, setup, teardown),
        cmocka_unit_test_setup_teardown(huge_pages_count_as_such, setup, teardown),
        cmocka_unit_test_setup_teardown(memory_set_aside_is_reserved_until_it_is_used, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_a_pagemap_huge_pages_count_as_small_ones, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("memory/residency", tests, NULL, NULL);
}
