/* SPDX-License-Identifier: Apache-2.0 */
/* What options say about memory, and the backings that a plan makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>

#include "vmm/base/macros.h"
#include "vmm/config/config_memory.h"
#include "vmm/config/test/config_words.h"
#include "vmm/topology/topo_plan.h"

#define G ((uint64_t)GIB)
#define M ((uint64_t)MIB)

static const struct {
    const char *words, *sentence;
} contradictions[] = {
    { "--pages 3M", "--pages: \"3M\" is not 4K, thp, 2M or 1G" },
    { "--pages 1G:512M+2M", "--pages: 1G:512M is not a multiple of 1 GiB" },
    { "--pages 2M+1G", "--pages: \"1G\" comes after pages that take the rest" },
    { "--pages 2M:2M+2M", "--pages: 2M is given twice" },
    { "--pages 2M:0+4K", "--pages: 2M:0 is not a multiple of 2 MiB" },
    { "--policy some",
      "--policy: \"some\" is not bind, preferred, interleave, weighted-interleave, local or "
      "auto" },
    { "--fallback pages",
      "--fallback pages has no effect: no node asks for pages of 2M or 1G" },
    { "--fallback host,host", "--fallback: host is given twice" },
    { "--fallback cpus", "--fallback: \"cpus\" is not pages, policy or host" },
    { "--memory 3G --pages 1G:2G+2M:1G+thp",
      "--node 0: --pages leaves nothing for pages of thp" },
    { "--memory 3G --pages 1G:2G+2M:512M",
      "--node 0: --pages does not say what the last 512M are; the last part needs no size" },
    { "--memory 1G --pages 2M:2G", "--node 0: --pages asks for 2G in pages of 2M, 1G is left" },
    { "--memory 3G --vnuma 2 --cpus 2 --pages 1G",
      "--node 0: --pages: 1536M is no multiple of 1G" },
    { "--node memory=1G,policy=local,host=0",
      "--node 0: host= and policy=local exclude each other: local memory is wherever the CPU "
      "runs that touches it first" },
    { "--node memory=1G,policy=local --prealloc",
      "--node 0: policy=local and prealloc exclude each other: memory taken at the start is on "
      "no vCPU's node" },
    { "--node memory=1G,policy=interleave,host=2",
      "--node 0: policy=interleave has only one host node in host=" },
    { "--node memory=1G,weights=1:2,host=0-1",
      "--node 0: weights= has no effect without policy=weighted-interleave" },
    { "--node memory=1G,policy=weighted-interleave,host=0-1",
      "--node 0: policy=weighted-interleave needs weights=" },
    { "--node memory=1G,policy=weighted-interleave,weights=1:2:3,host=0-1",
      "--node 0: weights= has 3 numbers, but host= names 2 host nodes" },
    { "--node memory=1G,policy=weighted-interleave,weights=1:0,host=0-1",
      "--node: weights=: a node of weight 0 would get nothing" },
    { "--policy weighted-interleave",
      "--policy weighted-interleave needs a --node with host= and weights=" },
    { "--node memory=1G,reserve,prealloc",
      "--node 0: reserve has no effect beside prealloc, which takes all memory" },
    { "--node memory=1G,prealloc --prealloc",
      "--node 0: prealloc is said for all nodes by --prealloc" },
    { "--node memory=1G,cpus=0 --node cpus=1,pages=2M",
      "--node 1: pages= has no effect on a node without memory" },
    { "--node memory=1G,cpus=0 --node cpus=1,reserve",
      "--node 1: reserve has no effect on a node without memory" },
};

static void contradictions_have_their_sentences(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(contradictions); i++) {
        struct machine_config c;
        struct errctx ec = { 0 };

        assert_true(config_words(contradictions[i].words, &c, &ec) < 0);
        assert_string_equal(ec.msg, contradictions[i].sentence);
        config_fini(&c);
    }
}

static void flags_stand_anywhere_in_a_node(void **state)
{
    static const char *const rows[] = {
        "--node prealloc,memory=1G,cpus=0,2,1", "--node memory=1G,prealloc,cpus=0,2,1",
        "--node memory=1G,cpus=0,2,1,prealloc", "--node memory=1G,cpus=0,2,1,prealloc=on",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct machine_config c;

        assert_int_equal(config_words(rows[i], &c, NULL), 0);
        assert_true(c.spec.nodes[0].prealloc);
        assert_false(c.spec.nodes[0].reserve);
        assert_int_equal(idset_count(&c.spec.nodes[0].cpus), 3);
        assert_true(c.spec.nodes[0].memory_bytes == G);
        config_fini(&c);
    }
}

/* --- plans ----------------------------------------------------------------------------------- */

