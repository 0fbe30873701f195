/* SPDX-License-Identifier: Apache-2.0 */
/* Placements that can be predicted by hand: promises, width, limits, levels of pinning; and the
 * host of 128 nodes and 1,024 CPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "vcpu/policy/test/place_recheck.h"
#include "vmm/topology/host_measured.h"

#define BIG_HOST "vmm/topology/test/hosts/eight-socket-128-node.xml"

enum { VNODES = 16 };

/* One guest of equal nodes on a host from hwloc's synthetic form. */
struct fixture {
    struct host_topo topo;
    struct place_host *host;
    struct place_vnode vnodes[VNODES];
    uint32_t told[VNODES * VNODES];
    struct place_guest guest;
    struct place_problem problem;
    struct place_result result;
    struct errctx ec;
};

static void begin(struct fixture *f, const char *synthetic, uint32_t n, uint32_t vcpus,
                  uint64_t mem_bytes)
{
    memset(f, 0, sizeof(*f));
    if (strchr(synthetic, '/') != NULL)
        assert_int_equal(host_topo_from_xml(synthetic, &f->topo, NULL), 0);
    else
        assert_int_equal(host_topo_from_synthetic(synthetic, &f->topo, NULL), 0);
    assert_int_equal(place_host_new(&f->topo, &f->host, NULL), 0);
    for (uint32_t i = 0; i < n; i++)
        f->vnodes[i] = (struct place_vnode){ .n_vcpus = vcpus,
                                             .demand_milli = vcpus * 1000,
                                             .mem_bytes = mem_bytes,
                                             .current = PLACE_ANYWHERE };
    for (uint32_t i = 0; i < n * n; i++)
        f->told[i] = i / n == i % n ? 10 : 254;
    f->guest = (struct place_guest){ .n = n, .distances = f->told };
    f->problem = (struct place_problem){
        .host = f->host, .vnodes = f->vnodes, .n_vnodes = n, .guests = &f->guest, .n_guests = 1
    };
}

static int solve(struct fixture *f)
{
    place_result_fini(&f->result);
    return place_solve(&f->problem, &f->result, &f->ec);
}

static void end(struct fixture *f)
{
    place_result_fini(&f->result);
    place_host_free(f->host);
    host_topo_fini(&f->topo);
}

static const char *places(const struct fixture *f, char *buf, size_t size)
{
    size_t len = 0;

    for (uint32_t i = 0; i < f->result.n_vnodes; i++) {
        struct idset nodes;
        char list[64];

        place_result_nodes(&f->result, f->host, i, &nodes);
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? " " : "",
                                idset_format(&nodes, list, sizeof(list)));
    }
    return buf;
}

#define assert_places(f, text)                                                                     \
    do {                                                                                           \
        char buf_[256];                                                                            \
        assert_string_equal(places((f), buf_, sizeof(buf_)), (text));                              \
    } while (0)

static void nodes_of_a_guest_are_neighbours(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, BIG_HOST, 4, 8, 4ull << 30);
    assert_int_equal(solve(&f), 0);
    assert_true(f.result.kept);
    for (uint32_t i = 0; i < 4; i++) { /* four nodes at distance 12 make up one group there */
        assert_int_equal(f.result.node[i] / 4, f.result.node[0] / 4);
        for (uint32_t k = 0; k < i; k++)
            assert_int_not_equal(f.result.node[i], f.result.node[k]);
    }
    end(&f);
}

/* A guest of two groups that were told to be far from each other: the first node of the second group
 * may not stand where the others of its group have no room. Another guest is there besides. */
