/* SPDX-License-Identifier: Apache-2.0 */
/* Every contradiction has its sentence; what is not a contradiction passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "vmm/base/macros.h"
#include "vmm/topology/test/spec_text.h"

static const struct {
    const char *spec;
    int code;
    const char *sentence;
} refused[] = {
    /* limits */
    { "cpus=1025", ERANGE, "--cpus 1025 is above the limit of 1024" },
    { "vnuma=129", ERANGE, "--vnuma 129 is above the limit of 128" },
    { "threads=4096", ERANGE, "--threads 4096 is above the limit of 1024" },
    { "memory=8192T", ERANGE, "--memory 8P is above the limit of 4P" },
    { "memory=3M", EINVAL, "--memory 3M is not a multiple of 2M" },
    { "threads=4 cores=32 sockets=16", ERANGE,
      "--threads, --cores, --dies and --sockets make 2048 CPUs, a guest has at most 1024" },

    /* nodes */
    { "vnuma=2 node:cpus=0;memory=1G", EINVAL,
      "--vnuma 2 and --node exclude each other: nodes are either all equal or all described" },
    { "vnuma=4 cpus=6 threads=2", EINVAL,
      "--vnuma 4 needs a core for each node, and 6 CPUs with 2 threads a core are not enough" },
    { "vnuma=4 memory=6M cpus=4", EINVAL,
      "--memory 6M is too little to give each of 4 nodes a page of 2 MiB" },
    { "cpus=1 node:memory=1G node:memory=1G", EINVAL,
      "no --node names cpus=, and 1 core is too few to give each of 2 nodes one" },
    { "node:cpus=0-3 node:cpus=3-5", EINVAL, "--node 1: cpus= names CPU 3, which is in node 0" },
    { "node:cpus=0-1024", ERANGE, "--node 0: cpus= names CPU 1024, the highest is 1023" },
    { "node:cpus=0-1 node:cpus=3", EINVAL,
      "CPU 2 is in no --node (a CPU with a higher number is)" },
    { "cpus=4 node:cpus=0-1 node:cpus=2", EINVAL, "CPU 3 is in no --node (--cpus counts it)" },
    { "cpus=2 node:cpus=0-1 node:cpus=2", EINVAL, "the nodes name 3 CPUs, but --cpus says 2" },
    { "memory=3G node:cpus=0;memory=1G node:cpus=1;memory=1G", EINVAL,
      "the nodes' memory= sums to 2G, but --memory says 3G" },
    { "node:cpus=0;memory=1M", EINVAL, "--node 0: memory=1M is not a multiple of 2M" },
    { "node:cpus=0;hotplug=1G", EINVAL,
      "--node 0: hotplug=1G is not a multiple of 2G, the unit in which Linux adds "
      "memory" },
    { "node:cpus=0;memory=8192T", ERANGE,
      "--node 0: memory= and hotplug= are at most 4 PiB, as much as any processor addresses" },
    { "node:cpus=0;memory=1G node:gi=1;host=0", EINVAL,
      "--node 1: host= has no effect on a node without CPUs and memory" },
    { "node:cpus=0;memory=1G node:host=0", EINVAL,
      "--node 1 has no CPUs, no memory, no hotplug window and no generic initiator" },
    { "threads=2 node:cpus=0-2 node:cpus=3", EINVAL,
      "--node 0 has 3 CPUs, which is not a multiple of --threads 2, and a core cannot be in two "
      "nodes" },
    { "node:cpus=0;memory=1G node:memory=1G;initiator=5", EINVAL,
      "--node 1: initiator=5: there is no such node" },
    { "node:cpus=0;memory=1G node:memory=1G;initiator=1", EINVAL,
      "--node 1: initiator=1: node 1 has no CPUs and no generic initiator" },
    { "node:cpus=0;memory=1G;initiator=1 node:cpus=1;memory=1G", EINVAL,
      "--node 0: initiator=1: the node has CPUs, so it is its own initiator" },
    { "node:cpus=0;initiator=0 node:cpus=1;memory=1G", EINVAL,
      "--node 0: initiator=0 has no effect on a node without memory" },
    { "node:cpus=0;mc=1G node:cpus=1;memory=1G", EINVAL,
      "--node 0 describes a memory-side cache but has no memory" },
    { "node:cpus=0;memory=1G;mc=0", EINVAL, "--node 0: memory-side cache 1 has no size" },
    { "node:cpus=0;memory=1G;mc=1G;line=65536", ERANGE,
      "--node 0: memory-side cache 1 has lines of 65536 bytes, HMAT holds at most 65535" },
    { "node:cpus=0;memory=1G;mc=1G;line=33", EINVAL,
      "--node 0: memory-side cache 1 has lines of 33 bytes, which is no power of two" },
    { "node:cpus=0;memory=1G;mc=1025M", EINVAL,
      "--node 0: memory-side cache 1 is larger than the node's memory" },

    /* distances and links */
    { "vnuma=2 d:0-2=20", EINVAL, "--distance 0-2=20: there is no node 2" },
    { "d:0-1=20", EINVAL, "--distance 0-1=20: there is no node 1" },
    { "vnuma=2 d:1-1=11", EINVAL, "--distance 1-1=11: the distance of a node to itself is 10" },
    { "vnuma=2 d:0-1=10", EINVAL,
      "--distance 0-1=10: Linux drops the whole table when a distance between two nodes is 10 or "
      "less" },
    { "vnuma=2 d:0-1=255", ERANGE,
      "--distance 0-1=255: the greatest distance is 254 (255 means unreachable)" },
    { "vnuma=2 d:0-1=20 d:1-0=30 d:0-1=20", EINVAL, "--distance 0-1 is given twice" },
    { "vnuma=2 l:0-2=90;0", EINVAL, "--link from=0,to=2: there is no node 2" },
    { "vnuma=2 l:0-1=90;0 l:0-1=0;5", EINVAL, "--link from=0,to=1 is given twice" },
    { "vnuma=2 l:0-1=0;0", EINVAL, "--link from=0,to=1 says neither latency= nor bandwidth=" },
    { "vnuma=2 l:0-1=4294968;0", ERANGE,
      "--link from=0,to=1: Linux drops latencies above 4294967 ns" },
    { "vnuma=2 l:0-1=0;1048575", ERANGE,
      "--link from=0,to=1: the guest can be told of no bandwidth below 1M/s" },
    { "vnuma=2 l:1-0=0;4503599626321920", ERANGE,
      "--link from=1,to=0: Linux drops bandwidths of 4P/s and above" },
    { "vnuma=2 l:0-0=1;0 l:0-1=65535;0", ERANGE,
      "--link: latencies from 1 to 65535 ns: the greatest can be 65534 times the least" },
    { "vnuma=2 l:0-0=0;1048576 l:0-1=0;68718428160", ERANGE,
      "--link: bandwidths from 1 to 65535 MiB/s: the greatest can be 65534 times the least" },
    { "node:cpus=0;memory=1G node:memory=1G l:1-0=90;0", EINVAL,
      "--link from=1,to=0: node 1 has no CPUs and no generic initiator that could reach memory" },
    { "node:cpus=0;memory=1G node:cpus=1 l:0-1=90;0", EINVAL,
      "--link from=0,to=1: node 1 has no memory that could be reached" },

    /* sockets, dies, cores, threads */
    { "cpus=3 threads=2", EINVAL, "--cpus 3 is not a multiple of --threads 2" },
    { "cpus=6 cores=4", EINVAL, "6 CPUs are not a multiple of --cores 4 with 1 thread each" },
    { "cpus=1 cores=4 threads=1", EINVAL, "1 CPU is not a multiple of --cores 4 with 1 thread each" },
    { "cpus=16 threads=2 cores=2 dies=2 sockets=4", EINVAL,
      "threads, cores, dies and sockets (2 x 2 x 2 x 4) make 32 CPUs, but there are 16" },
    { "cpus=16 cores=4 sockets=2", EINVAL,
      "threads, cores, dies and sockets (1 x 4 x 1 x 2) make 8 CPUs, but there are 16" },
    { "cpus=12 cores=4 dies=2", EINVAL,
      "12 CPUs with --cores 4 and 1 thread each make 3 dies, which --dies 2 does not divide" },
    { "cpus=12 vnuma=2 cores=4", EINVAL,
      "node 0 has 6 cores, which --cores 4 does not divide, and a die cannot be in two nodes" },
    { "cpus=8 vnuma=4 sockets=2 dies=1", EINVAL,
      "--dies 1 with --sockets 2: socket 0 holds 2 nodes, and a die cannot be in two nodes" },
    { "cpus=2 vnuma=2 dies=2", EINVAL,
      "--dies 2 needs a core for each die, but node 0 has 1 core for 2 dies" },
    { "cpus=2 sockets=4", EINVAL,
      "--sockets 4 with --dies 1 needs a core for each die, but node 0 has 2 cores for 4 dies" },
    { "node:cpus=0-3 node:cpus=4-7 node:cpus=8-15 node:cpus=16-23 cores=4 sockets=2", EINVAL,
      "--cores and --dies make a socket of parts of nodes 1 and 2: a socket is several whole nodes "
      "or a part of one" },

    /* CPU caches */
    { "c:5;u;1M;0;0;0", ERANGE, "cache level 5: levels are 1 to 4" },
    { "c:1;-;32K;0;0;0", EINVAL, "L1 cache: say whether it is the data or the instruction cache" },
    { "c:1;u;32K;0;0;0", EINVAL, "L1 cache: level 1 is split into data and instruction" },
    { "c:3;i;32K;0;0;0", EINVAL,
      "L3 instruction cache: only level 1 is split into data and instruction" },
    { "c:3;u;0;0;0;0", EINVAL, "L3 cache (--l3) is named but nothing is said about it" },
    { "c:3;u;8M;0;0;0 c:3;-;4M;0;0;0", EINVAL, "L3 cache (--l3) is described twice" },
    { "c:2;u;1M;48;0;0", ERANGE, "L2 cache: line 48 is not a power of two up to 4096" },
    { "c:2;u;1M;64;2048;0", ERANGE, "L2 cache: 2048 ways, a guest can be told of at most 1024" },
    { "c:2;u;1M;64;12;0", EINVAL,
      "L2 cache: size 1048576 is not a multiple of its lines and ways (768 bytes)" },
    { "c:3;u;8M;0;0;2000", ERANGE, "L3 cache (--l3): cores=2000 is above the limit of 1024" },
    { "cpus=4 c:3;u;8M;0;0;0;span", EINVAL,
      "L3 cache (--l3): spanning nodes has no effect without cores=" },
    { "cpus=4 c:3;u;8M;0;0;4;span", EINVAL,
      "L3 cache (--l3): spanning nodes has no effect with cores=4, which fit on a die" },
    { "cpus=4 c:3;u;8M;0;0;8", EINVAL,
      "L3 cache (--l3): cores=8, but a die has at most 4 cores, and no cache is shared across dies "
      "or nodes unless it is described as spanning them" },
    { "cpus=8 c:3;u;8M;0;0;3", EINVAL,
      "L3 cache (--l3): cores=3 does not divide the 8 cores of a die of node 0" },
    { "cpus=12 c:2;u;1M;0;0;3", EINVAL,
      "L2 cache: cores=3 must be a power of two that divides the 12 cores which share the last "
      "level" },
    { "cpus=18 c:3;u;8M;0;0;3 c:4;u;64M;0;0;9", EINVAL,
      "L4 cache: cores=9 must be the 3 cores of the level below times a power of two" },
};

