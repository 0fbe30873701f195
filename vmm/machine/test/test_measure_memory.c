/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring on this machine, whatever it is, by a clock that goes on by one tick whenever it is
 * asked: what comes out is known then, however busy the machine. And every refusal. The calls that
 * bind are replaced, so that no NUMA host is needed. (Threads: pthread, for the thread sanitizer's
 * list.)
 */
// LDFLAGS: -Wl,--wrap=numa_policy_bind,--wrap=numa_policy_where,--wrap=clock_gettime
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "memory/numa_policy.h"
#include "vmm/machine/measure_memory.h"

int __wrap_numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                            struct errctx *ec);
int __wrap_numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec);

int __wrap_numa_policy_bind(void *addr, size_t len_bytes, const struct idset *host_nodes,
                            struct errctx *ec)
{
    int code;

    assert_int_equal((uintptr_t)addr % (2u << 20), 0);
    check_expected(len_bytes);
    assert_true(idset_has(host_nodes, 5) && idset_count(host_nodes) == 1);
    code = mock_type(int);
    return code != 0 ? errctx_set(ec, code, "mbind") : 0;
}

int __wrap_numa_policy_where(const void *addr, struct hnode_id *ret_node, struct errctx *ec)
{
    (void)addr;
    (void)ec;
    ret_node->v = mock_type(uint32_t);
    return 0;
}

enum {
    NS_A_STEP = 80,
    TICK_NS = 1024 * NS_A_STEP, /* steps are timed by 1,024 */
    BUFFER_BYTES = 8 << 20,
    STEPS = BUFFER_BYTES / 128,
    READERS_MAX = 16,
    PASSES_MAX = 64,
};

static atomic_uint asked; /* how often the clock was; threads ask it, too */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    const uint64_t now_ns = (uint64_t)(atomic_fetch_add(&asked, 1) + 1) * TICK_NS;

    (void)clock;
    ret_time->tv_sec = (time_t)(now_ns / 1000000000u);
    ret_time->tv_nsec = (long)(now_ns % 1000000000u);
    return 0;
}

/* This machine, and beside it a second node that is not there. */
struct rig {
    struct host_topo host;
    struct host_node nodes[2];
    struct host_node *own;
    struct measure_memory *m;
};

static void rig_make(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    assert_int_equal(host_topo_discover("", &r->host, NULL), 0);
    r->own = r->host.nodes;
    r->nodes[0] = r->own[0];
    r->nodes[1] = (struct host_node){ .id = { 5 }, .mem_bytes = 1u << 30 };
    r->host.nodes = r->nodes;
    r->host.n_nodes = 1;
    assert_int_equal(measure_memory_new(&r->host, &r->m, NULL), 0);
}

static void rig_fini(struct rig *r)
{
    measure_memory_free(r->m);
    r->host.nodes = r->own;
    r->host.n_nodes = 1;
    host_topo_fini(&r->host);
}

static void latency_is_what_a_step_took(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };
    uint32_t ps = 0;

    (void)state;
    rig_make(&r);
    if (measure_memory_prepare(r.m, 0, &ec) < 0)
        fail_msg("%s", ec.msg);
    atomic_store(&asked, 0);
    assert_int_equal(measure_memory_latency(r.m, 0, UINT64_MAX, &ps, &ec), 0);
    assert_int_equal(ps, NS_A_STEP * 1000);
    assert_int_equal(atomic_load(&asked), 1 + STEPS / 1024); /* the whole buffer, and no more */
    /* Again, with less time, and with none: one chunk. */
    atomic_store(&asked, 0);
    assert_int_equal(measure_memory_latency(r.m, 0, 10 * TICK_NS, &ps, &ec), 0);
    assert_int_equal(atomic_load(&asked), 1 + 10);
    atomic_store(&asked, 0);
    ps = 0;
    assert_int_equal(measure_memory_latency(r.m, 0, 0, &ps, &ec), 0);
    assert_int_equal(ps, NS_A_STEP * 1000);
    assert_int_equal(atomic_load(&asked), 1 + 1);
    rig_fini(&r);
}

static uint32_t count_cores(const struct rig *r)
{
    struct idset cores = { 0 };

    for (size_t i = 0; i < r->host.n_cpus; i++)
        if (r->host.cpus[i].node == 0)
            idset_add(&cores, r->host.cpus[i].core);
    return idset_count(&cores) < READERS_MAX ? idset_count(&cores) : READERS_MAX;
}

/* Each reader asks the clock before and after its part. In whatever order they come, the first one
 * to ask begins and the last one ends, so a pass takes all of their ticks but one. */
