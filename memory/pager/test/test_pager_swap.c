/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pager whose stores are too small, and a swap file for what has no room there: on this machine's
 * kernel, but for the disk, which is memory.
 */
// LDFLAGS: -Wl,--wrap=swap_ring_new,--wrap=swap_ring_free,--wrap=swap_ring_buffer
// LDFLAGS: -Wl,--wrap=swap_ring_read,--wrap=swap_ring_write
#include "memory/pager/test/pager_rig.h"

#include "memory/store/test/fake_disk.h"

enum { STORE_BYTES = 6 * MIB, BLOCKS = 9000, ROUNDS = 4 };

struct swapping {
    struct rig rig;
    struct swap_file file;
    struct swap *swap;
    uint64_t writes_then;
};

static void swapping_init(struct swapping *s, uint64_t store_bytes)
{
    s->file = fake_disk_init(BLOCKS);
    assert_int_equal(swap_new(&s->file, &s->swap, NULL), 0);
    rig_init_swap(&s->rig, store_bytes, s->swap);
}

static void swapping_fini(struct swapping *s)
{
    rig_fini(&s->rig);
    swap_free(s->swap);
    fake_disk_fini();
}

static void write_all(struct rig *rig, uint32_t version)
{
    for (uint32_t node = 0; node < NODES; node++)
        for (size_t i = 0; i < PAGES; i++)
            make(page_at(rig, node, i), node * PAGES + i, version);
}

static void read_all(struct rig *rig, uint32_t version)
{
    uint8_t want[SMALL];

    for (uint32_t node = 0; node < NODES; node++)
        for (size_t i = 0; i < PAGES; i++) {
            make(want, node * PAGES + i, version);
            assert_memory_equal(page_at(rig, node, i), want, SMALL);
        }
}

static uint64_t used_bytes(const struct swapping *s)
{
    struct swap_counts c;

    swap_count(s->swap, &c);
    return c.used_bytes;
}

static void what_has_no_room_goes_to_the_file_and_comes_back(void **state)
{
    struct swapping *s = malloc(sizeof(*s));
    struct pager_counts c;

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        write_all(&s->rig, round);
        for (uint32_t node = 0; node < NODES; node++)
            assert_true(evict(&s->rig, node, NODE_BYTES) >= NODE_BYTES * 9 / 10);
        c = count(&s->rig, 0);
        assert_true(c.store.swapped_objects > 1000);
        assert_true(c.store.held_bytes <= STORE_BYTES);
        assert_true(used_bytes(s) >= c.store.swapped_bytes);
        read_all(&s->rig, round);
    }
    (void)count_all_back(&s->rig, 0);
    (void)count_all_back(&s->rig, 1);
    assert_int_equal(used_bytes(s), 0);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