static void groups_of_a_guest_have_room_for_all_their_nodes(void **state)
{
    static const uint8_t cpus[] = { 8, 6, 8, 8, 8, 4, 8, 8, 8 };
    static const uint8_t gib[] = { 5, 1, 2, 2, 7, 7, 8, 7, 2 };
    enum { SMALL = 3, GROUP = 3, N = SMALL + 2 * GROUP };
    struct place_guest guests[2];
    uint32_t told[SMALL * SMALL];
    struct idset half;
    struct fixture f;

    (void)state;
    begin(&f, BIG_HOST, 2 * GROUP, 1, 1ull << 30);
    for (uint32_t i = 0; i < 2 * GROUP; i++)
        for (uint32_t k = 0; k < 2 * GROUP; k++)
            f.told[i * 2 * GROUP + k] = i == k ? 10 : i / GROUP == k / GROUP ? 20 : 40;
    assert_int_equal(idset_parse("0-7,16-23", &half, NULL), 0); /* of two sockets */
    for (uint32_t i = 0; i < SMALL * SMALL; i++)
        told[i] = i / SMALL == i % SMALL ? 10 : 40;
    for (uint32_t i = 0; i < N; i++)
        f.vnodes[i] = (struct place_vnode){ .n_vcpus = cpus[i],
                                            .demand_milli = cpus[i] * 1000u,
                                            .mem_bytes = (uint64_t)gib[i] << 30,
                                            .llc_vcpus = cpus[i],
                                            .only = &half,
                                            .current = PLACE_ANYWHERE };
    guests[0] = (struct place_guest){ .n = SMALL, .distances = told };
    guests[1] = (struct place_guest){ .first = SMALL, .n = 2 * GROUP, .distances = f.told };
    f.problem.guests = guests;
    f.problem.n_guests = 2;
    f.problem.n_vnodes = N;
    f.problem.budget = 1; /* the search tree may not make up for it */
    assert_int_equal(solve(&f), 0);
    assert_true(f.result.kept);
    assert_int_equal(f.result.terms.overload, 0);
    for (uint32_t i = SMALL; i < N; i++) /* one socket holds them */
        assert_int_equal(f.result.node[i] / 16, f.result.node[SMALL] / 16);
    end(&f);
}

static void a_promise_outweighs_everything_else(void **state)
{
    struct place_use used[128] = { { 0 } };
    struct fixture f;

    (void)state;
    /* Only node 0 of each socket is empty; 16 was promised, which holds within a socket. */
    begin(&f, BIG_HOST, 2, 8, 1ull << 30);
    for (uint32_t h = 0; h < 128; h++)
        used[h].cpu_milli = h % 16 == 0 ? 0 : 4000;
    f.problem.used = used;
    assert_int_equal(solve(&f), 0);
    assert_true(place_distance(f.host, (uint32_t)f.result.node[0], (uint32_t)f.result.node[1]) >
                1600);
    assert_int_equal(f.result.terms.overload, 0);
    f.told[1] = f.told[2] = 16;
    assert_int_equal(solve(&f), 0);
    assert_true(f.result.kept && f.result.terms.overload > 0);
    assert_true(place_distance(f.host, (uint32_t)f.result.node[0], (uint32_t)f.result.node[1]) <=
                1600);
    end(&f);
}

static void rebuild_host(struct fixture *f)
{
    place_host_free(f->host);
    assert_int_equal(place_host_new(&f->topo, &f->host, NULL), 0);
    f->problem.host = f->host;
}

static void measured_distances_count_more_than_the_firmwares(void **state)
{
    struct host_sample samples[16];
    struct fixture f;

    (void)state;
    begin(&f, "numa:4(memory=4GB) l3:1 core:2 pu:1", 2, 2, 1ull << 30);
    assert_false(place_host_measured(f.host));
    /* Only nodes 0 and 3 are near each other; a few per cent of noise are none. */
    for (uint32_t i = 0; i < 16; i++)
        samples[i] = (struct host_sample){ .from = { i / 4 },
                                           .to = { i % 4 },
                                           .latency_ps = (i / 4 == i % 4 ? 80000
                                                          : i / 4 + i % 4 == 3 && i % 4 % 3 == 0
                                                              ? 104000
                                                              : 160000) + 311 * (i % 3) };
    assert_int_equal(host_measured_apply(&f.topo, samples, 16, 0, NULL), 0);
    rebuild_host(&f);
    assert_true(place_host_measured(f.host));
    assert_int_equal(place_distance(f.host, 0, 3), 1300);
    assert_int_equal(place_distance(f.host, 1, 2), 2000);
    assert_int_equal(place_distance(f.host, 2, 2), 1000);
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.node[0] + f.result.node[1], 3);
    assert_int_equal(f.result.node[0] * f.result.node[1], 0);
    end(&f);
}

static void cpus_slowed_down_by_heat_hold_less(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, "numa:2(memory=4GB) l3:1 core:4 pu:1", 1, 3, 1ull << 30);
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.node[0], 0);
    for (size_t i = 0; i < f.topo.n_cpus; i++)
        f.topo.cpus[i].capacity = f.topo.cpus[i].node == 0 ? 600 : 1024;
    rebuild_host(&f);
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.node[0], 1);
    end(&f);
}

