/* SPDX-License-Identifier: Apache-2.0 */
/* The problems that planner.c times and judges the planner by: seeded, so that they are the same
 * everywhere and every time. */
#ifndef GUEST_TESTS_BENCH_PLANNER_PROBLEMS_H
#define GUEST_TESTS_BENCH_PLANNER_PROBLEMS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/place.h"
#include "vmm/base/macros.h"

enum {
    CPU = 1000,
    NODES_MAX = 512,
    GUEST_MAX = 16,
    HOST_VNODES = 300,
    SMALL_VNODES = 9,
};

struct bench {
    struct host_topo topo, slice; /* the slice: two times eight nodes of it */
    struct place_host *host, *small;
    struct place_use used[NODES_MAX];
    struct place_vnode vnodes[NODES_MAX];
    struct place_guest guests[NODES_MAX];
    uint32_t told[NODES_MAX][GUEST_MAX * GUEST_MAX];
    struct place_problem problem;
    const struct host_topo *on;
    uint64_t dice;
    bool any; /* something was printed */
};

static inline void die(const char *what)
{
    (void)fprintf(stderr, "planner: %s\n", what);
    exit(1);
}

/* xorshift64*: the same problems everywhere. */
static inline uint32_t roll(struct bench *b, uint32_t n)
{
    b->dice ^= b->dice >> 12;
    b->dice ^= b->dice << 25;
    b->dice ^= b->dice >> 27;
    return (uint32_t)((b->dice * 0x2545f4914f6cdd1dull) >> 33) % n;
}

static inline void make_guest(struct bench *b, uint32_t g, uint32_t first, uint32_t n)
{
    uint32_t style = roll(b, 10), vcpus = 1 + roll(b, 8), gib = 1 + roll(b, 8);
    bool same = roll(b, 2) == 0;

    b->guests[g] = (struct place_guest){ .first = first, .n = n, .distances = b->told[g] };
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = same ? vcpus : 1 + roll(b, 8);

        b->vnodes[first + i] =
            (struct place_vnode){ .n_vcpus = c,
                                  .demand_milli = c * CPU,
                                  .mem_bytes = (uint64_t)(same ? gib : 1 + roll(b, 8)) << 30,
                                  .llc_vcpus = c,
                                  .current = PLACE_ANYWHERE };
        /* All nodes 20 apart, all 40, or two halves that are. */
        for (uint32_t k = 0; k < n; k++)
            b->told[g][i * n + k] = i == k                                ? 10
                                    : style < 2                           ? 20
                                    : style < 7 || i * 2 / n != k * 2 / n ? 40
                                                                          : 20;
    }
}

static inline void make_one(struct bench *b)
{
    static const uint32_t widths[] = { 1, 2, 2, 3, 4, 4, 6, 8, 12, 16 };

    for (size_t h = 0; h < b->topo.n_nodes; h++) {
        uint32_t full = roll(b, 3) == 0 ? 0 : roll(b, 101);

        b->used[h].cpu_milli = full * CPU * idset_count(&b->topo.nodes[h].cpus) / 100;
        b->used[h].mem_bytes = b->topo.nodes[h].mem_bytes / 200 * (full + roll(b, 101 - full / 2));
    }
    make_guest(b, 0, 0, widths[roll(b, ARRAY_SIZE(widths))]);
    b->on = &b->topo;
    b->problem = (struct place_problem){ .host = b->host,
                                         .used = b->used,
                                         .vnodes = b->vnodes,
                                         .n_vnodes = b->guests[0].n,
                                         .guests = b->guests,
                                         .n_guests = 1 };
}

static inline void make_many(struct bench *b, bool small)
{
    uint32_t n = 0, g = 0, all = small ? SMALL_VNODES : HOST_VNODES;

    memset(b->used, 0, sizeof(b->used));
    while (n < all) {
        uint32_t width = MIN(1 + roll(b, 4) * roll(b, 3), all - n);

        make_guest(b, g++, n, width);
        n += width;
    }
    b->on = small ? &b->slice : &b->topo;
    b->problem = (struct place_problem){ .host = small ? b->small : b->host,
                                         .used = b->used,
                                         .vnodes = b->vnodes,
                                         .n_vnodes = n,
                                         .guests = b->guests,
                                         .n_guests = g };
}

/* Nodes 0-7 and 16-23 as a host of their own, CPUs left where they are. */
static inline void make_slice(struct bench *b)
{
    enum { N = 16 };
    static struct host_node nodes[N];
    static uint32_t distances[N * N];
    struct host_cpu *cpus = calloc(b->topo.n_cpus, sizeof(*cpus));
    size_t n = 0;

    if (cpus == NULL || b->topo.n_nodes < 24)
        die("this host is too small to take a slice of");
    for (uint32_t i = 0; i < N; i++) {
        nodes[i] = b->topo.nodes[i % 8 + i / 8 * 16];
        for (uint32_t k = 0; k < N; k++)
            distances[i * N + k] =
                host_topo_distance(&b->topo, i % 8 + i / 8 * 16, k % 8 + k / 8 * 16);
    }
    for (size_t i = 0; i < b->topo.n_cpus; i++) {
        struct host_cpu c = b->topo.cpus[i];

        if (c.node >= 24 || (c.node >= 8 && c.node < 16))
            continue;
        c.node -= c.node >= 16 ? 8 : 0;
        cpus[n++] = c;
    }
    b->slice = b->topo;
    b->slice.nodes = nodes;
    b->slice.n_nodes = N;
    b->slice.cpus = cpus;
    b->slice.n_cpus = n;
    b->slice.distances = distances;
}

#endif