static void bandwidth_is_the_buffer_over_a_pass_of_all_readers(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };
    uint64_t rate = 0, n, want;

    (void)state;
    rig_make(&r);
    n = count_cores(&r);
    want = BUFFER_BYTES / n / 256 * 256 * n * 1000000000u / ((2 * n - 1) * TICK_NS);
    if (measure_memory_prepare(r.m, 0, &ec) < 0)
        fail_msg("%s", ec.msg);
    atomic_store(&asked, 0);
    if (measure_memory_bandwidth(r.m, 0, 1000000000000u, &rate, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_in_range(rate, want - 1, want + 1); /* rounded */
    assert_int_equal(atomic_load(&asked), 1 + 2 * n * PASSES_MAX);
    /* Again, with time for three passes, and for none: one. */
    atomic_store(&asked, 0);
    assert_int_equal(measure_memory_bandwidth(r.m, 0, 3 * 2 * n * TICK_NS, &rate, &ec), 0);
    assert_int_equal(atomic_load(&asked), 1 + 2 * n * 3);
    atomic_store(&asked, 0);
    rate = 0;
    assert_int_equal(measure_memory_bandwidth(r.m, 0, 0, &rate, &ec), 0);
    assert_in_range(rate, want - 1, want + 1);
    assert_int_equal(atomic_load(&asked), 1 + 2 * n);
    rig_fini(&r);
}

static void a_node_with_little_memory_gets_a_small_buffer_or_none(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };

    (void)state;
    rig_make(&r);
    r.host.n_nodes = 2;
    r.nodes[1].mem_free_bytes = 17u << 20;
    expect_value(__wrap_numa_policy_bind, len_bytes, 4u << 20);
    will_return(__wrap_numa_policy_bind, 0);
    will_return_count(__wrap_numa_policy_where, 5, 2);
    assert_int_equal(measure_memory_prepare(r.m, 1, &ec), 0);
    r.nodes[1].mem_free_bytes = 3u << 20;
    assert_int_equal(measure_memory_prepare(r.m, 1, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "node 5 has only 3 MiB free");
    r.nodes[1].mem_free_bytes = 1u << 30;
    r.host.limits.has_memory = true;
    r.host.limits.memory_left_bytes = 5u << 20;
    strcpy(r.host.limits.memory_left_cgroup, "/small");
    assert_int_equal(measure_memory_prepare(r.m, 1, &ec), -ENOSPC);
    assert_string_equal(ec.msg, "the cgroup /small has only 5 MiB of memory left");
    rig_fini(&r);
}

static void memory_from_elsewhere_is_not_measured(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };

    (void)state;
    rig_make(&r);
    r.host.n_nodes = 2;
    expect_value_count(__wrap_numa_policy_bind, len_bytes, 8u << 20, 2);
    will_return(__wrap_numa_policy_bind, 0);
    will_return(__wrap_numa_policy_where, 5);
    will_return(__wrap_numa_policy_where, 0);
    assert_int_equal(measure_memory_prepare(r.m, 1, &ec), -EXDEV);
    assert_string_equal(ec.msg, "memory asked of node 5 came from node 0");
    will_return(__wrap_numa_policy_bind, EINVAL);
    assert_int_equal(measure_memory_prepare(r.m, 1, &ec), -EINVAL);
    assert_string_equal(ec.msg, "mbind");
    rig_fini(&r);
}

static void cpus_that_cannot_be_had_are_named(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };
    uint32_t ps = 4711;
    uint64_t rate = 4711;

    (void)state;
    rig_make(&r);
    assert_int_equal(measure_memory_prepare(r.m, 0, &ec), 0);
    r.nodes[0].cpus = (struct idset){ 0 };
    idset_add(&r.nodes[0].cpus, 8191); /* no machine of ours has it */
    assert_int_equal(measure_memory_latency(r.m, 0, 1000, &ps, &ec), -EINVAL);
    assert_non_null(strstr(ec.msg, "8191"));
    for (size_t i = 0; i < r.host.n_cpus; i++)
        r.host.cpus[i].id.v = 8191;
    assert_int_equal(measure_memory_bandwidth(r.m, 0, 1000, &rate, &ec), -EINVAL);
    r.host.n_cpus = 0;
    assert_int_equal(measure_memory_bandwidth(r.m, 0, 1000, &rate, &ec), -ENODEV);
    assert_int_equal(ps, 4711);
    assert_true(rate == 4711);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(latency_is_what_a_step_took),
        cmocka_unit_test(bandwidth_is_the_buffer_over_a_pass_of_all_readers),
        cmocka_unit_test(a_node_with_little_memory_gets_a_small_buffer_or_none),
        cmocka_unit_test(memory_from_elsewhere_is_not_measured),
        cmocka_unit_test(cpus_that_cannot_be_had_are_named),
    };
    return cmocka_run_group_tests_name("machine/measure_memory", tests, NULL, NULL);
}