/* Three nodes of 8 GiB with 4 free, one CPU each; pools of 1 GiB pages: 2, 1, 0 free, of 2 MiB
 * pages: 512, 0, 1024. Node 2 is nearer to 0 than 1 is. */
static struct host_topo test_host(struct host_node nodes[3])
{
    static uint32_t distances[] = { 10, 30, 20, 30, 10, 20, 20, 20, 10 };
    static const uint64_t free_2m[] = { 512, 0, 1024 }, free_1g[] = { 2, 1, 0 };

    memset(nodes, 0, 3 * sizeof(*nodes));
    for (uint32_t i = 0; i < 3; i++) {
        nodes[i].id.v = i;
        nodes[i].mem_bytes = 8 * G;
        nodes[i].mem_free_bytes = 3 * G;
        nodes[i].mem_cache_bytes = 1 * G;
        idset_add(&nodes[i].cpus, i);
        nodes[i].n_pools = 2;
        nodes[i].pool[0] = (struct host_page_pool){ 2 * M, 2000, free_2m[i] };
        nodes[i].pool[1] = (struct host_page_pool){ 1 * G, 3, free_1g[i] };
    }
    return (struct host_topo){ .source = "test", .nodes = nodes, .n_nodes = 3,
                               .distances = distances, .has_distances = true };
}

/* "node:from+size pages policy hosts/chunk flags;" for each backing, sizes in MiB. */
static void describe(const struct topo_plan *plan, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < plan->n_backings && len < size; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];
        char hosts[32];

        len += (size_t)snprintf(buf + len, size - len,
                                "%u:%" PRIu64 "+%" PRIu64 " %s %s %s/%" PRIu64 "%s%s;", b->vnode.v,
                                b->off / M, b->len_bytes / M, guest_page_name(b->pages),
                                b->policy == GUEST_POLICY_NONE ? "-"
                                                               : guest_policy_words[b->policy],
                                idset_format(&b->host_nodes, hosts, sizeof(hosts)),
                                b->chunk_bytes / M, b->reserve ? " reserve" : "",
                                b->prealloc ? " prealloc" : "");
    }
}

static int plan_words(const char *words, char *buf, size_t size, char *notes, struct errctx *ec)
{
    struct host_node nodes[3];
    struct host_topo host = test_host(nodes);
    struct topo_plan *plan;
    struct machine_config c;
    int r = config_words(words, &c, ec);

    if (r == 0)
        r = topo_plan_make(&c.spec, &host, &plan, ec);
    if (r == 0) {
        describe(plan, buf, size);
        (void)snprintf(notes, sizeof(plan->notes), "%s", plan->notes);
        topo_plan_free(plan);
    }
    config_fini(&c);
    return r;
}

