/* SPDX-License-Identifier: Apache-2.0 */
/* Plans that can be predicted by hand: shapes, APIC ids, caches, distances, placement, notes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vmm/base/macros.h"
#include "vmm/topology/test/plan_invariants.h"
#include "vmm/topology/test/spec_text.h"

#define HOSTS "vmm/topology/test/hosts/"

/* Two nodes with 8 CPUs and 8 GiB each, caches of a server; node 2 is memory only. */
static struct host_topo test_host(struct host_node nodes[3], struct host_cache caches[4])
{
    memset(nodes, 0, 3 * sizeof(*nodes));
    memset(caches, 0, 4 * sizeof(*caches));
    for (uint32_t i = 0; i < 3; i++) {
        nodes[i].id.v = i == 2 ? 7 : i; /* the kernel's numbers have gaps */
        nodes[i].mem_bytes = 8ull << 30;
        if (i < 2)
            idset_add_range(&nodes[i].cpus, i * 8, 8);
    }
    caches[0] = (struct host_cache){ 1, CACHE_DATA, 48 << 10, 64, 12, { 0 } };
    caches[1] = (struct host_cache){ 1, CACHE_INSTRUCTION, 32 << 10, 64, 8, { 0 } };
    caches[2] = (struct host_cache){ 2, CACHE_UNIFIED, 2 << 20, 64, 16, { 0 } };
    caches[3] = (struct host_cache){ 3, CACHE_UNIFIED, 30 << 20, 64, 20, { 0 } };
    return (struct host_topo){
        .source = "test", .nodes = nodes, .n_nodes = 3, .caches = caches, .n_caches = 4
    };
}

static int try_plan(const char *text, struct topo_plan **ret_plan, struct errctx *ec)
{
    struct host_node nodes[3];
    struct host_cache caches[4];
    struct host_topo host = test_host(nodes, caches);
    struct guest_spec spec;
    int r;

    spec_text_parse(text, &spec);
    r = topo_plan_make(&spec, &host, ret_plan, ec);
    if (r == 0)
        plan_check_invariants(&spec, &host, *ret_plan);
    guest_spec_fini(&spec);
    return r;
}

static struct topo_plan *plan_of(const char *text)
{
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };

    if (try_plan(text, &plan, &ec) < 0)
        fail_msg("%s: %s", text, ec.msg);
    return plan;
}

/* Per vCPU: node.socket.die.complex.core.thread=id */
static const char *places(const struct topo_plan *plan, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < plan->n_vcpus && len < size; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[i];

        len += (size_t)snprintf(buf + len, size - len, "%s%u.%u.%u.%u.%u.%u=%u", i > 0 ? " " : "",
                                v->vnode.v, v->socket, v->die, v->complex, v->core, v->thread,
                                v->apic_id);
    }
    return buf;
}

