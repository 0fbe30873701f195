/* SPDX-License-Identifier: Apache-2.0 */
/* Filling memory at the start: every byte once, by threads of the right node, and what happens when
 * a piece cannot be had. No memory is really taken. */
// LDFLAGS: -Wl,--wrap=backing_take,--wrap=place_pin_thread,--wrap=numa_policy_apply,--wrap=numa_policy_keep
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "memory/guest_mem.h"
#include "memory/mem_fill.h"
#include "memory/numa_policy.h"
#include "memory/test/test_map.h"
#include "vmm/base/macros.h"
#include "vmm/base/place.h"

#define M ((uint64_t)MIB)

enum { UNITS_MAX = 512 }; /* of 2 MiB */

int __wrap_backing_take(const struct backing *b, size_t off, size_t len_bytes);
int __wrap_place_pin_thread(const struct idset *cpus, struct errctx *ec);
int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec);
int __wrap_numa_policy_keep(void *addr, size_t len_bytes, struct errctx *ec);

/* Host node whose CPUs the thread was put on; -1: on none. */
static _Thread_local int thread_host;

static struct {
    pthread_mutex_t lock;
    int host[2][UNITS_MAX]; /* of the thread that took the unit of the node's memory */
    unsigned times[2][UNITS_MAX];
    uint32_t fail_node;
    size_t fail_off;
    int fail;
    uint64_t done, all;
    unsigned reports;
} seen = { .lock = PTHREAD_MUTEX_INITIALIZER };

int __wrap_backing_take(const struct backing *b, size_t off, size_t len_bytes)
{
    const uint32_t node = b->plan->vnode.v;
    int r = 0;

    (void)pthread_mutex_lock(&seen.lock);
    if (seen.fail != 0 && node == seen.fail_node && off == seen.fail_off)
        r = -seen.fail;
    for (size_t at = off; at < off + len_bytes; at += 2 * MIB) {
        const size_t unit = (b->plan->off + at) / (2 * MIB);

        seen.host[node][unit] = thread_host;
        seen.times[node][unit]++;
    }
    (void)pthread_mutex_unlock(&seen.lock);
    return r;
}

int __wrap_place_pin_thread(const struct idset *cpus, struct errctx *ec)
{
    (void)ec;
    thread_host = (int)idset_next(cpus, 0) / 10; /* host node n has the CPUs 10n and 10n+1 */
    return 0;
}

int __wrap_numa_policy_apply(void *addr, size_t len_bytes, enum guest_policy policy,
                             const struct idset *host_nodes, struct errctx *ec)
{
    (void)addr, (void)len_bytes, (void)policy, (void)host_nodes, (void)ec;
    return 0;
}

int __wrap_numa_policy_keep(void *addr, size_t len_bytes, struct errctx *ec)
{
    (void)addr, (void)len_bytes, (void)ec;
    return 0;
}

/* Node 0: 512 MiB bound to host nodes 0 and 2; node 1: 256 MiB in turns of 4 MiB, three from host
 * node 1 and one from 2, and 128 MiB from anywhere. */
struct fixture {
    struct topo_plan plan;
    struct topo_plan_node nodes[2];
    struct topo_plan_backing backings[3];
    struct topo_plan_host hosts[3];
    struct mem_layout *layout;
    struct guest_mem *mem;
};