static void backings_are_as_asked(void **state)
{
    static const struct {
        const char *words, *backings;
    } rows[] = {
        { "--memory 1G", "0:0+1024 any - /0;" },
        { "--memory 1G --vnuma 2 --cpus 2 --pages thp --prealloc",
          "0:0+512 thp - /0 prealloc;1:0+512 thp - /0 prealloc;" },
        { "--node memory=1G,host=1", "0:0+1024 any bind 1/0;" },
        { "--node memory=1G,host=0-1,policy=preferred,pages=4K,reserve",
          "0:0+1024 4K preferred 0-1/0 reserve;" },
        /* larger pages first, whatever the order */
        { "--node memory=3G,pages=thp:512M+1G:2G+2M,host=0",
          "0:0+2048 1G bind 0/0;0:2048+512 2M bind 0/0;0:2560+512 thp bind 0/0;" },
        { "--memory 1G --policy interleave", "0:0+1024 any interleave 0-2/2;" },
        { "--memory 1G --policy interleave --pages 4K", "0:0+1024 4K interleave 0-2/0;" },
        { "--node memory=1G,policy=weighted-interleave,weights=3:1,host=0,2,pages=2M",
          "0:0+1024 2M weighted-interleave 0,2/2;" },
        { "--memory 1G --policy local", "0:0+1024 any local /0;" },
        { "--node memory=1G,cpus=0,policy=local --node memory=1G,cpus=1,host=2 --policy preferred",
          "0:0+1024 any local /0;1:0+1024 any preferred 2/0;" },
        { "--memory 1G --policy auto", "0:0+1024 any local /0;" },
        { "--memory 1G --policy auto --prealloc", "0:0+1024 any - /0 prealloc;" },
        { "--node memory=1G,policy=auto,host=0", "0:0+1024 any bind 0/0;" },
        { "--node memory=8G,policy=auto,host=1", "0:0+8192 any preferred 1/0;" },
        { "--node memory=1G,policy=auto,host=0,2", "0:0+1024 any interleave 0,2/2;" },
        /* the picky one is served first: both get what there is */
        { "--node memory=1G,cpus=0,pages=1G,host=0-1 --node memory=2G,cpus=1,pages=1G,host=0",
          "0:0+1024 1G bind 0-1/0;1:0+2048 1G bind 0/0;" },
        { "--node memory=4G,host=1,prealloc", "0:0+4096 any bind 1/0 prealloc;" },
    };
    char text[1024], notes[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };

        if (plan_words(rows[i].words, text, sizeof(text), notes, &ec) < 0)
            fail_msg("%s: %s", rows[i].words, ec.msg);
        assert_string_equal(text, rows[i].backings);
    }
}

static void shortages_are_named_with_what_is_free(void **state)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        { "--node memory=2G,pages=1G,host=1",
          "--node 0: 2 pages of 1G are wanted, host node 1 has 1 free" },
        { "--node memory=4G,pages=1G",
          "--node 0: 4 pages of 1G are wanted, host node 0 has 2, host node 1 has 1, host node 2 "
          "has 0 free" },
        { "--node memory=4G,pages=2M,host=0,2,policy=interleave",
          "--node 0: 2048 pages of 2M are wanted, host node 0 has 512, host node 2 has 1024 free "
          "(each gives its share)" },
        { "--node memory=5G,host=2,prealloc",
          "--node 0: 5 GiB of pages of 4K are wanted at the start, host node 2 has 4 GiB free" },
        { "--node memory=1G,cpus=0,pages=1G,host=1 --node memory=1G,cpus=1,pages=1G,host=1",
          "--node 1: 1 pages of 1G are wanted, host node 1 has 0 free" },
        { "--node memory=1G,policy=bind",
          "--node 0: policy=bind needs host=, the host nodes that memory is taken from" },
        { "--fallback host", "--fallback host has no effect: no node has host nodes" },
        { "--node memory=9G,host=0 --fallback pages",
          "--fallback pages has no effect: no node asks for pages of 2M or 1G" },
    };
    char text[1024], notes[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };

        assert_true(plan_words(rows[i].words, text, sizeof(text), notes, &ec) < 0);
        assert_string_equal(ec.msg, rows[i].sentence);
    }
}

