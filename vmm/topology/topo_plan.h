/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topology plan: everything the guest is told about its CPUs, caches, nodes and distances, and
 * where its nodes and vCPUs live on this host.
 *
 * One plan feeds everything: memory layout, ACPI tables, CPUID leaves, PCI root bridges and
 * thread placement read it, and no other code derives an APIC id, a node number, a cache
 * sharing or a distance. That is what keeps SRAT, CPUID and real placement in agreement. A plan
 * is computed once, before anything is allocated, and is const afterwards, so its fields are
 * open for reading; only topo_plan_make() writes them, and
 * machine_plan_make() the host CPUs where places are asked for.
 *
 * APIC ids. From the low end: thread, core, complex (the cores that share a last-level cache,
 * present only where that is less than a die), die, socket. Every field is as wide as its
 * largest parent needs (Intel SDM vol. 3, 9.9.3; AMD APM vol. 3, E.5), so an id says by its
 * shifted value which core, complex, die and socket a vCPU belongs to, and caches are shared by
 * the vCPUs whose ids agree above the cache's shift.
 */
#ifndef VMM_TOPOLOGY_TOPO_PLAN_H
#define VMM_TOPOLOGY_TOPO_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"
#include "vmm/topology/guest_auto.h"
#include "vmm/topology/guest_spec.h"
#include "vmm/topology/host_topo.h"
#include "vmm/topology/topo_notes.h"

struct topo_plan_node {
    struct vnode_id vnode;
    uint64_t ram_bytes;        /* multiple of 2 MiB; may be 0 */
    uint64_t hotplug_bytes;    /* multiple of 2 GiB; may be 0 */
    struct idset cpus;         /* vCPU indices; may be empty */
    struct idset host_nodes;   /* kernel's numbers; empty: not bound */
    bool generic_initiator;    /* a device that reaches memory like CPUs do */
    struct vnode_id initiator; /* node whose CPUs or device are nearest; itself when it has CPUs */
    bool has_initiator;        /* false: memory-only and none named */
    uint32_t n_mem_caches;
    struct guest_mem_cache_spec mem_cache[GUEST_MAX_MEM_CACHES];
};

/*
 * A piece of a node's memory that is of one kind: one memory file, made as this says. A node's
 * pieces follow each other without gaps, larger pages first.
 */
struct topo_plan_backing {
    struct vnode_id vnode;
    uint64_t off, len_bytes; /* within the node's memory; multiples of the page and of 2 MiB */
    enum guest_page_kind pages;
    enum guest_policy policy; /* NONE: nothing is asked of the host's kernel; never AUTO */
    struct idset host_nodes;  /* empty with NONE and LOCAL */
    uint64_t chunk_bytes; /* 0, or what a host node gets in its turn (interleaved huge pages,
                             weights): bound piece by piece, see topo_plan_backing_home() */
    struct guest_weights weights; /* n 0: all weigh the same */
    bool reserve, prealloc;
};

/* A node of the host, as far as filling and moving memory need it. */
struct topo_plan_host {
    struct hnode_id id;
    struct idset cpus; /* online and allowed; may be empty */
};

struct topo_plan_vcpu {
    struct vcpu_id id;
    struct vnode_id vnode;
    uint32_t socket;  /* machine-wide */
    uint32_t die;     /* within the socket */
    uint32_t complex; /* within the die */
    uint32_t core;    /* within the complex */
    uint32_t thread;  /* within the core */
    uint32_t apic_id;
    bool later;             /* not there at the start: it is plugged in, if at all */
    struct idset host_cpus; /* empty: not pinned */
};

/* One kind of cache; its instances are the groups of vCPUs that agree in apic_id >> apic_shift. */
struct topo_plan_cache {
    uint32_t level;
    enum cache_type type;
    uint64_t size_bytes;
    uint32_t line_bytes, ways, sets; /* size = line * ways * sets */
    uint32_t apic_shift;
};

enum { TOPO_PLAN_MAX_CACHES = 8 };

/* Widths and shifts of the APIC id fields, in bits from the low end. */
struct topo_apic_layout {
    uint32_t core_shift;    /* threads below */
    uint32_t complex_shift; /* cores below; == die_shift when a die is one complex */
    uint32_t die_shift;
    uint32_t socket_shift;
    uint32_t threads_per_core, cores_per_complex, complexes_per_die, dies_per_socket;
    uint32_t n_sockets;
};

