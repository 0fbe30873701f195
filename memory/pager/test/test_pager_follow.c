/* SPDX-License-Identifier: Apache-2.0 */
/* What is kept follows its node to another one of the host; a host of more nodes than this has. */
// LDFLAGS: -Wl,--wrap=numa_policy_bind -Wl,--wrap=numa_policy_move
#include <sys/mman.h>

#include "memory/pager/test/pager_rig.h"

int __wrap_numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                            struct errctx *ec);
int __wrap_numa_policy_move(void **pages, size_t n, struct hnode_id to, int *nodes,
                            struct errctx *ec);

enum { STORE_PARTS = 4 /* slots, and tables of blocks, objects and the index */ };

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
    assert_int_equal(host.binds, STORE_PARTS);
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

/* Until it is done, or its store is full. */
static void evict_some(struct rig *rig, uint32_t node)
{
    uint64_t got;
    const int r = pager_evict(rig->pager, (struct vnode_id){ node }, UINT64_MAX, &evict_ops, NULL,
                              &got, NULL);

    assert_true(r == 0 || r == -ENOSPC);
}

static uint64_t held(struct rig *rig)
{
    return count(rig, 0).store.held_bytes + count(rig, 1).store.held_bytes;
}

/* What it may take stays the same, and a node's share goes with it as what it left behind comes
 * back. */
static void two_stores_take_no_more_than_one(void **state)
{
    enum { LIMIT = 10 * MIB };
    struct rig *rig = malloc(sizeof(*rig));
    uint64_t at_first, at_last;

    (void)state;
    assert_non_null(rig);
    rig_init_with(rig, LIMIT);
    for (uint32_t node = 0; node < NODES; node++) {
        for (size_t i = 0; i < PAGES; i++)
            make(page_at(rig, node, i), i * NODES + node, 2 + (i * NODES + node) % 5 * 4);
        evict_some(rig, node);
    }
    assert_in_range(count(rig, 0).store.held_bytes, LIMIT / 2, LIMIT);
    follow(rig, 0, 3, 1000);
    for (size_t i = 0; i < PAGES / 4; i++)
        (void)*(volatile uint8_t *)page_at(rig, 0, i);
    evict_some(rig, 0);
    at_first = count(rig, 0).store.held_bytes;
    assert_in_range(held(rig), LIMIT / 2, LIMIT);
    for (size_t i = 0; i < PAGES; i++)
        (void)*(volatile uint8_t *)page_at(rig, 0, i);
    for (int i = 0; i < 3; i++) {
        evict_some(rig, 1);
        evict_some(rig, 0);
        assert_in_range(held(rig), LIMIT / 2, LIMIT);
    }
    at_last = count(rig, 0).store.held_bytes;
    assert_in_range(at_last, LIMIT / 4, LIMIT / 2);
    assert_true(at_last > at_first);
    assert_int_equal(rig->lost, 0);
    rig_fini(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_after_a_move_is_kept_on_the_new_node),
        cmocka_unit_test(two_stores_take_no_more_than_one),
    };
    return cmocka_run_group_tests_name("memory/pager: follow", tests, NULL, NULL);
}
