/* SPDX-License-Identifier: Apache-2.0 */
/* Machines as read, and the guests that look like them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/guest_from_host.h"
#include "vmm/topology/test/archive.h"
#include "vmm/topology/topo_plan.h"

#define HOSTS "vmm/topology/test/hosts/"

static const struct host_topo nowhere = { .source = "nowhere" };

/* A guest like @h, which is used up; its notes in @notes. */
static struct topo_plan *guest_of(struct host_topo *h, struct topo_notes *notes)
{
    struct guest_spec spec = { 0 };
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };

    memset(notes, 0, sizeof(*notes));
    if (guest_from_host(h, &spec, notes, &ec) < 0 ||
        topo_plan_make(&spec, &nowhere, &plan, &ec) < 0)
        fail_msg("%s", ec.msg);
    guest_spec_fini(&spec);
    host_topo_fini(h);
    return plan;
}

static void assert_nodes_alike(const struct topo_plan *plan, const struct host_topo *h)
{
    assert_int_equal(plan->n_nodes, h->n_nodes);
    assert_int_equal(plan->n_vcpus, h->n_cpus);
    for (size_t i = 0; i < h->n_nodes; i++) {
        assert_true(idset_equal(&plan->nodes[i].cpus, &h->nodes[i].cpus));
        assert_true(plan->nodes[i].ram_bytes == h->nodes[i].mem_bytes);
        for (size_t k = 0; k < h->n_nodes; k++)
            assert_int_equal(plan->distances[i * h->n_nodes + k], host_topo_distance(h, i, k));
    }
    for (size_t i = 0; i < h->n_cpus; i++) {
        assert_int_equal(plan->vcpus[i].socket, h->cpus[i].package);
        assert_int_equal(plan->vcpus[i].thread, h->cpus[i].thread);
        assert_int_equal(plan->vcpus[i].vnode.v, h->cpus[i].node);
    }
}

static void recorded_machines_are_kept(void **state)
{
    static const char *const files[] = { HOSTS "eight-socket-128-node.xml",
                                         HOSTS "two-socket-hbm.xml" };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct host_topo h, again;
        struct topo_notes notes;
        struct topo_plan *plan;

        assert_int_equal(host_topo_from_xml(files[i], &h, NULL), 0);
        assert_int_equal(host_topo_from_xml(files[i], &again, NULL), 0);
        plan = guest_of(&h, &notes);
        assert_nodes_alike(plan, &again);
        topo_plan_free(plan);
        host_topo_fini(&again);
    }
}