static void vcpus_get_their_places_and_ids(void **state)
{
    static const struct {
        const char *spec, *places;
    } row[] = {
        { "", "0.0.0.0.0.0=0" },
        { "vnuma=2", "0.0.0.0.0.0=0 1.1.0.0.0.0=1" },
        { "cpus=4 threads=2 vnuma=2", "0.0.0.0.0.0=0 0.0.0.0.0.1=1 1.1.0.0.0.0=2 1.1.0.0.0.1=3" },
        /* three cores need two bits */
        { "cpus=6 vnuma=2", "0.0.0.0.0.0=0 0.0.0.0.1.0=1 0.0.0.0.2.0=2 "
                            "1.1.0.0.0.0=4 1.1.0.0.1.0=5 1.1.0.0.2.0=6" },
        /* unequal nodes: widths of the greatest */
        { "node:cpus=0;memory=2M node:cpus=1-3;memory=2M",
          "0.0.0.0.0.0=0 1.1.0.0.0.0=4 1.1.0.0.1.0=5 1.1.0.0.2.0=6" },
        /* two nodes in each socket: a die for each */
        { "cpus=4 vnuma=4 sockets=2", "0.0.0.0.0.0=0 1.0.1.0.0.0=1 2.1.0.0.0.0=2 3.1.1.0.0.0=3" },
        /* two sockets in each node */
        { "cpus=4 vnuma=2 sockets=4", "0.0.0.0.0.0=0 0.1.0.0.0.0=1 1.2.0.0.0.0=2 1.3.0.0.0.0=3" },
        { "cpus=4 dies=2", "0.0.0.0.0.0=0 0.0.0.0.1.0=1 0.0.1.0.0.0=2 0.0.1.0.1.0=3" },
        /* --cores counts the cores of a die; nothing else said: one die in a socket */
        { "cpus=4 cores=2", "0.0.0.0.0.0=0 0.0.0.0.1.0=1 0.1.0.0.0.0=2 0.1.0.0.1.0=3" },
        { "threads=2 cores=1 dies=2 sockets=1",
          "0.0.0.0.0.0=0 0.0.0.0.0.1=1 0.0.1.0.0.0=2 0.0.1.0.0.1=3" },
        /* interleaved nodes: places follow the nodes, numbers stay */
        { "node:cpus=0,2;memory=2M node:cpus=1,3;memory=2M",
          "0.0.0.0.0.0=0 1.1.0.0.0.0=2 0.0.0.0.1.0=1 1.1.0.0.1.0=3" },
        /* vCPU 0 in the second node still has id 0 */
        { "node:cpus=1;memory=2M node:cpus=0;memory=2M", "1.0.0.0.0.0=0 0.1.0.0.0.0=1" },
        /* a last-level cache of two cores in a die of four */
        { "cpus=4 c:3;u;4M;0;0;2", "0.0.0.0.0.0=0 0.0.0.0.1.0=1 0.0.0.1.0.0=2 0.0.0.1.1.0=3" },
        /* of three cores in a die of six: the complex field keeps them apart */
        { "cpus=6 c:3;u;4M;0;0;3", "0.0.0.0.0.0=0 0.0.0.0.1.0=1 0.0.0.0.2.0=2 "
                                   "0.0.0.1.0.0=4 0.0.0.1.1.0=5 0.0.0.1.2.0=6" },
    };
    char buf[2048];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct topo_plan *plan = plan_of(row[i].spec);

        if (strcmp(places(plan, buf, sizeof(buf)), row[i].places) != 0)
            print_error("%s\n", row[i].spec);
        assert_string_equal(places(plan, buf, sizeof(buf)), row[i].places);
        topo_plan_free(plan);
    }
}

/* "L3 31457280 20w 24576s: 0-3 4-7" for every cache */
static const char *caches_of(const struct topo_plan *plan, uint32_t level, char *buf, size_t size)
{
    struct idset done = { 0 };
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];

        if (c->level != level || c->type == CACHE_INSTRUCTION)
            continue;
        len += (size_t)snprintf(buf + len, size - len, "%luK %uw %us:", c->size_bytes / 1024,
                                c->ways, c->sets);
        for (uint32_t v = 0; v < plan->n_vcpus; v++) {
            struct idset cpus;
            char list[64];

            if (idset_has(&done, v))
                continue;
            topo_plan_cache_cpus(plan, c, (struct vcpu_id){ v }, &cpus);
            idset_or(&done, &cpus);
            len += (size_t)snprintf(buf + len, size - len, " %s",
                                    idset_format(&cpus, list, sizeof(list)));
        }
    }
    return buf;
}