static void every_contradiction_has_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct guest_spec spec;
        struct errctx ec = { 0 };
        int r;

        spec_text_parse(refused[i].spec, &spec);
        r = guest_spec_check(&spec, &ec);
        if (r != -refused[i].code || strcmp(ec.msg, refused[i].sentence) != 0)
            print_error("%s: %d %s\n", refused[i].spec, r, ec.msg);
        assert_int_equal(r, -refused[i].code);
        assert_string_equal(ec.msg, refused[i].sentence);
        assert_int_equal(guest_spec_check(&spec, NULL), -refused[i].code);
        guest_spec_fini(&spec);
    }
}

static void sound_descriptions_pass(void **state)
{
    static const char *const sound[] = {
        "",
        "vnuma=2",
        "vnuma=128 cpus=1024 memory=4G",
        "threads=2 cores=4 dies=2 sockets=2",
        "cpus=32 threads=2 cores=4 dies=2 sockets=2",
        "cpus=16 vnuma=4 sockets=2 cores=4",
        "cpus=10 vnuma=3 sockets=2",
        "cpus=10 sockets=4",
        "cpus=12 vnuma=2 sockets=3",
        "node:host=0 node:host=0 cpus=4 memory=1G",
        "node:cpus=0-3;memory=1G node:memory=2G;initiator=0;mc=1G;line=64",
        "node:cpus=0-3;memory=1G node:cpus=4-5 node:hotplug=2G",
        "node:cpus=0,2,4;memory=1G node:cpus=1,3,5;memory=1G d:0-1=21 d:1-0=31 d:0-0=10",
        "node:cpus=0;memory=1G node:hotplug=2G l:0-1=300;0",
        "node:cpus=0;memory=1G node:gi=1 node:memory=1G;initiator=1 l:1-0=400;0 l:1-2=90;0",
        "vnuma=2 l:0-0=1;1048576 l:0-1=65534;68717379584 l:1-0=0;1048576 l:1-1=65;0",
        "vnuma=2 l:0-1=4294967;4503599625273344",
        "cpus=12 c:3;u;8M;0;0;3",
        "cpus=16 c:3;-;8M;0;0;4 c:4;u;64M;0;0;8 c:2;u;1M;64;16;2",
        "cpus=8 sockets=2 c:3;u;8M;0;0;8;span",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sound); i++) {
        struct guest_spec spec;
        struct errctx ec = { 0 };

        spec_text_parse(sound[i], &spec);
        if (guest_spec_check(&spec, &ec) < 0)
            fail_msg("%s: %s", sound[i], ec.msg);
        guest_spec_fini(&spec);
    }
}