static void what_gives_way_does_so_in_order_and_is_said(void **state)
{
    static const struct {
        const char *words, *backings, *note;
    } rows[] = {
        { "--node memory=3G,pages=1G,host=1 --fallback pages,policy",
          "0:0+1024 1G bind 1/0;0:1024+2048 thp bind 1/0;",
          "Node 0: 2 GiB is in pages of 2M instead of 1G, of which there are too few." },
        { "--node memory=3G,pages=1G,host=0 --fallback pages",
          "0:0+2048 1G bind 0/0;0:2048+1024 2M bind 0/0;",
          "Node 0: 1 GiB is in pages of 2M instead of 1G, of which there are too few." },
        { "--node memory=3G,pages=1G,host=1 --fallback policy,pages",
          "0:0+3072 1G preferred 1/0;",
          "Node 0: 3 GiB in pages of 1G prefers host node 1 instead of keeping to it, which has "
          "too little." },
        { "--node memory=1G,pages=2M,host=1 --fallback host,pages", "0:0+1024 2M bind 2/0;",
          "Node 0: 1 GiB in pages of 2M is on host node 2, at distance 20, instead of 1, which has "
          "too little." },
        { "--node memory=5G,host=2,prealloc --fallback host,policy",
          "0:0+5120 any preferred 2/0 prealloc;",
          "Node 0: 5 GiB in pages of any prefers host node 2 instead of keeping to it, which has "
          "too little." },
        { "--node memory=4G,host=0,2,policy=interleave,pages=2M --fallback pages",
          "0:0+4096 thp interleave 0,2/2;",
          "Node 0: 4 GiB is in pages of thp instead of 2M, of which there are too few." },
    };
    char text[1024], notes[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct errctx ec = { 0 };

        if (plan_words(rows[i].words, text, sizeof(text), notes, &ec) < 0)
            fail_msg("%s: %s", rows[i].words, ec.msg);
        assert_string_equal(text, rows[i].backings);
        assert_non_null(strstr(notes, rows[i].note));
    }
}

static void chunks_go_round_by_weight(void **state)
{
    struct topo_plan_backing b = { .chunk_bytes = 2 * M, .weights = { 2, { 3, 1 } } };
    static const uint32_t want[] = { 1, 1, 1, 4, 1, 1, 1, 4 };

    (void)state;
    idset_add(&b.host_nodes, 1);
    idset_add(&b.host_nodes, 4);
    for (size_t i = 0; i < ARRAY_SIZE(want); i++)
        assert_int_equal(topo_plan_backing_home(&b, i * 2 * M).v, want[i]);
    b.weights.n = 0;
    assert_int_equal(topo_plan_backing_home(&b, 0).v, 1);
    assert_int_equal(topo_plan_backing_home(&b, 2 * M).v, 4);
    assert_int_equal(topo_plan_backing_home(&b, 4 * M - 1).v, 4);
    assert_int_equal(topo_plan_backing_home(&b, 4 * M).v, 1);
}

static void chunks_grow_before_there_are_too_many(void **state)
{
    static struct host_node nodes[2];
    struct host_topo host = { .source = "test", .nodes = nodes, .n_nodes = 2 };
    struct machine_config c;
    struct topo_plan *plan;

    (void)state;
    for (uint32_t i = 0; i < 2; i++)
        nodes[i] = (struct host_node){ .id = { i }, .mem_bytes = 1024 * G };
    assert_int_equal(config_words("--memory 512G --policy interleave", &c, NULL), 0);
    assert_int_equal(topo_plan_make(&c.spec, &host, &plan, NULL), 0);
    assert_true(plan->backings[0].chunk_bytes == 16 * M);
    topo_plan_free(plan);
    config_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contradictions_have_their_sentences),
        cmocka_unit_test(flags_stand_anywhere_in_a_node),
        cmocka_unit_test(backings_are_as_asked),
        cmocka_unit_test(shortages_are_named_with_what_is_free),
        cmocka_unit_test(what_gives_way_does_so_in_order_and_is_said),
        cmocka_unit_test(chunks_go_round_by_weight),
        cmocka_unit_test(chunks_grow_before_there_are_too_many),
    };
    return cmocka_run_group_tests_name("config/memory", tests, NULL, NULL);
}