static void caches_are_cut_at_the_plans_borders(void **state)
{
    static const struct {
        const char *spec;
        uint32_t level;
        const char *caches;
    } row[] = {
        { "cpus=8 threads=2 vnuma=2", 1, "48K 12w 64s: 0-1 2-3 4-5 6-7" },
        { "cpus=8 threads=2 vnuma=2", 2, "2048K 16w 2048s: 0-1 2-3 4-5 6-7" },
        { "cpus=8 threads=2 vnuma=2", 3, "30720K 20w 24576s: 0-3 4-7" },
        { "cpus=8 dies=2", 3, "30720K 20w 24576s: 0-3 4-7" },
        { "cpus=8 sockets=2 vnuma=4", 3, "30720K 20w 24576s: 0-1 2-3 4-5 6-7" },
        { "cpus=6 vnuma=2", 3, "30720K 20w 24576s: 0-2 3-5" },
        /* the host's 20 ways do not divide 32 MiB */
        { "cpus=4 c:3;u;32M;0;0;0", 3, "32768K 16w 32768s: 0-3" },
        { "cpus=8 c:3;u;4M;0;8;2", 3, "4096K 8w 8192s: 0-1 2-3 4-5 6-7" },
        { "cpus=4 c:2;-;1M;128;4;2", 2, "1024K 4w 2048s: 0-1 2-3" },
        { "cpus=4 c:3;u;4M;0;0;1", 3, "4096K 16w 4096s: 0 1 2 3" },
        { "cpus=8 c:3;u;4M;0;0;2 c:4;u;64M;64;16;4", 4, "65536K 16w 65536s: 0-3 4-7" },
        { "cpus=8 c:4;u;64M;64;16;0", 4, "65536K 16w 65536s: 0-7" },
        /* only a description that says so lets an instance cross sockets and nodes */
        { "cpus=8 vnuma=2 c:3;u;64M;64;16;8;span", 3, "65536K 16w 65536s: 0-7" },
        { "cpus=8 vnuma=4 c:3;u;64M;64;16;4;span", 3, "65536K 16w 65536s: 0-3 4-7" },
        { "cpus=8 dies=2 sockets=2 c:3;u;64M;64;16;4;span", 3, "65536K 16w 65536s: 0-3 4-7" },
    };
    char buf[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct topo_plan *plan = plan_of(row[i].spec);

        assert_string_equal(caches_of(plan, row[i].level, buf, sizeof(buf)), row[i].caches);
        topo_plan_free(plan);
    }
}

static void a_completed_description_has_its_caches_on_every_host(void **state)
{
    static const char *const row[] = {
        "cpus=8 threads=2 vnuma=2",
        "cpus=4 c:3;u;32M;0;0;0", /* the host's 20 ways do not divide it: noted */
        "cpus=8 c:3;u;4M;0;8;2",
        "cpus=8 c:3;u;4M;0;0;2 c:4;u;64M;64;16;4",
        "cpus=8 vnuma=2 c:3;u;64M;64;16;8;span",
    };
    struct host_node nodes[3];
    struct host_cache caches[4];
    struct host_topo host = test_host(nodes, caches);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct host_cache other = { 4, CACHE_UNIFIED, 12 << 20, 64, 12, { 0 } };
        struct host_topo elsewhere = host;
        struct topo_plan *first, *again, *there;
        struct guest_spec spec;

        elsewhere.caches = &other; /* one that the first host has not, and none of its own */
        elsewhere.n_caches = 1;
        spec_text_parse(row[i], &spec);
        assert_int_equal(topo_plan_make(&spec, &host, &first, NULL), 0);
        topo_plan_describe_caches(first, &spec);
        assert_int_equal(spec.n_caches, first->n_caches);
        assert_int_equal(topo_plan_make(&spec, &host, &again, NULL), 0);
        assert_int_equal(topo_plan_make(&spec, &elsewhere, &there, NULL), 0);
        plan_check_invariants(&spec, &elsewhere, there);
        assert_memory_equal(again->caches, first->caches, sizeof(first->caches));
        assert_memory_equal(there->caches, first->caches, sizeof(first->caches));
        assert_string_equal(again->notes, first->notes);
        topo_plan_free(first);
        topo_plan_free(again);
        topo_plan_free(there);
        guest_spec_fini(&spec);
    }
}

static void a_host_without_caches_completes_nothing(void **state)
{
    struct guest_spec spec = { .n_cpus = 2 };
    struct host_node nodes[3];
    struct host_cache caches[4];
    struct host_topo host = test_host(nodes, caches);
    struct topo_plan *plan;
    struct errctx ec = { 0 };

    (void)state;
    host.n_caches = 0;
    assert_int_equal(topo_plan_make(&spec, &host, &plan, NULL), 0);
    topo_plan_describe_caches(plan, &spec);
    assert_int_equal(spec.n_caches, 0);
    assert_false(spec.no_host_caches);
    topo_plan_free(plan);

    spec.caches[spec.n_caches++] = (struct guest_cache_spec){ .level = 2, .ways = 8 };
    spec.no_host_caches = true;
    assert_int_equal(topo_plan_make(&spec, &host, &plan, &ec), -EINVAL);
    assert_string_equal(ec.msg, "L2 cache: say its size, since \"host_caches\": false takes none "
                                "from the host");
}

