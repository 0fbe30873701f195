/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counting host nodes that are large enough, for one node, for two, and so on.
 *
 * Cores are counted before hardware threads, since two busy virtual CPUs on one core are slower
 * than on two; free memory before all memory, since what others have is not to be had. What does
 * not suffice gives way to the other in that order: memory first, for files in memory make way.
 */
#include "vmm/topology/guest_auto.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/guest_shape.h"
#include "vmm/topology/host_topo.h"

/* A question: which of what a host node has counts. */
struct count {
    bool threads, total;
};

static uint32_t cores_of(const struct host_topo *host, size_t node)
{
    struct idset cores = { 0 };

    for (size_t i = 0; i < host->n_cpus; i++)
        if (host->cpus[i].node == node)
            idset_add(&cores, host->cpus[i].core);
    return idset_count(&cores);
}

/* Pages of a pool have to be there; others can be made of any memory. */
static uint64_t memory_of(const struct guest_spec *spec, const struct host_node *n, bool total)
{
    uint64_t unit = spec->pages.n == 1 ? guest_page_bytes(spec->pages.part[0].kind) : 0;
    uint64_t free_bytes = n->mem_free_bytes + n->mem_cache_bytes;

    for (uint32_t k = 0; unit > 0 && k < n->n_pools; k++)
        if (n->pool[k].page_bytes == unit)
            return unit * (total ? n->pool[k].total_pages : n->pool[k].free_pages);
    if (unit > 0)
        return 0;
    return total || n->mem_free_bytes == 0 ? n->mem_bytes : MIN(free_bytes, n->mem_bytes);
}

struct rooms {
    size_t n;
    struct room {
        uint32_t cores, cpus;
        uint64_t free_bytes, total_bytes;
    } *room;
};

static uint32_t cpus_at(const struct room *r, struct count by)
{
    return by.threads ? r->cpus : r->cores;
}

static uint64_t memory_at(const struct room *r, struct count by)
{
    return by.total ? r->total_bytes : r->free_bytes;
}

static int rooms_make(const struct guest_spec *spec, const struct host_topo *host,
                      struct rooms *ret_rooms, struct errctx *ec)
{
    struct room *room = calloc(MAX(host->n_nodes, (size_t)1), sizeof(*room));

    if (room == NULL)
        return errctx_set(ec, ENOMEM, "no memory to size the guest's nodes");
    for (size_t h = 0; h < host->n_nodes; h++)
        room[h] = (struct room){ .cores = cores_of(host, h),
                                 .cpus = idset_count(&host->nodes[h].cpus),
                                 .free_bytes = memory_of(spec, &host->nodes[h], false),
                                 .total_bytes = memory_of(spec, &host->nodes[h], true) };
    *ret_rooms = (struct rooms){ host->n_nodes, room };
    return 0;
}

/* The guest: what is divided among its nodes. */
struct whole {
    uint32_t cores, threads; /* threads of a core */
    uint64_t memory_bytes;
};

/* Are there @n host nodes for the largest of @n nodes? */
static bool suits(const struct rooms *rooms, const struct whole *w, struct count by, uint32_t n,
                  bool cpus, bool memory)
{
    uint32_t cores = (uint32_t)guest_share(w->cores, n, 0), there = 0;
    uint64_t bytes = guest_share(w->memory_bytes / GUEST_PAGE_BYTES, n, 0) * GUEST_PAGE_BYTES;

    for (size_t h = 0; h < rooms->n; h++) {
        const struct room *r = &rooms->room[h];
        /* More threads than a core of the host has are CPUs like others. */
        const bool holds = cores * w->threads <= r->cpus && (by.threads || cores <= r->cores);

        there += (!cpus || holds) && (!memory || bytes <= memory_at(r, by)) && r->cpus > 0;
    }
    return there >= n;
}

/* The description with @n nodes: do the other counts allow it? */
static bool allowed(const struct guest_spec *spec, uint32_t n, uint32_t n_cpus)
{
    struct guest_spec copy = *spec;

    copy.n_vnuma = n;
    copy.n_cpus = n_cpus;
    return guest_spec_check(&copy, NULL) == 0;
}