static void arrays_grow_up_to_their_limit(void **state)
{
    struct guest_spec spec = { 0 };
    struct guest_node_spec node = { 0 };
    struct errctx ec = { 0 };

    (void)state;
    for (uint32_t i = 0; i < GUEST_MAX_VNODES; i++) {
        node.memory_bytes = i;
        assert_int_equal(guest_spec_add_node(&spec, &node, &ec), 0);
    }
    assert_int_equal(guest_spec_add_node(&spec, &node, &ec), -E2BIG);
    assert_string_equal(ec.msg, "--node: a guest has at most 128 nodes");
    assert_int_equal(spec.n_nodes, GUEST_MAX_VNODES);
    for (uint32_t i = 0; i < GUEST_MAX_VNODES; i++)
        assert_int_equal(spec.nodes[i].memory_bytes, i);
    for (uint32_t i = 0; i < 128 * 128; i++) {
        struct guest_distance_spec d = { i, 0, 0 };
        struct guest_link_spec l = { i, 0, 0, 0 };

        assert_int_equal(guest_spec_add_distance(&spec, &d, &ec), 0);
        assert_int_equal(guest_spec_add_link(&spec, &l, &ec), 0);
    }
    assert_int_equal(guest_spec_add_distance(&spec, &(struct guest_distance_spec){ 0 }, &ec),
                     -E2BIG);
    assert_int_equal(guest_spec_add_link(&spec, &(struct guest_link_spec){ 0 }, &ec), -E2BIG);
    assert_int_equal(spec.distances[16383].from, 16383);
    assert_int_equal(spec.links[16383].from, 16383);
    guest_spec_fini(&spec);
    assert_null(spec.nodes);
    assert_int_equal(spec.n_distances, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_contradiction_has_its_sentence),
        cmocka_unit_test(sound_descriptions_pass),
        cmocka_unit_test(arrays_grow_up_to_their_limit),
    };
    return cmocka_run_group_tests_name("topology/guest_spec_check", tests, NULL, NULL);
}