/* Where nobody knows what is free, no more than there is can be: 8 GiB a node. */
static void what_may_give_way_does_so_in_order(void **state)
{
    static const struct {
        const char *spec;
        struct guest_fallback fallback;
        int result;
        enum guest_policy policy; /* of the last node */
        uint32_t host;
        const char *says; /* a note, or the error */
    } row[] = {
        { "node:cpus=0;memory=9G;host=0", { 1, { GUEST_YIELD_POLICY } }, 0,
          GUEST_POLICY_PREFERRED, 0, "Node 0: 9 GiB in pages of any prefers host node 0 instead of "
                                     "keeping to it, which has too little.\n" },
        { "node:cpus=0;memory=9G;host=0", { 1, { GUEST_YIELD_HOST } }, -ENOSPC,
          GUEST_POLICY_NONE, 0, "--node 0: 9 GiB of pages of 4K are wanted at the start, host node "
                                "0 has 8 GiB free" },
        { "node:cpus=0;memory=6G;host=0 node:cpus=1;memory=4G;host=0",
          { 2, { GUEST_YIELD_HOST, GUEST_YIELD_POLICY } }, 0, GUEST_POLICY_BIND, 1,
          "Node 1: 4 GiB in pages of any is on host node 1, at distance 20, instead of 0, which has "
          "too little.\n" },
        { "node:cpus=0;memory=6G;host=0 node:cpus=1;memory=4G;host=0",
          { 2, { GUEST_YIELD_POLICY, GUEST_YIELD_HOST } }, 0, GUEST_POLICY_PREFERRED, 0,
          "Node 1: 4 GiB in pages of any prefers host node 0 instead of keeping to it, which has "
          "too little.\n" },
        { "node:cpus=0;memory=25G;host=0", { 2, { GUEST_YIELD_HOST, GUEST_YIELD_POLICY } },
          -ENOSPC, GUEST_POLICY_NONE, 0, "--node 0: 25 GiB of pages of 4K are wanted at the start, "
                                         "host node 0 has 8 GiB free" },
    };
    uint32_t distances[9] = { 10, 20, 30, 20, 10, 30, 30, 30, 10 };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct host_node nodes[3];
        struct host_cache caches[4];
        struct host_topo host = test_host(nodes, caches);
        struct topo_plan *plan = NULL;
        struct guest_spec spec;
        struct errctx ec = { 0 };
        int r;

        host.distances = distances;
        spec_text_parse(row[i].spec, &spec);
        spec.prealloc = true;
        spec.fallback = row[i].fallback;
        r = topo_plan_make(&spec, &host, &plan, &ec);
        guest_spec_fini(&spec);
        assert_int_equal(r, row[i].result);
        if (r < 0) {
            assert_string_equal(ec.msg, row[i].says);
            assert_null(plan);
            continue;
        }
        assert_non_null(strstr(plan->notes, row[i].says));
        assert_string_equal(plan->worse.text, row[i].says); /* and nothing else is */
        assert_int_equal(plan->backings[plan->n_backings - 1].policy, row[i].policy);
        assert_int_equal(idset_count(&plan->backings[plan->n_backings - 1].host_nodes), 1);
        assert_true(idset_has(&plan->backings[plan->n_backings - 1].host_nodes, row[i].host));
        topo_plan_free(plan);
    }
}