/* A node of two cores with two threads each, and one of four cores: four vCPUs are crowded on the
 * one, and both hold them. */
static void threads_of_a_core_are_no_cores(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, "numa:2(memory=4GB) l3:1 core:4 pu:1", 1, 4, 64ull << 20);
    for (size_t i = 0; i < f.topo.n_cpus; i++)
        if (f.topo.cpus[i].node == 0)
            f.topo.cpus[i].core /= 2;
    rebuild_host(&f);
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.node[0], 1);
    assert_int_equal(f.result.terms.overload, 0);
    end(&f);
}

static void a_promise_that_cannot_be_kept_is_told(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, "pack:1 numa:2(memory=4GB) l3:1 core:4 pu:1", 2, 4, 3ull << 30);
    f.told[1] = f.told[2] = 15; /* the two nodes are 20 apart and each holds one */
    assert_int_equal(solve(&f), 0);
    assert_false(f.result.kept);
    assert_true(f.result.proved && f.result.terms.broken > 0);
    end(&f);
}

static void what_no_node_holds_is_spread_over_neighbours(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, BIG_HOST, 1, 24, 1ull << 30);
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.node[0], PLACE_SPREAD);
    assert_places(&f, "0-2");
    f.vnodes[0].n_vcpus = 8;
    f.vnodes[0].mem_bytes = 40ull << 30; /* a node has 16 GiB */
    assert_int_equal(solve(&f), 0);
    assert_places(&f, "0-2");
    end(&f);

    /* Where there is one node, more vCPUs than CPUs are overload. */
    begin(&f, "pack:1 numa:1(memory=4GB) l3:1 core:2 pu:1", 1, 6, 1ull << 30);
    assert_int_equal(solve(&f), 0);
    assert_places(&f, "0");
    assert_true(f.result.terms.overload > 0);
    end(&f);
}

static void what_the_user_decided_stays(void **state)
{
    struct idset both = { 0 }, last = { 0 };
    struct fixture f;

    (void)state;
    begin(&f, "pack:1 numa:4(memory=4GB) l3:1 core:4 pu:1", 3, 2, 1ull << 30);
    idset_add_range(&both, 1, 2);
    idset_add(&last, 3);
    f.vnodes[0].spread = &both;
    f.vnodes[1].only = &last;
    assert_int_equal(solve(&f), 0);
    assert_int_equal(f.result.n_spread, 1);
    {
        struct idset nodes;

        place_result_nodes(&f.result, f.host, 0, &nodes);
        assert_true(idset_equal(&nodes, &both));
        assert_int_equal(f.result.node[1], 3);
    }
    idset_add(&both, 9);
    assert_int_equal(solve(&f), -ENOENT);
    assert_string_equal(f.ec.msg, "placement: this host has no node 9");
    end(&f);
}

static void a_node_stays_where_it_is_unless_moving_pays(void **state)
{
    struct place_use used[2] = { { 0 }, { .cpu_milli = 1000 } };
    struct fixture f;

    (void)state;
    begin(&f, "pack:1 numa:2(memory=64GB) l3:1 core:8 pu:1", 1, 4, 32ull << 30);
    f.problem.used = used;
    assert_int_equal(solve(&f), 0);
    assert_places(&f, "0"); /* the emptier one */
    f.vnodes[0].current = 1;
    assert_int_equal(solve(&f), 0);
    assert_places(&f, "1"); /* not worth 32 GiB */
    used[1].cpu_milli = 8000;
    assert_int_equal(solve(&f), 0);
    assert_places(&f, "0");
    assert_true(f.result.terms.moving > 0);
    end(&f);
}

static void limits_are_named(void **state)
{
    struct fixture f;
    struct place_result untouched = { .n_vnodes = 77 };

    (void)state;
    begin(&f, "pack:1 numa:2(memory=4GB) l3:1 core:4 pu:1", 3, 1, 3ull << 30);
    assert_int_equal(place_solve(&f.problem, &untouched, &f.ec), -ENOSPC);
    assert_non_null(strstr(f.ec.msg, "no host node that it may be on has 3072 MiB left"));
    assert_int_equal(untouched.n_vnodes, 77);
    f.vnodes[0].mem_bytes = 9ull << 30;
    assert_int_equal(solve(&f), -ENOSPC);
    assert_string_equal(f.ec.msg, "node 0: its 9216 MiB are not free on this host");
    f.guest.n = 2;
    assert_int_equal(solve(&f), -EINVAL);
    end(&f);
}

