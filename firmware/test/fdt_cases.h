/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans for tests of the device tree, made by the planner from one line of text (spec_text.h), and
 * the topologies whose trees are kept as text in firmware/test/golden/NAME.dts.
 */
#ifndef FIRMWARE_TEST_FDT_CASES_H
#define FIRMWARE_TEST_FDT_CASES_H

#include "firmware/arm64/arm64_fdt.h"
#include "vmm/base/macros.h"
#include "vmm/topology/test/spec_text.h"

static const struct fdt_case {
    const char *name, *spec;
} fdt_cases[] = {
    { "one", "cpus=1 memory=512M" },
    /* A ring, one direction of one link slower. */
    { "ring", "cpus=8 memory=4G vnuma=4 d:0-2=30 d:2-0=30 d:1-3=35 d:3-1=30" },
    /* Threads, and two last-level caches in each socket. */
    { "threads", "cpus=16 memory=2G vnuma=2 threads=2 c:3;u;16M;64;16;2" },
    /* Two dies in each socket, a node in each. */
    { "dies", "cpus=8 memory=8G vnuma=4 sockets=2" },
    /* CPUs and memory; CPUs alone; memory alone. */
    { "tiers", "node:cpus=0-2;memory=1G node:cpus=3-4 node:memory=5G;initiator=1" },
    { "interleaved", "node:cpus=0,2;memory=256M node:cpus=1,3;memory=256M" },
};

/* One node of a host with a server's caches, and memory for everything. */
static inline int fdt_case_plan_spec(const struct guest_spec *spec, struct topo_plan **ret_plan,
                                     struct errctx *ec)
{
    struct host_node node = { .mem_bytes = 8192ull << 30 };
    struct host_cache caches[] = {
        { 1, CACHE_DATA, 64 << 10, 64, 4, { 0 } },
        { 1, CACHE_INSTRUCTION, 64 << 10, 64, 4, { 0 } },
        { 2, CACHE_UNIFIED, 1 << 20, 64, 8, { 0 } },
        { 3, CACHE_UNIFIED, 32 << 20, 64, 16, { 0 } },
    };
    struct host_topo host = { .source = "test",
                              .nodes = &node,
                              .n_nodes = 1,
                              .caches = caches,
                              .n_caches = ARRAY_SIZE(caches) };

    idset_add_range(&node.cpus, 0, 8);
    return topo_plan_make(spec, &host, ret_plan, ec);
}

static inline int fdt_case_plan(const char *text, struct topo_plan **ret_plan, struct errctx *ec)
{
    struct guest_spec spec;
    int r;

    spec_text_parse(text, &spec);
    r = fdt_case_plan_spec(&spec, ret_plan, ec);
    guest_spec_fini(&spec);
    return r;
}

#endif