/* The least number that suits, or 0. */
static uint32_t least(const struct rooms *rooms, const struct whole *w, struct count by, bool cpus,
                      bool memory)
{
    for (uint32_t n = 1; n <= MIN(rooms->n, (size_t)GUEST_MAX_VNODES); n++)
        if (suits(rooms, w, by, n, cpus, memory))
            return n;
    return 0;
}

static uint32_t choose(const struct guest_spec *spec, const struct rooms *rooms,
                       const struct whole *w, struct count by)
{
    for (uint32_t n = 1; n <= MIN(rooms->n, (size_t)GUEST_MAX_VNODES); n++)
        if (suits(rooms, w, by, n, true, true) && allowed(spec, n, w->cores * w->threads))
            return n;
    return 0;
}

/* The guest is too large anyway: as many nodes as there are places with CPUs. */
static uint32_t choose_most(const struct guest_spec *spec, const struct rooms *rooms,
                            const struct whole *w)
{
    uint32_t n = 0;

    for (size_t h = 0; h < rooms->n; h++)
        n += rooms->room[h].cpus > 0 && rooms->room[h].total_bytes > 0;
    for (n = MIN(n, (uint32_t)GUEST_MAX_VNODES); n > 1; n--)
        if (allowed(spec, n, w->cores * w->threads))
            return n;
    return 1;
}

/* Some sources do not tell what is free; then all of it counts. */
static bool free_is_known(const struct rooms *rooms)
{
    for (size_t h = 0; h < rooms->n; h++)
        if (rooms->room[h].free_bytes != rooms->room[h].total_bytes)
            return true;
    return false;
}

static void decide(const struct guest_spec *spec, const struct rooms *rooms, const struct whole *w,
                   struct guest_auto *why)
{
    static const struct count ways[] = {
        { false, false }, { false, true }, { true, false }, { true, true }
    };
    struct count by = ways[0];

    *why = (struct guest_auto){ .memory_bytes = w->memory_bytes };
    for (size_t i = 0; why->nodes == 0 && i < ARRAY_SIZE(ways); i++) {
        by = ways[i];
        why->nodes = choose(spec, rooms, w, by);
    }
    if (why->nodes == 0) {
        why->too_large = true;
        why->nodes = choose_most(spec, rooms, w);
    }
    why->by_threads = by.threads;
    why->by_total = by.total || !free_is_known(rooms);
    why->cpus = by.threads ? w->cores * w->threads : w->cores;
    why->by_cpus = least(rooms, w, by, true, false);
    why->by_memory = least(rooms, w, by, false, true);
    for (size_t h = 0; h < rooms->n; h++) {
        why->host_cpus = MAX(why->host_cpus, cpus_at(&rooms->room[h], by));
        why->host_memory_bytes = MAX(why->host_memory_bytes, memory_at(&rooms->room[h], by));
    }
}

static uint32_t measured_local(const struct host_topo *host)
{
    uint32_t local = UINT32_MAX;

    for (size_t i = 0; i < host->n_nodes; i++) {
        const struct host_link *own = host_topo_measured(host, i, i);

        if (own != NULL && own->latency_ps > 0)
            local = MIN(local, own->latency_ps);
    }
    return local;
}

/* A pair's distance by its measured latency, rounded up; 0 where there is none. */
static uint64_t measured(const struct host_topo *host, size_t from, size_t to, uint32_t local)
{
    const struct host_link *link = host_topo_measured(host, from, to);

    if (link == NULL || local == UINT32_MAX)
        return 0;
    return ((uint64_t)link->latency_ps * GUEST_DISTANCE_LOCAL + local - 1) / local;
}

/* What holds wherever the nodes go: the longest distance between host nodes with CPUs, so that
 * the guest is never told less than is true. */
