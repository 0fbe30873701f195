/* SPDX-License-Identifier: Apache-2.0 */
/* The tree as facts, for the host to hold against the plan. */
#include "guest-tests/bare/lib/arm64/tree.h"
#include "guest-tests/bare/lib/bare.h"

enum { NO_NODE = 0xffff };

static unsigned n_cpus, n_memory, n_bridges;

static void cpu(const struct tree_node *node)
{
    fact("tree.cpu.%u=reg:%x,node:%u", n_cpus++, tree_cell(node, "reg", 0, 0),
         tree_cell(node, "numa-node-id", 0, NO_NODE));
    ok(tree_is(node, "enable-method", "psci"), "%s is started by PSCI", node->name);
}

/* A fact per row, in the order that the tree has its entries in. */
static void distances(const struct tree_node *node)
{
    uint32_t len = 0, from, last = NO_NODE;
    unsigned i;

    (void)tree_prop(node, "distance-matrix", &len);
    for (i = 0; i + 2 < len / 4; i += 3) {
        from = tree_cell(node, "distance-matrix", i, 0);
        if (from != last)
            out("%sfact tree.distance.%u=", last == NO_NODE ? "" : "\n", from);
        out("%s%u:%u", from != last ? "" : ",", tree_cell(node, "distance-matrix", i + 1, 0),
            tree_cell(node, "distance-matrix", i + 2, 0));
        last = from;
    }
    out("\n");
}

static void each(const struct tree_node *node, void *arg)
{
    (void)arg;
    if (tree_is(node, "device_type", "cpu"))
        cpu(node);
    if (tree_is(node, "device_type", "memory"))
        fact("tree.mem.%u=base:%lx,len:%lx,node:%u", n_memory++, tree_two(node, "reg", 0),
             tree_two(node, "reg", 2), tree_cell(node, "numa-node-id", 0, NO_NODE));
    if (tree_is(node, "device_type", "pci"))
        fact("tree.pci.%u=bus:%u,domain:%u,node:%u", n_bridges++,
             tree_cell(node, "bus-range", 0, 0), tree_cell(node, "linux,pci-domain", 0, 0),
             tree_cell(node, "numa-node-id", 0, NO_NODE));
    if (tree_is(node, "compatible", "numa-distance-map-v1"))
        distances(node);
}

void guest_main(void)
{
    ok(tree_each(each, NULL), "the tree has a begin and an end");
    ok(n_cpus > 0 && n_memory > 0 && n_bridges > 0, "CPUs, memory and host bridges are there");
    tap_done();
}