static void impossible_plans_are_refused_untouched(void **state)
{
    static const struct {
        const char *spec;
        int code;
        const char *sentence;
    } row[] = {
        { "vnuma=2 node:cpus=0", EINVAL,
          "--vnuma 2 and --node exclude each other: nodes are either all equal or all described" },
        { "node:cpus=0;memory=1G;host=3", ENOENT,
          "--node 0: host=3: this host has no such node (it has 0-1,7)" },
        { "node:cpus=0;memory=9G;host=0", ENOSPC,
          "--node 0: host=0 has 8 GiB, but 9 GiB is asked of it" },
        { "node:cpus=0;memory=5G;host=1 node:cpus=1;memory=4G;host=1", ENOSPC,
          "--node 0: host=1 has 8 GiB, but 9 GiB in several nodes are asked of it" },
        { "node:cpus=0;memory=5G;host=0 node:cpus=1;memory=8G;host=1 node:memory=4G;host=0-1",
          ENOSPC, "--node 2: host=0-1 has 16 GiB, but 17 GiB in several nodes are asked of it" },
        { "cpus=4 c:3;u;1000;0;0;0", EINVAL,
          "L3 cache (--l3): 1000 is not a multiple of its lines of 64 bytes" },
        { "cpus=4 c:3;u;0;0;7;0", EINVAL,
          "L3 cache (--l3): 30M does not divide into 7 ways of 64-byte lines" },
        { "cpus=4 c:4;u;0;64;0;0", EINVAL,
          "L4 cache: say its size, this host has none to take it from" },
        { "cpus=4 c:2;u;2M;0;0;4 c:3;u;4M;0;0;2", EINVAL,
          "L3 cache (--l3) would be shared by fewer CPUs than the level below it: give cores= for "
          "both" },
        { "node:cpus=0,299-598;memory=2M node:cpus=1-298;memory=2M", EINVAL,
          "CPU 299 would have APIC id 1, and guests cannot be told of a CPU above 255 with an id up "
          "to 254: give node 0, which has low CPUs too, neighbouring ones" },
        /* the instruction cache, which comes after it, is private */
        { "cpus=4 c:1;d;32K;0;0;2", EINVAL,
          "L2 cache would be shared by fewer CPUs than the level below it: give cores= for both" },
        { "cpus=4 c:2;u;2M;0;0;4 c:3;u;4M;0;0;1", EINVAL,
          "L3 cache (--l3) would be shared by fewer CPUs than the level below it: give cores= for "
          "both" },
        { "cpus=12 vnuma=3 c:3;u;64M;64;16;8;span", EINVAL,
          "L3 cache (--l3): cores=8 that span dies must be all cores of a socket, of a power of "
          "two "
          "of dies or sockets, or of the machine, each instance alike and below "
          "4096 APIC ids" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
        struct topo_plan *plan = (void *)0x1;
        struct errctx ec = { 0 };
        int r = try_plan(row[i].spec, &plan, &ec);

        if (r != -row[i].code || strcmp(ec.msg, row[i].sentence) != 0)
            print_error("%s: %d %s\n", row[i].spec, r, ec.msg);
        assert_int_equal(r, -row[i].code);
        assert_string_equal(ec.msg, row[i].sentence);
        assert_ptr_equal(plan, (void *)0x1);
    }
}

static void apic_ids_beyond_interrupts_reach_are_refused(void **state)
{
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };
    char text[8192];
    size_t len = 0;

    /* One node of 897 cores and 127 of one: 128 sockets of 10 bits. */
    len += (size_t)snprintf(text, sizeof(text), "node:cpus=0-896");
    for (unsigned i = 0; i < 127; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, " node:cpus=%u", 897 + i);
    (void)state;
    assert_int_equal(try_plan(text, &plan, &ec), -ERANGE);
    assert_string_equal(ec.msg,
                        "APIC ids would reach 130048, interrupts can address at most 32767: "
                        "128 sockets with up to 1 dies of up to 897 cores leave too many "
                        "gaps; make the nodes more equal or --sockets fewer");
    assert_null(plan);
}

