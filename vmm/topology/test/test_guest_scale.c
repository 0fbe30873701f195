/* SPDX-License-Identifier: Apache-2.0 */
/* Large machines made small: what is kept, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/guest_from_host.h"
#include "vmm/topology/guest_scale.h"
#include "vmm/topology/topo_plan.h"

static const struct host_topo nowhere = { .source = "nowhere" };

static void describe(const char *synthetic, struct guest_spec *spec)
{
    struct topo_notes notes = { 0 };
    struct host_topo h;

    assert_int_equal(host_topo_from_synthetic(synthetic, &h, NULL), 0);
    assert_int_equal(guest_from_host(&h, spec, &notes, NULL), 0);
    host_topo_fini(&h);
}

/* Cores in a complex, complexes in a die, dies in a socket, sockets: what is left of each. */
static void cpus_keep_their_shape(void **state)
{
    static const struct {
        const char *machine, *scale;
        uint32_t cores, complexes, dies, sockets, cpus;
    } rows[] = {
        { "pack:2 numa:1 l3:1 core:16 pu:2", "cpus=1/4", 4, 1, 1, 2, 16 },
        { "pack:2 numa:1 l3:1 core:16 pu:2", "cpus=1/1000", 1, 1, 1, 2, 4 },
        { "pack:2 numa:4 l3:2 core:8 pu:2", "cpus=1/2", 4, 2, 4, 2, 128 },
        { "pack:2 numa:4 l3:2 core:8 pu:2", "cpus=1/8", 1, 2, 4, 2, 32 },
        { "pack:2 numa:4 l3:2 core:8 pu:2", "cpus=1/16", 1, 1, 4, 2, 16 },
        { "pack:2 numa:1 l3:4 l2:2 core:4 pu:1", "cpus=1/2", 4, 4, 1, 2, 32 },
        { "pack:2 numa:1 l3:1 core:6 pu:1", "cpus=2/3", 4, 1, 1, 2, 8 },
        { "pack:2 numa:1 l3:1 core:6 pu:1", "cpus=1/1", 6, 1, 1, 2, 12 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct guest_spec spec = { 0 };
        struct guest_scale scale;
        struct topo_plan *plan;
        struct errctx ec = { 0 };

        describe(rows[i].machine, &spec);
        assert_int_equal(guest_scale_parse(rows[i].scale, &scale, NULL), 0);
        assert_int_equal(guest_scale_apply(&spec, &scale, NULL), 0);
        if (topo_plan_make(&spec, &nowhere, &plan, &ec) < 0)
            fail_msg("%s at %s: %s", rows[i].machine, rows[i].scale, ec.msg);
        assert_int_equal(plan->apic.cores_per_complex, rows[i].cores);
        assert_int_equal(plan->apic.complexes_per_die, rows[i].complexes);
        assert_int_equal(plan->apic.dies_per_socket, rows[i].dies);
        assert_int_equal(plan->apic.n_sockets, rows[i].sockets);
        assert_int_equal(plan->n_vcpus, rows[i].cpus);
        topo_plan_free(plan);
        guest_spec_fini(&spec);
    }
}

static void memory_keeps_its_proportions(void **state)
{
    static const struct guest_node_spec nodes[] = {
        { .memory_bytes = 640 * MIB, .n_mem_caches = 1, .mem_cache[0].size_bytes = 64 * MIB },
        { .memory_bytes = 0 },
        { .memory_bytes = 6 * MIB, .hotplug_bytes = 8ull * GIB },
    };
    struct guest_spec spec = { 0 };
    struct guest_scale scale;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
        assert_int_equal(guest_spec_add_node(&spec, &nodes[i], NULL), 0);
    assert_int_equal(guest_scale_parse("memory=1/4", &scale, NULL), 0);
    assert_int_equal(guest_scale_apply(&spec, &scale, NULL), 0);
    assert_true(spec.nodes[0].memory_bytes == 160 * MIB);
    assert_true(spec.nodes[0].mem_cache[0].size_bytes == 16 * MIB);
    assert_true(spec.nodes[1].memory_bytes == 0);
    assert_true(spec.nodes[2].memory_bytes == 2 * MIB);
    assert_true(spec.nodes[2].hotplug_bytes == 2ull * GIB);

    assert_int_equal(guest_scale_memory(&spec, 1000 * MIB, NULL), 0);
    assert_true(spec.nodes[0].memory_bytes + spec.nodes[2].memory_bytes == 1000 * MIB);
    assert_true(spec.nodes[2].memory_bytes == 12 * MIB);
    assert_int_equal(guest_scale_memory(&spec, 4 * MIB, NULL), 0);
    assert_true(spec.nodes[0].memory_bytes == 2 * MIB);
    assert_int_equal(guest_scale_memory(&spec, 2 * MIB, NULL), -EINVAL);
    guest_spec_fini(&spec);
}

static void wrong_fractions_are_refused(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        { "", "\"\" is not of the form memory=1/N,cpus=1/N" },
        { "1/4", "\"1/4\" is neither memory=1/N nor cpus=1/N" },
        { "memory=4", "memory=: \"4\" is not of the form 1/N" },
        { "cpus=2/1", "cpus=: 2/1 shrinks nothing: say a fraction of at most 1/1" },
        { "cpus=1/0", "cpus=: 1/0 shrinks nothing: say a fraction of at most 1/1" },
        { "cpus=0/3", "cpus=: 0/3 shrinks nothing: say a fraction of at most 1/1" },
        { "cpus=1/4,cpus=1/4", "cpus= is said twice" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct guest_scale scale = { .cpus_of = 7 };
        struct errctx ec = { 0 };

        assert_true(guest_scale_parse(rows[i].text, &scale, &ec) < 0);
        assert_string_equal(ec.msg, rows[i].sentence);
        assert_int_equal(scale.cpus_of, 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_keep_their_shape),
        cmocka_unit_test(memory_keeps_its_proportions),
        cmocka_unit_test(wrong_fractions_are_refused),
    };

    return cmocka_run_group_tests_name("topology/guest_scale", tests, NULL, NULL);
}
