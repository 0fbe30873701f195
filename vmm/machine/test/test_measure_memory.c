/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring on this machine, whatever it is: values of a plausible size, and every refusal. The
 * calls that bind are replaced, so that no NUMA host is needed. (Threads: pthread, for the
 * thread sanitizer's list.)
 */
// LDFLAGS: -Wl,--wrap=numa_policy_bind -Wl,--wrap=numa_policy_where
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

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

static void this_machine_has_a_latency_and_a_bandwidth(void **state)
{
    struct rig r;
    struct errctx ec = { 0 };
    uint32_t ps = 0;
    uint64_t rate = 0;

    (void)state;
    rig_make(&r);
    if (measure_memory_prepare(r.m, 0, &ec) < 0 ||
        measure_memory_latency(r.m, 0, 20000000, &ps, &ec) < 0 ||
        measure_memory_bandwidth(r.m, 0, 20000000, &rate, &ec) < 0)
        fail_msg("%s", ec.msg);
    assert_in_range(ps, 500, 100 * 1000 * 1000); /* 0.5 ns to 100 us: sanitizers, emulation */
    assert_true(rate > 1u << 20 && rate < 1ull << 44);
    /* Again, and with almost no time: one chunk, one pass. */
    assert_int_equal(measure_memory_latency(r.m, 0, 0, &ps, &ec), 0);
    assert_int_equal(measure_memory_bandwidth(r.m, 0, 0, &rate, &ec), 0);
    assert_true(ps > 0 && rate > 0);
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
        cmocka_unit_test(this_machine_has_a_latency_and_a_bandwidth),
        cmocka_unit_test(a_node_with_little_memory_gets_a_small_buffer_or_none),
        cmocka_unit_test(memory_from_elsewhere_is_not_measured),
        cmocka_unit_test(cpus_that_cannot_be_had_are_named),
    };
    return cmocka_run_group_tests_name("machine/measure_memory", tests, NULL, NULL);
}