/* "0 1 2 3": the CPUs of each vCPU. */
static const char *cpus_of(struct fixture *f, enum guest_pin pin, uint32_t per_node,
                           uint32_t threads, uint32_t per_llc, char *buf, size_t size)
{
    static struct idset set[64];
    struct place_vcpu v[64];
    struct idset taken = { 0 };
    char notes[512];
    size_t n = f->result.n_vnodes * per_node, len = 0;

    for (uint32_t i = 0; i < n; i++)
        v[i] = (struct place_vcpu){ i / per_node, i / threads, i / per_llc, &set[i] };
    if (place_vcpus(f->host, &f->result, v, n, pin, &taken, notes, sizeof(notes), &f->ec) < 0)
        return f->ec.msg;
    for (size_t i = 0; i < n; i++) {
        char list[64];

        len += (size_t)snprintf(buf + len, size - len, "%s%s", i > 0 ? " " : "",
                                idset_format(&set[i], list, sizeof(list)));
    }
    (void)snprintf(buf + len, size - len, "%s%s", notes[0] != '\0' ? " " : "", notes);
    return buf;
}

static void vcpus_are_pinned_by_level(void **state)
{
    static const struct {
        const char *host;
        uint32_t nodes, per_node, threads, per_llc;
        enum guest_pin pin;
        const char *cpus;
    } row[] = {
        { "pack:1 numa:2(memory=4GB) l3:1 core:2 pu:1", 2, 2, 1, 2, GUEST_PIN_NODE,
          "0-1 0-1 2-3 2-3" },
        { "pack:1 numa:2(memory=4GB) l3:1 core:2 pu:1", 2, 2, 1, 2, GUEST_PIN_SOCKET,
          "0-3 0-3 0-3 0-3" },
        { "pack:1 numa:1(memory=4GB) l3:2 core:2 pu:1", 1, 4, 1, 2, GUEST_PIN_LLC,
          "0-1 0-1 2-3 2-3" },
        /* a virtual cache wider than any physical one */
        { "pack:1 numa:1(memory=4GB) l3:2 core:2 pu:1", 1, 4, 1, 4, GUEST_PIN_LLC,
          "0-3 0-3 0-3 0-3 Node 0: no cache of its host nodes serves 4 CPUs, as a virtual one "
          "does; they are pinned to the whole node.\n" },
        /* siblings on siblings */
        { "pack:1 numa:1(memory=4GB) l3:1 core:2 pu:2", 1, 4, 2, 4, GUEST_PIN_DEDICATED,
          "0 1 2 3" },
        /* single threads on cores of their own first */
        { "pack:1 numa:1(memory=4GB) l3:1 core:2 pu:2", 1, 3, 1, 3, GUEST_PIN_DEDICATED, "0 2 1" },
        /* virtual caches in physical ones */
        { "pack:1 numa:1(memory=4GB) l3:2 core:3 pu:1", 1, 4, 1, 2, GUEST_PIN_DEDICATED,
          "0 1 3 4" },
        { "pack:1 numa:2(memory=4GB) l3:1 core:2 pu:1", 2, 2, 1, 2, GUEST_PIN_DEDICATED,
          "0 1 2 3" },
        { "pack:1 numa:1(memory=4GB) l3:1 core:2 pu:1", 1, 3, 1, 3, GUEST_PIN_DEDICATED,
          "node 0: 3 CPUs of their own are wanted, its host nodes have 2 left" },
        { "pack:1 numa:1(memory=4GB) l3:1 core:4 pu:1", 1, 2, 2, 2, GUEST_PIN_DEDICATED,
          "0 1 Node 0: no core of its host nodes has 2 free threads for the siblings of a virtual "
          "core.\n" },
    };
    char buf[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct fixture f;

        begin(&f, row[i].host, row[i].nodes, row[i].per_node, 1ull << 30);
        assert_int_equal(solve(&f), 0);
        assert_string_equal(cpus_of(&f, row[i].pin, row[i].per_node, row[i].threads, row[i].per_llc,
                                    buf, sizeof(buf)),
                            row[i].cpus);
        end(&f);
    }
}

