/* SPDX-License-Identifier: Apache-2.0 */
/* A pager whose guest has memory that is in a golden file: on this machine's kernel. */
// LDFLAGS: -Wl,--wrap=golden_pool_read
#include "memory/pager/test/pager_rig.h"

#include "memory/store/golden/golden_pool.h"
#include "memory/store/test/golden_file.h"

static _Atomic bool disk_is_slow;

int __wrap_golden_pool_read(struct golden_pool *pool, void *bytes, size_t len, uint64_t off);
int __real_golden_pool_read(struct golden_pool *pool, void *bytes, size_t len, uint64_t off);

int __wrap_golden_pool_read(struct golden_pool *pool, void *bytes, size_t len, uint64_t off)
{
    return atomic_load(&disk_is_slow) ? -ETIME : __real_golden_pool_read(pool, bytes, len, off);
}

enum { GOLDEN = 1000 };

struct world {
    struct rig rig;
    struct golden_files files;
    struct golden *golden;
};

static struct world *files_new(void)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    golden_files_init(&w->files);
    w->golden = golden_of(&w->files, 1, GOLDEN);
    return w;
}

static void files_free(struct world *w)
{
    golden_close(w->golden);
    golden_files_fini(&w->files);
    free(w);
}

static void begin(struct world *w)
{
    rig_init_params(&w->rig, &(struct pager_params){ .golden = w->golden });
    for (uint32_t i = 0; i < GOLDEN; i++) { /* the guest has half of it twice, and others */
        golden_page(1 + i, page_at(&w->rig, 0, i));
        golden_page(1 + i / 2, page_at(&w->rig, 0, GOLDEN + i));
        golden_page(1 + GOLDEN + i, page_at(&w->rig, 0, 2 * GOLDEN + i));
    }
    assert_int_equal(evict(&w->rig, 0, NODE_BYTES), 3 * GOLDEN * SMALL);
}

static struct world *world_new(void)
{
    struct world *w = files_new();

    begin(w);
    return w;
}

static void world_free(struct world *w)
{
    rig_fini(&w->rig);
    files_free(w);
}

static void what_is_golden_needs_no_copy_and_comes_back(void **state)
{
    struct world *w = world_new();
    uint8_t want[SMALL];
    struct pager_counts c;

    (void)state;
    for (int round = 0; round < 2; round++) {
        c = count(&w->rig, 0);
        assert_int_equal(c.store.golden_pages, 2 * GOLDEN);
        assert_int_equal(c.store.golden_objects, GOLDEN);
        assert_int_equal(c.store.golden_hits, (round + 1) * 2 * GOLDEN);
        assert_int_equal(c.store.objects, GOLDEN);
        for (uint32_t i = 0; i < 3 * GOLDEN; i++) {
            golden_page(1 + (i < GOLDEN        ? i
                             : i < 2 * GOLDEN ? (i - GOLDEN) / 2
                                              : i - GOLDEN),
                        want);
            assert_memory_equal(page_at(&w->rig, 0, i), want, SMALL);
        }
        (void)count_all_back(&w->rig, 0);
        assert_int_equal(evict(&w->rig, 0, NODE_BYTES), 3 * GOLDEN * SMALL);
    }
    assert_int_equal(atomic_load(&w->rig.lost), 0);
    world_free(w);
}

/* Nothing of a file that was changed reaches the guest. */
static void a_changed_file_is_told(void **state)
{
    struct world *w = world_new();
    uint8_t want[SMALL];

    (void)state;
    assert_int_equal(chmod(w->files.file, 0644), 0);
    assert_int_equal(truncate(w->files.file, 4096), 0);
    for (uint32_t i = 2 * GOLDEN; i < 3 * GOLDEN; i++) {
        golden_page(1 + i - GOLDEN, want);
        assert_memory_equal(page_at(&w->rig, 0, i), want, SMALL);
    }
    assert_int_equal(atomic_load(&w->rig.lost), 0);
    assert_string_equal(why_lost(&w->rig, 0, 3),
                        "page 3 of virtual node 0 was changed in the golden file");
    assert_int_equal(atomic_load(&w->rig.lost), 0);
    world_free(w);
}

static void a_file_that_does_not_answer_is_told(void **state)
{
    struct world *w = files_new();
    struct errctx ec = { 0 };
    uint8_t want[SMALL];
    int r = golden_set_readers(w->golden, NODES + 1, &ec);

    (void)state;
    if (r == -EPERM || r == -ENOSYS || r == -EACCES) {
        files_free(w);
        print_message("# skip: %s\n", ec.msg);
        skip();
    }
    if (r < 0)
        fail_msg("%s", ec.msg);
    begin(w);
    golden_page(1 + 2, want);
    assert_memory_equal(page_at(&w->rig, 0, 2), want, SMALL);
    atomic_store(&disk_is_slow, true);
    assert_string_equal(why_lost(&w->rig, 0, 900),
                        "page 900 of virtual node 0 did not come from the golden file in time");
    atomic_store(&disk_is_slow, false);
    golden_page(1 + 901, want);
    assert_memory_equal(page_at(&w->rig, 0, 901), want, SMALL);
    assert_int_equal(atomic_load(&w->rig.lost), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_golden_needs_no_copy_and_comes_back),
        cmocka_unit_test(a_changed_file_is_told),
        cmocka_unit_test(a_file_that_does_not_answer_is_told),
    };
    return cmocka_run_group_tests_name("memory/pager/golden", tests, NULL, NULL);
}