static void what_was_kept_for_long_goes_by_itself(void **state)
{
    struct swapping *s = malloc(sizeof(*s));
    struct pager_counts c;

    (void)state;
    assert_non_null(s);
    swapping_init(s, 0);
    write_all(&s->rig, 3);
    (void)evict(&s->rig, 0, NODE_BYTES);
    for (uint64_t t = 0; t < 54 * 5 * 10; t++) { /* 270 s, each tenth of a second */
        s->rig.now_ns += 100 * 1000 * 1000;
        pager_pack(s->rig.pager, s->rig.now_ns);
    }
    c = count(&s->rig, 0);
    assert_int_equal(c.store.swapped_objects, 0);
    for (uint64_t t = 0; t < 120 * 10; t++) {
        s->rig.now_ns += 100 * 1000 * 1000;
        pager_pack(s->rig.pager, s->rig.now_ns);
    }
    c = count(&s->rig, 0);
    assert_int_equal(c.store.objects, 0);
    assert_true(c.store.swapped_objects > 1000 && c.store.used_bytes == 0);
    read_all(&s->rig, 3);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

static void a_full_disk_ends_an_eviction_and_nothing_else(void **state)
{
    struct swapping *s = malloc(sizeof(*s));
    struct errctx ec = { 0 };
    uint64_t got = 0;
    int r = 0;

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    atomic_store(&disk.has_room_for, 300);
    write_all(&s->rig, 1);
    for (uint32_t node = 0; r == 0 && node < NODES; node++)
        r = pager_evict(s->rig.pager, (struct vnode_id){ node }, NODE_BYTES, &evict_ops, NULL, &got,
                        &ec);
    assert_int_equal(r, -ENOSPC);
    assert_non_null(strstr(ec.msg, "is full"));
    assert_true(used_bytes(s) > 0);
    read_all(&s->rig, 1);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

/* Who waits for the thread that evicts until it comes by. */
static bool lets_go(void *ctx, uint64_t evicted_bytes)
{
    struct swapping *s = ctx;

    (void)evicted_bytes;
    if (s->rig.in_hurry)
        s->writes_then = atomic_load(&disk.writes);
    s->rig.in_hurry = false;
    return true;
}

static void who_waits_for_the_evictor_waits_for_no_disk(void **state)
{
    static const struct pager_evict_ops ops = { .between = lets_go };
    struct swapping *s = malloc(sizeof(*s));
    struct errctx ec = { 0 };

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    write_all(&s->rig, 1);
    for (uint32_t node = 0; node < NODES; node++) {
        uint64_t got = 0;

        s->rig.in_hurry = true;
        s->writes_then = UINT64_MAX;
        atomic_store(&disk.writes, 0);
        if (pager_evict(s->rig.pager, (struct vnode_id){ node }, NODE_BYTES, &ops, s, &got,
                        &ec) < 0)
            fail_msg("%s", ec.msg);
        assert_true(got >= NODE_BYTES * 9 / 10);
        assert_int_equal(s->writes_then, 0);
        assert_true(atomic_load(&disk.writes) > 0);
        /* By itself nothing goes meanwhile, either. */
        s->rig.in_hurry = true;
        atomic_store(&disk.writes, 0);
        for (uint64_t t = 0; t < 400 * 10; t++) {
            s->rig.now_ns += 100 * 1000 * 1000;
            pager_pack(s->rig.pager, s->rig.now_ns);
        }
        assert_int_equal(atomic_load(&disk.writes), 0);
    }
    read_all(&s->rig, 1);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

/* Others of the node wait: no more than one read that nobody asked for, where one takes long. */
static void reading_ahead_from_a_slow_disk_ends_soon(void **state)
{
    enum { SLOW_MS = 20, SOME = 600 };
    struct swapping *s = malloc(sizeof(*s));
    uint64_t most = 0;

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    write_all(&s->rig, 1);
    for (uint32_t node = 0; node < NODES; node++)
        (void)evict(&s->rig, node, NODE_BYTES);
    atomic_store(&disk.read_ms, SLOW_MS);
    for (size_t i = 0; i < SOME; i++) {
        const uint64_t before = atomic_load(&disk.reads);

        touch(&s->rig, i);
        most = MAX(most, atomic_load(&disk.reads) - before);
    }
    assert_in_range(most, 1, 2);
    atomic_store(&disk.read_ms, 0);
    read_all(&s->rig, 1);
    assert_true(count(&s->rig, 0).ahead_pages > 0);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

static void *read_node(void *arg)
{
    const struct rig *rig = arg;
    uint8_t want[SMALL];

    for (size_t i = 0; i < PAGES; i++) {
        make(want, i, 1);
        if (memcmp(page_at(rig, 0, i), want, SMALL) != 0)
            return (void *)(i + 1);
    }
    return NULL;
}

/* Nor does it wait for the disk who gives memory back: what is on its way stays. */
static void what_the_disk_has_still_is_not_waited_for(void **state)
{
    struct swapping *s = malloc(sizeof(*s));
    uint64_t gone = 1;
    pthread_t reader;
    size_t page = 0;
    void *wrong;

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    write_all(&s->rig, 1);
    for (uint32_t node = 0; node < NODES; node++)
        (void)evict(&s->rig, node, NODE_BYTES);
    atomic_store(&disk.holds_reads, true);
    assert_int_equal(pthread_create(&reader, NULL, read_node, &s->rig), 0);
    while (!atomic_load(&disk.is_held))
        (void)sched_yield();
    while (state_of(&s->rig, 0, page) != PAGE_FILLING)
        page++;
    assert_true(page < PAGES);
    assert_int_equal(guest_mem_give_back(s->rig.mem, (struct gpa){ page * SMALL }, SMALL, false,
                                         &gone),
                     0);
    assert_int_equal(state_of(&s->rig, 0, page), PAGE_FILLING);
    atomic_store(&disk.holds_reads, false);
    assert_int_equal(pthread_join(reader, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(gone, 0);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

enum { ENOUGH_LOST = 50 };

static void must_lose(void (*harm)(void), const char *why)
{
    struct swapping *s = malloc(sizeof(*s));
    size_t n_lost = 0;

    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    write_all(&s->rig, 2);
    for (uint32_t node = 0; node < NODES; node++)
        (void)evict(&s->rig, node, NODE_BYTES);
    harm();
    for (uint32_t node = 0; node < NODES; node++)
        for (size_t i = 0; i < PAGES && n_lost < ENOUGH_LOST; i++) {
            const char *said = why_lost(&s->rig, node, i);

            if (said != NULL && strstr(said, why) == NULL)
                fail_msg("\"%s\" does not say \"%s\"", said, why);
            n_lost += said != NULL;
        }
    assert_true(n_lost > 0);
    assert_int_equal(atomic_load(&s->rig.lost), 0);
    swapping_fini(s);
    free(s);
}

static void cannot_read(void)
{
    atomic_store(&disk.read_error, EIO);
}

static void does_not_answer(void)
{
    atomic_store(&disk.read_error, ETIMEDOUT);
}

static void became_shorter(void)
{
    atomic_store(&disk.read_error, ENODATA);
}

static void what_the_file_loses_is_told(void **state)
{
    (void)state;
    must_lose(fake_disk_damage, "was changed in the swap file");
    must_lose(cannot_read, "its disk has an error");
    must_lose(does_not_answer, "in time");
    must_lose(became_shorter, "became shorter");
}

static void a_reset_forgets_what_is_in_the_file(void **state)
{
    struct swapping *s = malloc(sizeof(*s));

    (void)state;
    assert_non_null(s);
    swapping_init(s, STORE_BYTES);
    for (uint32_t round = 0; round < 2; round++) {
        write_all(&s->rig, round);
        for (uint32_t node = 0; node < NODES; node++)
            (void)evict(&s->rig, node, NODE_BYTES);
        assert_true(used_bytes(s) > 0);
        assert_int_equal(pager_reset(s->rig.pager, NULL), 0);
        assert_int_equal(used_bytes(s), 0);
    }
    write_all(&s->rig, 9);
    read_all(&s->rig, 9);
    swapping_fini(s);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_no_room_goes_to_the_file_and_comes_back),
        cmocka_unit_test(what_was_kept_for_long_goes_by_itself),
        cmocka_unit_test(a_full_disk_ends_an_eviction_and_nothing_else),
        cmocka_unit_test(who_waits_for_the_evictor_waits_for_no_disk),
        cmocka_unit_test(reading_ahead_from_a_slow_disk_ends_soon),
        cmocka_unit_test(what_the_disk_has_still_is_not_waited_for),
        cmocka_unit_test(what_the_file_loses_is_told),
        cmocka_unit_test(a_reset_forgets_what_is_in_the_file),
    };
    return cmocka_run_group_tests_name("memory/pager/swap", tests, NULL, NULL);
}
