/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that the access counter shares between QEMU's plugin, the runner and the host inside.
 *
 * One memory file of ACCESSES_BYTES: rigaccess.py writes the constants before QEMU starts, the
 * plugin (accesses.c) maps the file and counts, and the emulated host sees the same bytes as the
 * memory of a PCI device, where counters.c asks for changes and reads. All words are 64 bits,
 * little endian, each written by one side only; rigaccess.py knows the layout up to count[].
 */
#ifndef GUEST_TESTS_RIG_ACCESSES_H
#define GUEST_TESTS_RIG_ACCESSES_H

#include <stdint.h>

#define ACCESSES_MAGIC 0x31544e434d454d52ull /* "RMEMCNT1" */

/*
 * A long no-operation with this displacement makes the plugin look at "asked": plugins see
 * instructions, but not stores to a device's memory. 0F 1F 84 00 disp32, nopl disp32(%rax,%rax).
 */
#define ACCESSES_KNOCK 0x6b636e6b

enum {
    ACCESSES_MAX_NODES = 128,
    ACCESSES_MAX_CPUS = 256,
    ACCESSES_BYTES = 2 << 20, /* a PCI region is a power of two */

    /* Who made an access: index of count[cpu]. A kernel's code lies in the upper half. */
    ACCESSES_HOST_USER = 0,
    ACCESSES_HOST_KERNEL = 1,
    ACCESSES_GUEST_USER = 2,
    ACCESSES_GUEST_KERNEL = 3,
    ACCESSES_KINDS = 4,

    /* Bits of wanted and active. */
    ACCESSES_COUNT = 1,
    ACCESSES_ZERO = 2,   /* set all counts to zero when this is carried out */
    ACCESSES_GUESTS = 4, /* with COUNT: only what guests do, so that the host keeps its speed */
    ACCESSES_DELAY_USERS = 8, /* delay only what programs do, so that kernels keep their speed */
};

struct accesses {
    /* Constant: what the machine is. */
    uint64_t magic;
    uint64_t n_cpus;
    uint64_t n_nodes;
    /* Written inside; the plugin reads them when it meets the knock and asked differs from done. */
    uint64_t wanted;
    uint64_t delay_ns; /* for each access, per unit of distance above 10; 0 for none */
    uint64_t asked;
    /* Written by the plugin. */
    uint64_t active;
    uint64_t done; /* the value of asked that has been carried out */
    /* Constant again: nodes as the plugin interface numbers their memory, CPUs, distances. */
    uint64_t node_start[ACCESSES_MAX_NODES]; /* ascending */
    uint64_t node_end[ACCESSES_MAX_NODES];
    uint64_t cpu_node[ACCESSES_MAX_CPUS];
    uint64_t distance[ACCESSES_MAX_NODES][ACCESSES_MAX_NODES]; /* from a CPU's node to memory's */
    /* Accesses by CPU, kind and node; the last one is memory of no node, devices included. */
    uint64_t count[ACCESSES_MAX_CPUS][ACCESSES_KINDS][ACCESSES_MAX_NODES + 1];
};

_Static_assert(sizeof(struct accesses) <= ACCESSES_BYTES, "the shared page has room for all");

#endif