static void synthetic_machines_are_kept(void **state)
{
    static const struct {
        const char *text, *note; /* "": nothing to say */
        uint32_t sockets, dies, complexes, cores, threads;
    } rows[] = {
        { "pack:2 numa:1 l3:1 l2:4 l1i:1 l1d:1 core:1 pu:2", "", 2, 1, 1, 4, 2 },
        { "pack:1 numa:4 l3:2 l2:2 l1d:1 core:1 pu:1", "several nodes is told as one die", 1, 4, 2,
          2, 1 },
        { "pack:2 die:2 numa:1 l3:1 core:3 pu:1", "L2 cache: not described", 2, 2, 1, 3, 1 },
        { "numa:1 pack:4 core:2 pu:2", "", 4, 1, 1, 2, 2 },
        { "numa:3 core:2 pu:1", "several nodes is told", 1, 3, 1, 2, 1 },
        { "l3:1 numa:2 core:2 pu:1", "several nodes is told", 1, 2, 1, 2, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct topo_notes notes;
        struct host_topo h;
        struct topo_plan *plan;

        assert_int_equal(host_topo_from_synthetic(rows[i].text, &h, NULL), 0);
        plan = guest_of(&h, &notes);
        if (plan->apic.n_sockets != rows[i].sockets || plan->apic.dies_per_socket != rows[i].dies ||
            plan->apic.complexes_per_die != rows[i].complexes ||
            plan->apic.cores_per_complex != rows[i].cores ||
            plan->apic.threads_per_core != rows[i].threads)
            fail_msg("\"%s\" became %u sockets of %u dies of %u complexes of %u cores of %u "
                     "threads", rows[i].text, plan->apic.n_sockets, plan->apic.dies_per_socket,
                     plan->apic.complexes_per_die, plan->apic.cores_per_complex,
                     plan->apic.threads_per_core);
        if (strstr(notes.text, rows[i].note) == NULL ||
            (rows[i].note[0] == '\0' && notes.text[0] != '\0'))
            fail_msg("\"%s\" has the notes \"%s\"", rows[i].text, notes.text);
        topo_plan_free(plan);
    }
}

static void archived_trees_tell_latencies_too(void **state)
{
    char dir[] = "/tmp/nv-guest-XXXXXX";
    struct topo_notes notes;
    struct host_topo h;
    struct topo_plan *plan;
    bool links = false;

    (void)state;
    assert_non_null(mkdtemp(dir));
    archive_unpack(HOSTS "smt-offline-memory-only.sysfs", dir);
    archive_unpack(HOSTS "confined-hmat.sysfs", dir);
    assert_int_equal(host_topo_discover(dir, &h, NULL), 0);
    for (size_t i = 0; i < h.n_nodes; i++)
        links = links || h.nodes[i].has_hmat;
    assert_true(links);
    plan = guest_of(&h, &notes);
    assert_non_null(plan->links);
    archive_remove(dir);
    topo_plan_free(plan);
}

/* Two nodes with gaps in their numbers, one without anything, uneven threads, wild distances. */
static void what_a_guest_cannot_have_is_told(void **state)
{
    struct host_node nodes[3] = {
        { .id = { 1 }, .mem_bytes = 5 * MIB }, { .id = { 4 } }, { .id = { 8 }, .mem_bytes = 1 },
    };
    struct host_cpu cpus[4] = {
        { .id = { 0 }, .node = 0, .core = 0 },
        { .id = { 2 }, .node = 0, .core = 0, .thread = 1 },
        { .id = { 5 }, .node = 2, .core = 1, .package = 1, .die = 1 },
        { .id = { 7 }, .node = 2, .core = 2, .package = 1, .die = 1 },
    };
    uint32_t distances[9] = { 10, 20, 9, 20, 10, 20, 255, 20, 10 };
    const struct host_topo h = { .nodes = nodes, .n_nodes = 3, .cpus = cpus, .n_cpus = 4,
                                 .distances = distances, .has_distances = true };
    static const char *const sentences[] = {
        "Node 4 has neither CPUs nor memory and is left out.",
        "Node 8 is node 1 in the guest",
        "Memory is in whole pages of 2 MiB.",
        "CPUs are numbered anew",
        "Cores have 1 to 2 threads",
        "The distance 9 from node 1 to 8 is told as 11",
        "The distance 255 from node 8 to 1 is told as 254",
    };
    struct topo_notes notes = { 0 };
    struct guest_spec spec = { 0 };

    (void)state;
    idset_add(&nodes[0].cpus, 0);
    idset_add(&nodes[0].cpus, 2);
    idset_add(&nodes[2].cpus, 5);
    idset_add(&nodes[2].cpus, 7);
    assert_int_equal(guest_from_host(&h, &spec, &notes, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sentences); i++)
        if (strstr(notes.text, sentences[i]) == NULL)
            fail_msg("\"%s\" is not in \"%s\"", sentences[i], notes.text);
    assert_int_equal(spec.n_nodes, 2);
    assert_true(spec.nodes[0].memory_bytes == 4 * MIB);
    assert_true(spec.nodes[1].memory_bytes == 2 * MIB);
    assert_int_equal(spec.threads, 1);
    guest_spec_fini(&spec);
}

static void machines_too_large_are_refused(void **state)
{
    const struct host_topo wide = { .n_nodes = 129, .n_cpus = 1 }, long_one = { .n_nodes = 1,
                                                                               .n_cpus = 1025 };
    struct guest_spec spec = { .n_cpus = 5 };
    struct topo_notes notes = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(guest_from_host(&wide, &spec, &notes, &ec), -E2BIG);
    assert_string_equal(ec.msg, "129 nodes, a guest has at most 128");
    assert_int_equal(guest_from_host(&long_one, &spec, &notes, &ec), -E2BIG);
    assert_string_equal(ec.msg, "1025 CPUs, a guest has at most 1024");
    assert_int_equal(spec.n_cpus, 5);
}

static void notes_end_with_a_remark_when_they_are_too_many(void **state)
{
    struct topo_notes notes = { 0 };

    (void)state;
    for (int i = 0; i < 200; i++)
        topo_note(&notes, "Sentence %d about something that could not be kept.", i / 2);
    assert_non_null(strstr(notes.text, "Sentence 0 "));
    assert_string_equal(strstr(notes.text, "There are"), "There are more notes than fit here.\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_machines_are_kept),
        cmocka_unit_test(synthetic_machines_are_kept),
        cmocka_unit_test(archived_trees_tell_latencies_too),
        cmocka_unit_test(what_a_guest_cannot_have_is_told),
        cmocka_unit_test(machines_too_large_are_refused),
        cmocka_unit_test(notes_end_with_a_remark_when_they_are_too_many),
    };

    return cmocka_run_group_tests_name("topology/guest_from_host", tests, NULL, NULL);
}
