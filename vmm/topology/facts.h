/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest's Linux can see of its machine, as text: a fact a line, a name, a blank, a value.
 * A plan tells what there should be, a program in the guest what there is (vmm/lab/parts/facts.c),
 * and two texts are compared. Names:
 *
 *   nodes, cpus               those that are online: "0-3,8", as the kernel writes lists; "-" is none
 *   nodeN.cpus                its CPUs
 *   nodeN.memory              KiB that the firmware gave it
 *   nodeN.distance            from it to each node that is online: "10 20"
 *   nodeN.read_latency, .write_latency (ns), .read_bandwidth, .write_bandwidth (MiB/s)
 *                             of its memory, from the initiators that are nearest (HMAT)
 *   nodeN.memory_cacheK       "size=BYTES line=BYTES indexing=I write=W", numbers as in sysfs
 *   cpuN.package, .die, .cluster, .core
 *                             the CPUs that share it; dies and complexes are clusters in a tree
 *   cpuN.caches               their names: "l1d,l1i,l2,l3"
 *   cpuN.l1d and so on        "size=32K line=64 ways=8 cpus=0-1", the CPUs that share it
 *   pci.DDDD                  the node of each virtio device with this PCI device id: "0,1"
 *
 * Pure; any thread.
 */
#ifndef VMM_TOPOLOGY_FACTS_H
#define VMM_TOPOLOGY_FACTS_H

#include <stddef.h>
#include <stdio.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_plan.h"

/* Of a node's memory, what the firmware keeps for its tables and legacy, which no plan counts. */
enum { FACTS_MEMORY_SLACK_KIB = 4096 };

/* How Linux is told of its machine. A device tree has no word for initiators, latencies, bandwidths
 * and memory-side caches, nor for who shares a level 1 cache, and CPUs may add levels of their own:
 * where it is the tree, such facts are not among those that should be seen. */
enum facts_told { FACTS_TOLD_BY_ACPI, FACTS_TOLD_BY_TREE };

/** facts_of_plan() - what Linux should see, without devices. Write errors are for ferror(@out).
 *  Return: 0 or -ENOMEM. */
int facts_of_plan(const struct topo_plan *plan, enum facts_told told, FILE *out);

struct fact {
    const char *name, *value;
};

struct facts {
    char *text; /* what names and values point into; owned */
    struct fact *list; /* by name; owned */
    size_t n;
};

/** facts_parse() - read @text, in which blank lines and those that begin with "#" say nothing.
 *  @ret_facts: untouched on failure. Return: 0; -EINVAL (a line that is no fact, or a name given
 *  twice, with a sentence); -ENOMEM. */
int facts_parse(const char *text, struct facts *ret_facts, struct errctx *ec);
void facts_fini(struct facts *facts);

/**
 * facts_compare() - call @differ for each fact of @expected that @seen does not have so.
 * @differ: @seen is NULL where there is no such fact. May be NULL.
 * Return: how many there are.
 */
size_t facts_compare(const struct facts *expected, const struct facts *seen,
                     void (*differ)(void *ctx, const struct fact *expected, const char *seen),
                     void *ctx);

#endif