static int setup(void **state)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    memset(seen.host, 0xff, sizeof(seen.host));
    memset(seen.times, 0, sizeof(seen.times));
    seen.fail = 0;
    seen.reports = 0;
    thread_host = -1;
    f.nodes[0] = (struct topo_plan_node){ .vnode = { 0 }, .ram_bytes = 512 * M };
    f.nodes[1] = (struct topo_plan_node){ .vnode = { 1 }, .ram_bytes = 384 * M };
    f.backings[0] = (struct topo_plan_backing){ .vnode = { 0 }, .len_bytes = 512 * M,
                                                .policy = GUEST_POLICY_BIND, .prealloc = true };
    idset_add(&f.backings[0].host_nodes, 0);
    idset_add(&f.backings[0].host_nodes, 2);
    f.backings[1] = (struct topo_plan_backing){ .vnode = { 1 }, .len_bytes = 256 * M,
                                                .policy = GUEST_POLICY_WEIGHTED,
                                                .weights = { 2, { 3, 1 } },
                                                .chunk_bytes = 4 * M, .prealloc = true };
    idset_add(&f.backings[1].host_nodes, 1);
    idset_add(&f.backings[1].host_nodes, 2);
    f.backings[2] = (struct topo_plan_backing){ .vnode = { 1 }, .off = 256 * M,
                                                .len_bytes = 128 * M, .prealloc = true };
    for (uint32_t i = 0; i < 3; i++) {
        f.hosts[i].id.v = i;
        idset_add_range(&f.hosts[i].cpus, 10 * i, 2);
    }
    f.plan = (struct topo_plan){ .nodes = f.nodes, .n_nodes = 2, .backings = f.backings,
                                 .n_backings = 3, .hosts = f.hosts, .n_hosts = 3 };
    assert_int_equal(mem_layout_make(&test_map, &f.plan, 46, &f.layout, NULL), 0);
    assert_int_equal(guest_mem_new(&f.plan, f.layout, &f.mem, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    guest_mem_free(f->mem);
    mem_layout_free(f->layout);
    return 0;
}

static bool report(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
    assert_ptr_equal(ctx, &seen);
    seen.done = done_bytes;
    seen.all = all_bytes;
    seen.reports++;
    return true;
}

static bool no_more(void *ctx, uint64_t done_bytes, uint64_t all_bytes)
{
    (void)ctx;
    assert_true(done_bytes <= all_bytes);
    return false;
}

static void every_byte_once(void)
{
    for (size_t unit = 0; unit < 256; unit++)
        assert_int_equal(seen.times[0][unit], 1);
    for (size_t unit = 0; unit < 192; unit++)
        assert_int_equal(seen.times[1][unit], 1);
}

static void threads_fill_the_memory_of_their_node(void **state)
{
    const struct guest_mem_commit how = { .threads = true, .progress = report, .ctx = &seen };
    struct fixture *f = *state;

    assert_int_equal(guest_mem_commit(f->mem, &how, NULL), 0);
    every_byte_once();
    for (size_t unit = 0; unit < 256; unit++) /* half for each of two host nodes */
        assert_int_equal(seen.host[0][unit], unit < 128 ? 0 : 2);
    for (size_t unit = 0; unit < 128; unit++) /* turns of two units: 1 1 1 2 */
        assert_int_equal(seen.host[1][unit], unit / 2 % 4 == 3 ? 2 : 1);
    for (size_t unit = 128; unit < 192; unit++)
        assert_int_equal(seen.host[1][unit], 0); /* a thread of nobody's: zero as it is made */
    assert_true(seen.reports > 0);
    assert_true(seen.done == seen.all && seen.all == 896 * M);
}

static void one_thread_does_it_all_where_none_can_be_made(void **state)
{
    const struct guest_mem_commit how = { .threads = false };
    struct fixture *f = *state;

    assert_int_equal(guest_mem_commit(f->mem, &how, NULL), 0);
    every_byte_once();
    for (size_t unit = 0; unit < 256; unit++)
        assert_int_equal(seen.host[0][unit], -1); /* and stays where it was */
}

static void a_piece_that_cannot_be_had_stops_all_and_is_named(void **state)
{
    struct fixture *f = *state;

    for (int threads = 0; threads < 2; threads++) {
        const struct guest_mem_commit how = { .threads = threads != 0 };
        struct errctx ec = { 0 };

        seen.fail = ENOMEM;
        seen.fail_node = 0;
        seen.fail_off = 64 * M;
        assert_int_equal(guest_mem_commit(f->mem, &how, &ec), -ENOMEM);
        assert_string_equal(ec.msg, "virtual node 0: take 64 MiB in pages of any from host node "
                                    "0,2: Cannot allocate memory");
    }
}

static void who_hears_of_the_progress_can_give_up(void **state)
{
    const struct guest_mem_commit how = { .threads = true, .progress = no_more };
    struct fixture *f = *state;
    struct errctx ec = { 0 };

    assert_int_equal(guest_mem_commit(f->mem, &how, &ec), -ECANCELED);
    assert_string_equal(ec.msg, "it was given up while the guest's memory was taken");
}

static void what_is_not_preallocated_is_left_alone(void **state)
{
    const struct guest_mem_commit how = { .threads = true };
    struct fixture *f = *state;

    f->backings[0].prealloc = false;
    assert_int_equal(guest_mem_commit(f->mem, &how, NULL), 0);
    for (size_t unit = 0; unit < 256; unit++)
        assert_int_equal(seen.times[0][unit], 0);
    for (size_t unit = 0; unit < 192; unit++)
        assert_int_equal(seen.times[1][unit], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(threads_fill_the_memory_of_their_node, setup, teardown),
        cmocka_unit_test_setup_teardown(one_thread_does_it_all_where_none_can_be_made, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_piece_that_cannot_be_had_stops_all_and_is_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_hears_of_the_progress_can_give_up, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_preallocated_is_left_alone, setup, teardown),
    };
    return cmocka_run_group_tests_name("memory/mem_fill", tests, NULL, NULL);
}