static uint32_t farthest(const struct host_topo *host)
{
    uint32_t most = GUEST_DISTANCE_LOCAL + 1, local = UINT32_MAX;
    const uint32_t local_ps = measured_local(host);

    if (!host->has_distances)
        return GUEST_DISTANCE_REMOTE;
    for (size_t i = 0; i < host->n_nodes; i++)
        local = MIN(local, MAX(host_topo_distance(host, i, i), 1u));
    for (size_t i = 0; i < host->n_nodes; i++) {
        for (size_t k = 0; k < host->n_nodes; k++) {
            uint64_t d = ((uint64_t)host_topo_distance(host, i, k) * GUEST_DISTANCE_LOCAL +
                          local - 1) / local;

            d = MAX(d, measured(host, i, k, local_ps));

            if (i != k && !idset_empty(&host->nodes[i].cpus) &&
                !idset_empty(&host->nodes[k].cpus))
                most = (uint32_t)MAX(d, (uint64_t)most);
        }
    }
    return MIN(most, (uint32_t)GUEST_DISTANCE_MAX);
}

static int tell_distances(const struct host_topo *host, struct guest_spec *copy, struct errctx *ec)
{
    uint32_t far = farthest(host);
    int r = 0;

    for (uint32_t i = 0; far != GUEST_DISTANCE_REMOTE && i < copy->n_vnuma; i++) {
        for (uint32_t k = 0; r == 0 && k < copy->n_vnuma; k++) {
            const struct guest_distance_spec d = { i, k, far };

            r = i == k ? 0 : guest_spec_add_distance(copy, &d, ec);
        }
    }
    return r;
}

int guest_auto_resolve(const struct guest_spec *spec, const struct host_topo *host,
                       struct guest_spec *ret_spec, struct guest_auto *ret_why, struct errctx *ec)
{
    struct guest_spec copy = *spec;
    struct guest_shape *sh = malloc(sizeof(*sh)); /* tens of KiB */
    struct rooms rooms = { 0 };
    struct guest_auto why;
    struct whole w;
    int r;

    if (sh == NULL)
        return errctx_set(ec, ENOMEM, "no memory to size the guest's nodes");
    copy.distances = NULL; /* --vnuma auto and --distance exclude each other */
    copy.n_distances = 0;
    r = guest_shape_resolve(&copy, sh, ec);
    w = (struct whole){ sh->n_cpus / MAX(sh->threads, 1u), sh->threads, sh->ram_bytes[0] };
    free(sh);
    if (r == 0)
        r = rooms_make(spec, host, &rooms, ec);
    if (r < 0)
        return r;
    decide(spec, &rooms, &w, &why);
    free(rooms.room);
    copy.n_vnuma = why.nodes;
    copy.n_cpus = w.cores * w.threads;
    r = tell_distances(host, &copy, ec);
    if (r == 0)
        r = guest_spec_check(&copy, ec);
    if (r < 0) {
        guest_auto_release(&copy);
        return r;
    }
    *ret_spec = copy;
    *ret_why = why;
    return 0;
}

void guest_auto_release(struct guest_spec *copy)
{
    free(copy->distances);
    copy->distances = NULL;
    copy->n_distances = 0;
}

const char *guest_auto_text(const struct guest_auto *why, char *buf, size_t size)
{
    const char *cpus = why->by_threads ? "hardware threads" : "cores";
    const char *memory = why->by_total ? "memory" : "free memory";
    char guest[32], host[32];

    (void)units_format_human(why->memory_bytes, guest, sizeof(guest));
    (void)units_format_human(why->host_memory_bytes, host, sizeof(host));
    if (why->too_large)
        (void)snprintf(buf, size,
                       "%u node%s: %u %s and %s fit on no set of this host's nodes, which have up "
                       "to %u %s and %s each.",
                       why->nodes, why->nodes == 1 ? "" : "s", why->cpus, cpus, guest,
                       why->host_cpus, cpus, host);
    else if (why->nodes == 1)
        (void)snprintf(buf, size,
                       "one node: %u %s and %s fit on one host node (up to %u %s and %s of %s).",
                       why->cpus, cpus, guest, why->host_cpus, cpus, host, memory);
    else
        (void)snprintf(buf, size,
                       "%u nodes: %u by CPUs (%u %s, a host node has up to %u), %u by memory (%s, "
                       "a host node has up to %s of %s).",
                       why->nodes, why->by_cpus, why->cpus, cpus, why->host_cpus, why->by_memory,
                       guest, host, memory);
    return buf;
}