/* Random guests on the big host: limits kept, costs add up, siblings on siblings. */
static void the_big_host_holds_random_guests(void **state)
{
    struct recheck_dice d = { 2026 };
    struct place_use used[128];
    struct fixture f;

    (void)state;
    for (int round = 0; round < 60; round++) {
        uint32_t n = 1 + recheck_roll(&d, VNODES), vcpus = 2 * (1 + recheck_roll(&d, 3));
        struct idset set[VNODES * 8], taken = { 0 };
        struct place_vcpu v[VNODES * 8];
        char notes[256];

        begin(&f, BIG_HOST, n, vcpus, (1ull + recheck_roll(&d, 8)) << 30);
        assert_int_equal(f.topo.n_cpus, 1024);
        for (uint32_t h = 0; h < 128; h++)
            used[h] = (struct place_use){ recheck_roll(&d, 5) * 1000, 1ull << 30 };
        f.problem.used = used;
        f.problem.own_cpus = true;
        for (uint32_t i = 0; i < n * n; i++)
            f.told[i] = i / n == i % n ? 10 : i / n / 4 == i % n / 4 ? 20 : 40;
        assert_int_equal(solve(&f), 0);
        assert_true(recheck_limits(&f.topo, &f.problem, f.result.node));
        assert_int_equal(f.result.kept, recheck_bounds(&f.topo, &f.problem, f.result.node) &&
                                            recheck_order(&f.topo, &f.problem, f.result.node));
        assert_true(f.result.bound <= place_terms_total(&f.result.terms));
        for (uint32_t i = 0; i < n * vcpus; i++)
            v[i] = (struct place_vcpu){ i / vcpus, i / 2, i / vcpus, &set[i] };
        assert_int_equal(place_vcpus(f.host, &f.result, v, n * vcpus, GUEST_PIN_DEDICATED, &taken,
                                     notes, sizeof(notes), &f.ec),
                         0);
        assert_int_equal(idset_count(&taken), n * vcpus); /* each has one of its own */
        assert_string_equal(notes, "");
        for (uint32_t i = 0; i < n * vcpus; i += 2) {
            const struct host_cpu *a = &f.topo.cpus[idset_next(&set[i], 0)];
            const struct host_cpu *b = &f.topo.cpus[idset_next(&set[i + 1], 0)];

            assert_int_equal(a->core, b->core);
            assert_int_equal(a->node, f.result.node[i / vcpus]);
        }
        end(&f);
    }
}

static void a_plan_made_elsewhere_is_judged_alike(void **state)
{
    struct fixture f;
    struct place_result other;
    int node[3];

    (void)state;
    begin(&f, "pack:1 numa:4(memory=4GB) l3:1 core:4 pu:1", 3, 4, 1ull << 30);
    assert_int_equal(solve(&f), 0);
    memcpy(node, f.result.node, sizeof(node));
    other = (struct place_result){ .node = node, .n_vnodes = 3 };
    assert_int_equal(place_evaluate(&f.problem, &other, NULL), 0);
    assert_memory_equal(&other.terms, &f.result.terms, sizeof(other.terms));
    node[1] = node[0]; /* eight vCPUs on four CPUs */
    assert_int_equal(place_evaluate(&f.problem, &other, NULL), 0);
    assert_true(place_terms_total(&other.terms) > place_terms_total(&f.result.terms));
    node[1] = 4;
    assert_int_equal(place_evaluate(&f.problem, &other, NULL), -ENOENT);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_of_a_guest_are_neighbours),
        cmocka_unit_test(groups_of_a_guest_have_room_for_all_their_nodes),
        cmocka_unit_test(a_promise_outweighs_everything_else),
        cmocka_unit_test(measured_distances_count_more_than_the_firmwares),
        cmocka_unit_test(cpus_slowed_down_by_heat_hold_less),
        cmocka_unit_test(threads_of_a_core_are_no_cores),
        cmocka_unit_test(a_promise_that_cannot_be_kept_is_told),
        cmocka_unit_test(what_no_node_holds_is_spread_over_neighbours),
        cmocka_unit_test(what_the_user_decided_stays),
        cmocka_unit_test(a_node_stays_where_it_is_unless_moving_pays),
        cmocka_unit_test(limits_are_named),
        cmocka_unit_test(vcpus_are_pinned_by_level),
        cmocka_unit_test(the_big_host_holds_random_guests),
        cmocka_unit_test(a_plan_made_elsewhere_is_judged_alike),
    };
    return cmocka_run_group_tests_name("vcpu/policy/place", tests, NULL, NULL);
}
