/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the user asked the guest to look like, before any decision is made.
 *
 * A plain value filled in by vmm/config (options or JSON) and read by topo_plan_make(). Zero
 * means "not said" wherever a field has no other mark, so a zeroed spec is a valid question:
 * one CPU, the default memory, one node. Nothing here knows the host.
 */
#ifndef VMM_TOPOLOGY_GUEST_SPEC_H
#define VMM_TOPOLOGY_GUEST_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/topology/guest_memory.h"
#include "vmm/topology/guest_place.h"

enum {
    GUEST_MAX_VNODES = 128,
    GUEST_MAX_VCPUS = 1024,
    GUEST_MAX_MEM_CACHES = 3, /* memory-side cache levels of one node */
    GUEST_MAX_CACHE_SPECS = 16,
    GUEST_DISTANCE_LOCAL = 10, /* ACPI 6.5, 5.2.17: the normalised local distance */
    GUEST_DISTANCE_REMOTE = 20,
    GUEST_DISTANCE_MAX = 254, /* 255 means unreachable */
    GUEST_LINK_ENTRY_MAX = 0xfffe, /* of an HMAT matrix; 0xffff means unreachable */
    GUEST_LINK_MAX_NS = UINT32_MAX / 1000, /* Linux keeps picoseconds in 32 bits */
};

#define GUEST_VNUMA_AUTO UINT32_MAX /* as many nodes as suit the host: guest_auto.h */

enum cache_type { CACHE_DATA = 1, CACHE_INSTRUCTION = 2, CACHE_UNIFIED = 3 };

/* A CPU cache as described; zero fields take the host's value. */
struct guest_cache_spec {
    uint32_t level; /* 1..4 */
    enum cache_type type;
    uint64_t size_bytes;
    uint32_t line_bytes;
    uint32_t ways;
    uint32_t cores;  /* cores that share one instance; 0: the default of the level */
    bool span_nodes; /* the description says that an instance may cross nodes or dies */
};

/* A cache in front of a node's memory (ACPI 6.5, 5.2.28.5). */
struct guest_mem_cache_spec {
    uint64_t size_bytes;
    uint32_t line_bytes;
    enum { MEM_CACHE_ASSOC_NONE, MEM_CACHE_ASSOC_DIRECT, MEM_CACHE_ASSOC_COMPLEX } assoc;
    enum { MEM_CACHE_WRITE_NONE, MEM_CACHE_WRITE_BACK, MEM_CACHE_WRITE_THROUGH } write;
};

struct guest_node_spec {
    struct idset cpus;       /* may be empty: a memory-only node */
    struct idset later_cpus; /* of these, those that are plugged in later, if at all */
    uint64_t memory_bytes;   /* may be 0: a CPU-only node */
    uint64_t hotplug_bytes;  /* window reserved above the guest's memory */
    struct idset host_nodes; /* empty: not bound */
    enum guest_policy policy;
    struct guest_weights weights; /* with GUEST_POLICY_WEIGHTED, one for each host node */
    struct guest_pages pages;
    bool reserve;  /* memory is set aside at the start */
    bool prealloc; /* memory is there, cleared, at the start */
    bool generic_initiator;  /* a device that reaches memory like CPUs do (ACPI 6.5, 5.2.16.6) */
    bool has_initiator;      /* HMAT: which node's CPUs, or device, are nearest to this memory */
    uint32_t initiator;
    uint32_t n_mem_caches;
    struct guest_mem_cache_spec mem_cache[GUEST_MAX_MEM_CACHES];
};

struct guest_distance_spec {
    uint32_t from, to, value;
};

/* HMAT: what it costs the CPUs or the generic initiator of node @from to reach the memory of node @to; 0: not said. */
struct guest_link_spec {
    uint32_t from, to;
    uint64_t latency_ns;
    uint64_t bandwidth_bytes_per_s;
};

struct guest_spec {
    uint32_t n_cpus;       /* --cpus */
    uint64_t memory_bytes; /* --memory */
    uint32_t n_vnuma;      /* --vnuma, a number or GUEST_VNUMA_AUTO; excludes nodes[] */
    uint32_t threads, cores, dies, sockets;
    enum guest_pin pin;             /* unsaid: nodes with host= by node, others not at all */
    enum guest_objective objective; /* unsaid: all terms */
    struct guest_cpu_share share;
    enum guest_balance balance;

    /* For every node that does not say it itself. */
    enum guest_policy policy;
    struct guest_pages pages;
    bool prealloc;
    struct guest_fallback fallback;

    /* Heap arrays owned by this value; released by guest_spec_fini(). */
    struct guest_node_spec *nodes;
    size_t n_nodes;
    struct guest_distance_spec *distances;
    size_t n_distances;
    struct guest_link_spec *links;
    size_t n_links;

    struct guest_cache_spec caches[GUEST_MAX_CACHE_SPECS];
    size_t n_caches;
    bool no_host_caches; /* the described ones are all there are, and none takes a host's value */
};

/** guest_spec_add_node() and friends - append a copy. Return: 0, -ENOMEM, or -E2BIG. */
int guest_spec_add_node(struct guest_spec *spec, const struct guest_node_spec *node,
                        struct errctx *ec);
int guest_spec_add_distance(struct guest_spec *spec, const struct guest_distance_spec *d,
                            struct errctx *ec);
int guest_spec_add_link(struct guest_spec *spec, const struct guest_link_spec *l,
                        struct errctx *ec);

/** guest_spec_fini() - release the arrays and zero the value. */
void guest_spec_fini(struct guest_spec *spec);

/**
 * guest_spec_check() - refuse contradictory, overlapping or repeated descriptions.
 *
 * Looks at the spec alone, never at a host. Every sentence names the option and the conflict.
 * Return: 0, or -EINVAL (contradiction), -ERANGE (a number outside its limits).
 */
int guest_spec_check(const struct guest_spec *spec, struct errctx *ec);

#endif