static void partial_distances_are_completed(void **state)
{
    struct topo_plan *plan = plan_of("vnuma=3 d:0-1=16 d:1-2=30 d:2-1=40");
    static const uint32_t expected[] = { 10, 16, 20, 16, 10, 30, 20, 40, 10 };

    (void)state;
    assert_memory_equal(plan->distances, expected, sizeof(expected));
    assert_int_equal(plan->distances[2 * plan->n_nodes + 1], 40);
    assert_non_null(strstr(plan->notes,
                           "1 of 3 distances was given for one direction and holds for "
                           "both.\n"));
    assert_non_null(
        strstr(plan->notes, "2 of 6 distances between nodes were not given and are 20.\n"));
    assert_null(plan->links);
    topo_plan_free(plan);
}

static void nodes_share_cores_and_memory_first_ones_taking_the_rest(void **state)
{
    struct topo_plan *plan = plan_of("vnuma=3 cpus=10 threads=2 memory=16M");
    char list[32];

    (void)state;
    assert_string_equal(idset_format(&plan->nodes[0].cpus, list, sizeof(list)), "0-3");
    assert_string_equal(idset_format(&plan->nodes[1].cpus, list, sizeof(list)), "4-7");
    assert_string_equal(idset_format(&plan->nodes[2].cpus, list, sizeof(list)), "8-9");
    assert_int_equal(plan->nodes[0].ram_bytes, 6 << 20);
    assert_int_equal(plan->nodes[1].ram_bytes, 6 << 20);
    assert_int_equal(plan->nodes[2].ram_bytes, 4 << 20);
    assert_string_equal(plan->notes,
                        "10 CPUs do not divide by 3 nodes: the first nodes have 4, the last 2.\n"
                        "Memory does not divide by 3 nodes: the first nodes have 6M, the last 4M.\n"
                        "Dies are not all equal: they have 1 to 2 cores.\n");
    topo_plan_free(plan);
}

static void bound_nodes_pin_their_vcpus(void **state)
{
    struct topo_plan *plan = plan_of("node:cpus=0-1;memory=1G;host=1 node:cpus=2;memory=1G "
                                     "node:cpus=3;memory=1G;host=7 node:cpus=4;memory=1G;host=0-1");
    char list[32];

    (void)state;
    assert_string_equal(idset_format(&plan->vcpus[0].host_cpus, list, sizeof(list)), "8-15");
    assert_string_equal(idset_format(&plan->vcpus[1].host_cpus, list, sizeof(list)), "8-15");
    assert_true(idset_empty(&plan->vcpus[2].host_cpus));
    assert_true(idset_empty(&plan->vcpus[3].host_cpus));
    assert_string_equal(idset_format(&plan->vcpus[4].host_cpus, list, sizeof(list)), "0-15");
    assert_string_equal(idset_format(&plan->nodes[2].host_nodes, list, sizeof(list)), "7");
    assert_string_equal(plan->notes, "Dies are not all equal: they have 1 to 2 cores.\n"
                                     "Node 2 is bound to host nodes without usable CPUs: its vCPUs "
                                     "stay free.\n");
    topo_plan_free(plan);
}

static void more_vcpus_than_host_cpus_are_noted(void **state)
{
    struct topo_plan *plan = plan_of("node:cpus=0-8;memory=1G;host=0");

    (void)state;
    assert_string_equal(plan->notes, "Node 0 has 9 vCPUs on the 8 CPUs of its host nodes.\n");
    topo_plan_free(plan);
}

static void memory_beyond_the_host_is_noted(void **state)
{
    struct topo_plan *plan = plan_of("memory=64T");

    (void)state;
    assert_non_null(strstr(plan->notes, "The guest's 64 TiB are more than this host has, "));
    topo_plan_free(plan);
}

