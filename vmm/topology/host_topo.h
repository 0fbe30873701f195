/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One snapshot of a host as the planner sees it: nodes, CPUs, caches, distances, free memory.
 *
 * A value; filled by host_discover.c from hwloc (this machine, an XML file or a synthetic
 * string) and by tests by hand. The planner never sees hwloc. Arrays belong to the value.
 */
#ifndef VMM_TOPOLOGY_HOST_TOPO_H
#define VMM_TOPOLOGY_HOST_TOPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/base/ids.h"
#include "vmm/topology/guest_spec.h"
#include "vmm/topology/host_limits.h"

struct host_page_pool {
    uint64_t page_bytes; /* huge page size; normal pages are in mem_free_bytes */
    uint64_t total_pages, free_pages;
};

enum { HOST_MAX_PAGE_POOLS = 4, HOST_MAX_MEM_CACHES = 4 };

/* A cache between the processors and a node's memory, such as fast memory used as one. */
struct host_mem_cache {
    uint32_t level;
    uint64_t size_bytes;
    uint32_t line_bytes;
    bool direct_mapped, write_through;
};

/* What the firmware (HMAT) says of a node as its best initiators see it; 0: not said. */
struct host_hmat {
    struct idset initiators; /* nodes, by the kernel's numbers */
    uint32_t read_latency_ns, write_latency_ns;
    uint64_t read_bytes_per_s, write_bytes_per_s;
};

struct host_node {
    struct hnode_id id; /* the kernel's number; may have gaps */
    uint64_t mem_bytes;
    uint64_t mem_free_bytes; /* 0 when the source does not tell (XML) */
    uint64_t mem_cache_bytes; /* file cache, which the kernel gives up for us; 0: not told */
    struct idset cpus;       /* may be empty */
    uint32_t n_pools;
    struct host_page_pool pool[HOST_MAX_PAGE_POOLS];
    bool has_hmat;
    struct host_hmat hmat;
    uint32_t n_mem_caches;
    struct host_mem_cache mem_cache[HOST_MAX_MEM_CACHES]; /* by level */
};

enum { HOST_CAPACITY_FULL = 1024 };

struct host_cpu {
    struct hcpu_id id;
    uint32_t node;               /* index into nodes, not the kernel's number */
    uint32_t package, die, core; /* dense, machine-wide indices */
    uint32_t llc;                /* dense index of the last-level cache group */
    uint32_t thread;             /* within the core */
    uint32_t capacity;      /* now, of HOST_CAPACITY_FULL; 0: not known, take it as full */
    uint32_t capacity_full; /* when nothing lowers it; less on the small cores of a hybrid */
    bool has_throttled;
    uint64_t throttled; /* times its core was slowed down by heat since the boot */
};

struct host_cache {
    uint32_t level;
    enum cache_type type;
    uint64_t size_bytes;
    uint32_t line_bytes, ways;
    struct idset cpus;
};

/* One pair of nodes, measured: CPUs of @from, memory of @to. */
struct host_sample {
    struct hnode_id from, to;
    uint32_t latency_ps;  /* of one dependent load */
    uint64_t bytes_per_s; /* all cores of @from reading; 0: not measured */
    bool check;           /* taken to check its class, not for it */
};

enum host_measured_by {
    HOST_MEASURED_NOT,      /* nothing like it was measured; values are 0 */
    HOST_MEASURED_PAIR,     /* this very pair was */
    HOST_MEASURED_CLASS,    /* pairs of the same distance between the same packages were */
    HOST_MEASURED_DISTANCE, /* pairs of the same distance were */
};

struct host_link {
    enum host_measured_by by;
    uint32_t latency_ps;
    uint64_t bytes_per_s;
};

/* What a description of another machine says of a pair of nodes; 0: nothing. */
struct host_told {
    uint32_t latency_ns;
    uint64_t bytes_per_s;
};

struct host_topo {
    char source[128]; /* "this machine", an XML file's name, a synthetic description */
    bool this_machine; /* else it can be planned for, but not measured or run on */
    struct host_node *nodes;
    size_t n_nodes;
    struct host_cpu *cpus; /* online and allowed ones, by ascending id */
    size_t n_cpus;
    struct host_cache *caches;
    size_t n_caches;
    uint32_t *distances; /* n_nodes * n_nodes, row = from; 10/20 where the source has none */
    bool has_distances;
    struct host_told *told; /* n_nodes * n_nodes, row = from; NULL: not said, or see host_hmat */

    /* What this process is confined to; nodes and cpus above keep to it already. Only from this
     * machine or an archived tree, as is all that follows. */
    struct host_limits limits;
    struct idset cpus_online, cpus_offline; /* of the machine; empty: not known */
    struct idset nodes_online;
    bool has_smt, smt_active; /* the kernel's word; off leaves one thread per core */
    struct host_pressure cpu_pressure, mem_pressure;               /* of the machine */
    struct host_pressure cgroup_cpu_pressure, cgroup_mem_pressure; /* of our own cgroup */

    /* What `host --measure` found on this hardware at some time; host_measured_apply() fills it.
     * Prefer it to distances where it is: firmware's tables are often coarse, sometimes wrong. */
    bool has_measured;
    int64_t measured_at;        /* seconds since 1970 */
    struct host_link *measured; /* n_nodes * n_nodes, row = from */
    struct host_sample *samples;
    size_t n_samples;
};

/**
 * host_topo_discover() - read this machine through hwloc, without I/O devices.
 * @kernel_root: where /sys and /proc live ("" for this machine, a folder for an archived tree).
 * Return: 0, -ENOMEM, or -EIO with a sentence.
 */
int host_topo_discover(const char *kernel_root, struct host_topo *ret_host, struct errctx *ec);

/** host_topo_from_xml() / host_topo_from_synthetic() - another machine, from hwloc's forms.
 *  -EINVAL when the text is not what it should be. */
int host_topo_from_xml(const char *path, struct host_topo *ret_host, struct errctx *ec);
int host_topo_from_synthetic(const char *description, struct host_topo *ret_host,
                             struct errctx *ec);

void host_topo_fini(struct host_topo *host);

/** host_topo_distance() - by index, not by the kernel's number. */
uint32_t host_topo_distance(const struct host_topo *host, size_t from, size_t to);

/** host_topo_measured() - by index; NULL when nothing was measured, for any pair or this one. */
const struct host_link *host_topo_measured(const struct host_topo *host, size_t from, size_t to);

/** host_topo_node_index() - index of the kernel's node number, or -1. */
int host_topo_node_index(const struct host_topo *host, struct hnode_id id);

#endif