/* Is there anybody in @node who reaches memory: a CPU, or a device that SRAT tells of? */
static inline bool topo_plan_node_initiates(const struct topo_plan_node *node)
{
    return node->generic_initiator || !idset_empty(&node->cpus);
}

/* HMAT matrix entry, as the guest reads it: 0 where nothing was said. */
struct topo_plan_link {
    uint64_t latency_ns;            /* a multiple of the plan's unit, at most ... */
    uint64_t bandwidth_bytes_per_s; /* ... GUEST_LINK_ENTRY_MAX of them; this one, too */
};

struct topo_plan {
    struct topo_apic_layout apic;
    size_t n_nodes, n_vcpus, n_caches, n_backings, n_hosts;
    struct topo_plan_node *nodes; /* index == vnode */
    struct topo_plan_vcpu *vcpus; /* index == vcpu id */
    /* By node and offset. A node that has memory and none listed is one piece of ANY pages, bound
     * to host_nodes when there are any. */
    struct topo_plan_backing *backings;
    struct topo_plan_host *hosts;
    uint32_t *host_distances; /* n_hosts * n_hosts, row = from, by index; 10 local; the firmware's, or
                                 measured ones where machine_plan_make() has them */
    struct topo_plan_cache caches[TOPO_PLAN_MAX_CACHES]; /* by level, data before instruction */
    uint32_t *distances;          /* n_nodes * n_nodes, row = from; always complete */
    struct topo_plan_link *links; /* n_nodes * n_nodes; NULL when no --link was given */
    uint64_t latency_unit_ns;     /* 0: no link has a latency */
    uint64_t bandwidth_unit_mib;  /* per second; 0: no link has a bandwidth */
    uint32_t max_apic_id;
    bool one_file; /* nodes' normal memory is parts of one file, for processes that map few files */
    struct guest_auto sized; /* --vnuma auto: why there are so many nodes; nodes 0 without it */
    /* Sentences for the user: what was completed or rounded, one per line. May be "". */
    char notes[1024];
    /* Of those, what is not as it was asked for or as the guest is told: for who sees no plan. */
    struct topo_notes worse;
};

/**
 * topo_plan_make() - decide what the guest sees and where it lives.
 * @spec:     what was asked; guest_spec_check() is called on it first.
 * @host:     one snapshot of the host; not kept after the call.
 * @ret_plan: receives the plan; untouched on failure. Release with topo_plan_free().
 *
 * Pure: no system calls, no globals, the same inputs give the same plan. Any thread.
 *
 * Return: 0, or
 *   -EINVAL  the description contradicts itself (from guest_spec_check());
 *   -ENOENT  a named host node does not exist, or is not this process's to use;
 *   -ENOSPC  a node's memory exceeds all the memory of the host nodes it is bound to, or what
 *            they have free where it is to be there at the start, or the guest's the limit of a
 *            cgroup;
 *   -ERANGE  the APIC ids do not fit;
 *   -ENOMEM  no memory for the plan itself.
 */
int topo_plan_make(const struct guest_spec *spec, const struct host_topo *host,
                   struct topo_plan **ret_plan, struct errctx *ec);

/**
 * topo_plan_describe_caches() - complete @spec, from which @plan was made, by the caches that the
 * plan took from its host, so that it plans the same ones on any host.
 *
 * Sharing is not among what a host decides and stays as it was said. Where the host's caches were
 * not known there is nothing to say, and @spec stays as it is.
 */
void topo_plan_describe_caches(const struct topo_plan *plan, struct guest_spec *spec);

/**
 * topo_plan_describe_nodes() - complete @spec, from which @plan was made with --vnuma auto, by the
 * number of nodes, CPUs and distances that came of it, so that it plans the same ones on any host.
 * Does nothing where the number was said. Return: 0 or -ENOMEM.
 */
int topo_plan_describe_nodes(const struct topo_plan *plan, struct guest_spec *spec,
                             struct errctx *ec);

/** topo_plan_free() - release a plan. NULL is allowed. */
void topo_plan_free(struct topo_plan *plan);

/** topo_plan_backing_home() - the host node that the chunk at @off of @backing is bound to; only
 *  where chunk_bytes is not 0. */
struct hnode_id topo_plan_backing_home(const struct topo_plan_backing *backing, uint64_t off);

/** topo_plan_cache_cpus() - the vCPUs that share @cache with @vcpu, itself included. */
void topo_plan_cache_cpus(const struct topo_plan *plan, const struct topo_plan_cache *cache,
                          struct vcpu_id vcpu, struct idset *ret_cpus);

#endif