static void memory_attributes_reach_the_plan(void **state)
{
    struct topo_plan *plan =
        plan_of("node:cpus=0;memory=1G node:memory=2G;hotplug=4G;initiator=0;mc=512M;line=64 "
                "node:memory=2M l:0-1=180;20000000 l:0-0=90;0");

    (void)state;
    assert_true(plan->nodes[1].has_initiator);
    assert_int_equal(plan->nodes[1].initiator.v, 0);
    assert_true(plan->nodes[1].hotplug_bytes == 4ull << 30);
    assert_int_equal(plan->nodes[1].n_mem_caches, 1);
    assert_int_equal(plan->nodes[1].mem_cache[0].size_bytes, 512 << 20);
    assert_int_equal(plan->nodes[1].mem_cache[0].line_bytes, 64);
    assert_false(plan->nodes[2].has_initiator);
    assert_int_equal(plan->links[1].latency_ns, 180);
    assert_int_equal(plan->links[1].bandwidth_bytes_per_s, 19 << 20);
    assert_int_equal(plan->links[0].latency_ns, 90);
    assert_int_equal(plan->links[3].latency_ns, 0);
    assert_non_null(strstr(plan->notes, "Node 2 has less than 4 MiB, which Linux before 6.7 treats "
                                        "as no memory.\n"));
    topo_plan_free(plan);
}

static void notes_that_do_not_fit_say_so(void **state)
{
    struct topo_plan *plan = plan_of("vnuma=128 memory=256M");
    static const char more[] = "There is more to say than fits here.\n";

    (void)state;
    assert_true(strlen(plan->notes) < sizeof(plan->notes));
    assert_string_equal(plan->notes + strlen(plan->notes) - strlen(more), more);
    topo_plan_free(plan);
}

static void a_guest_as_wide_as_the_128_node_machine_is_planned(void **state)
{
    struct host_topo host = { 0 };
    struct guest_spec spec;
    struct topo_plan *plan = NULL;
    struct errctx ec = { 0 };

    (void)state;
    assert_int_equal(host_topo_from_xml(HOSTS "eight-socket-128-node.xml", &host, &ec), 0);
    spec_text_parse("threads=2 cores=4 sockets=8 cpus=1024", &spec);
    for (uint32_t i = 0; i < 128; i++) {
        struct guest_node_spec n = { .memory_bytes = 8ull << 30 };

        idset_add_range(&n.cpus, i * 8, 8);
        idset_add(&n.host_nodes, i);
        assert_int_equal(guest_spec_add_node(&spec, &n, &ec), 0);
        for (uint32_t k = 0; k < 128; k++) {
            struct guest_distance_spec d = { i, k, host_topo_distance(&host, i, k) };

            assert_int_equal(guest_spec_add_distance(&spec, &d, &ec), 0);
        }
    }
    assert_int_equal(topo_plan_make(&spec, &host, &plan, &ec), 0);
    plan_check_invariants(&spec, &host, plan);
    assert_int_equal(plan->apic.n_sockets, 8);
    assert_int_equal(plan->apic.dies_per_socket, 16);
    assert_int_equal(plan->max_apic_id, 1023);
    assert_int_equal(plan->n_caches, 3); /* L1 data, L2, L3: all this host has */
    assert_int_equal(idset_next(&plan->vcpus[1023].host_cpus, 0), 1016);
    assert_string_equal(plan->notes, "Each socket holds 16 nodes, one die or more for each.\n");
    topo_plan_free(plan);
    guest_spec_fini(&spec);
    host_topo_fini(&host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vcpus_get_their_places_and_ids),
        cmocka_unit_test(caches_are_cut_at_the_plans_borders),
        cmocka_unit_test(a_completed_description_has_its_caches_on_every_host),
        cmocka_unit_test(a_host_without_caches_completes_nothing),
        cmocka_unit_test(what_may_give_way_does_so_in_order),
        cmocka_unit_test(impossible_plans_are_refused_untouched),
        cmocka_unit_test(apic_ids_beyond_interrupts_reach_are_refused),
        cmocka_unit_test(partial_distances_are_completed),
        cmocka_unit_test(nodes_share_cores_and_memory_first_ones_taking_the_rest),
        cmocka_unit_test(bound_nodes_pin_their_vcpus),
        cmocka_unit_test(more_vcpus_than_host_cpus_are_noted),
        cmocka_unit_test(memory_beyond_the_host_is_noted),
        cmocka_unit_test(memory_attributes_reach_the_plan),
        cmocka_unit_test(notes_that_do_not_fit_say_so),
        cmocka_unit_test(a_guest_as_wide_as_the_128_node_machine_is_planned),
    };
    return cmocka_run_group_tests_name("topology/topo_plan", tests, NULL, NULL);
}
