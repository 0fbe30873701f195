/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host snapshot from hwloc: this machine, an archived /sys, an XML file or a synthetic
 * description.
 *
 * I/O devices stay out (with them discovery costs 11.6 ms of CPU, without 4.6), and so does
 * hwloc's x86 back end, which binds the thread to every CPU in turn to run CPUID there; the
 * kernel's files tell the same. Offline CPUs and those that cgroups forbid are left out by hwloc.
 *
 * Some things reach hwloc through environment variables only (host_hwloc.h). They are put back before
 * a call returns, but the environment belongs to the whole process: call while no other thread uses
 * it.
 */
#include "vmm/topology/host_topo.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hwloc.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_hwloc.h"
#include "vmm/topology/host_kernel.h"
#include "vmm/topology/host_memattrs.h"
#include "vmm/topology/host_memory.h"

static void set_from_bitmap(struct idset *s, hwloc_const_bitmap_t b)
{
    for (int i = hwloc_bitmap_first(b); i >= 0 && i < IDSET_MAX; i = hwloc_bitmap_next(b, i))
        idset_add(s, (uint32_t)i);
}

static int compare_nodes(const void *a, const void *b)
{
    const struct host_node *x = a, *y = b;

    return x->id.v < y->id.v ? -1 : x->id.v > y->id.v;
}

static int read_nodes(hwloc_topology_t topo, struct host_topo *host, struct errctx *ec)
{
    int n = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_NUMANODE);
    hwloc_obj_t obj = NULL;

    if (n <= 0)
        return errctx_set(ec, EIO, "%s: no NUMA node found", host->source);
    host->nodes = calloc((size_t)n, sizeof(*host->nodes));
    if (host->nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %d host nodes", n);
    while ((obj = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_NUMANODE, obj)) != NULL) {
        struct host_node *node = &host->nodes[host->n_nodes++];

        if (obj->os_index >= IDSET_MAX)
            return errctx_set(ec, EIO, "%s: NUMA node number %u is too high", host->source,
                              obj->os_index);
        node->id = (struct hnode_id){ obj->os_index };
        node->mem_bytes = obj->attr->numanode.local_memory;
        for (unsigned i = 0; i < obj->attr->numanode.page_types_len; i++) {
            const struct hwloc_memory_page_type_s *p = &obj->attr->numanode.page_types[i];

            if (p->size <= (hwloc_uint64_t)getpagesize() || node->n_pools == HOST_MAX_PAGE_POOLS)
                continue;
            node->pool[node->n_pools++] =
                (struct host_page_pool){ .page_bytes = p->size, .total_pages = p->count };
        }
    }
    qsort(host->nodes, host->n_nodes, sizeof(*host->nodes), compare_nodes);
    return 0;
}

/* The node a CPU belongs to: of those whose locality covers it, the one with the narrowest, so
 * that a memory-only node attached to a whole package or machine owns no CPU; then the lowest. */
static uint32_t node_of_cpu(hwloc_topology_t topo, const struct host_topo *host, hwloc_obj_t pu)
{
    hwloc_obj_t obj = NULL, best = NULL;
    int best_weight = 0;

    while ((obj = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_NUMANODE, obj)) != NULL) {
        int weight = hwloc_bitmap_weight(obj->cpuset);

        if (!hwloc_bitmap_isset(obj->cpuset, pu->os_index))
            continue;
        if (best == NULL || weight < best_weight ||
            (weight == best_weight && obj->os_index < best->os_index)) {
            best = obj;
            best_weight = weight;
        }
    }
    return best == NULL ? 0
                        : (uint32_t)host_topo_node_index(host, (struct hnode_id){ best->os_index });
}

/* The outermost cache above a CPU that holds data. */
static hwloc_obj_t last_level_cache(hwloc_obj_t pu)
{
    hwloc_obj_t llc = NULL;

    for (hwloc_obj_t o = pu->parent; o != NULL; o = o->parent)
        if (hwloc_obj_type_is_dcache(o->type))
            llc = o;
    return llc;
}

static uint32_t index_above(hwloc_topology_t topo, hwloc_obj_t pu, hwloc_obj_type_t type,
                            uint32_t otherwise)
{
    hwloc_obj_t obj = hwloc_get_ancestor_obj_by_type(topo, type, pu);

    return obj != NULL ? obj->logical_index : otherwise;
}

static uint32_t thread_of(hwloc_topology_t topo, hwloc_obj_t pu)
{
    hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topo, HWLOC_OBJ_CORE, pu);
    uint32_t before = 0;

    if (core == NULL)
        return 0;
    for (int i = hwloc_bitmap_first(core->cpuset); i >= 0 && (unsigned)i < pu->os_index;
         i = hwloc_bitmap_next(core->cpuset, i))
        before++;
    return before;
}

static int compare_cpus(const void *a, const void *b)
{
    const struct host_cpu *x = a, *y = b;

    return x->id.v < y->id.v ? -1 : x->id.v > y->id.v;
}

static int read_cpus(hwloc_topology_t topo, struct host_topo *host, struct errctx *ec)
{
    int n = hwloc_get_nbobjs_by_type(topo, HWLOC_OBJ_PU);
    hwloc_obj_t pu = NULL, llc, last = NULL;
    uint32_t llcs = 0;

    if (n <= 0)
        return errctx_set(ec, EIO, "%s: no CPU found", host->source);
    host->cpus = calloc((size_t)n, sizeof(*host->cpus));
    if (host->cpus == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %d host CPUs", n);
    while ((pu = hwloc_get_next_obj_by_type(topo, HWLOC_OBJ_PU, pu)) != NULL) {
        struct host_cpu *c = &host->cpus[host->n_cpus++];

        if (pu->os_index >= IDSET_MAX)
            return errctx_set(ec, EIO, "%s: CPU number %u is too high", host->source, pu->os_index);
        /* CPUs come in tree order, so those of one cache follow each other. */
        llc = last_level_cache(pu);
        if (host->n_cpus == 1 || llc == NULL || llc != last)
            llcs++;
        last = llc;
        c->id = (struct hcpu_id){ pu->os_index };
        c->node = node_of_cpu(topo, host, pu);
        c->package = index_above(topo, pu, HWLOC_OBJ_PACKAGE, 0);
        c->die = index_above(topo, pu, HWLOC_OBJ_DIE, c->package);
        c->core = index_above(topo, pu, HWLOC_OBJ_CORE, pu->logical_index);
        c->llc = llcs - 1;
        c->thread = thread_of(topo, pu);
        idset_add(&host->nodes[c->node].cpus, c->id.v);
    }
    qsort(host->cpus, host->n_cpus, sizeof(*host->cpus), compare_cpus);
    return 0;
}

static int read_caches(hwloc_topology_t topo, struct host_topo *host, struct errctx *ec)
{
    static const hwloc_obj_type_t types[] = { HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE,
                                              HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                              HWLOC_OBJ_L4CACHE };
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        n += (size_t)MAX(hwloc_get_nbobjs_by_type(topo, types[i]), 0);
    if (n == 0)
        return 0;
    host->caches = calloc(n, sizeof(*host->caches));
    if (host->caches == NULL)
        return errctx_set(ec, ENOMEM, "no memory for %zu host caches", n);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        hwloc_obj_t obj = NULL;

        while (host->n_caches < n &&
               (obj = hwloc_get_next_obj_by_type(topo, types[i], obj)) != NULL) {
            const struct hwloc_cache_attr_s *a = &obj->attr->cache;
            struct host_cache *c = &host->caches[host->n_caches++];

            c->level = a->depth;
            c->type = types[i] == HWLOC_OBJ_L1ICACHE  ? CACHE_INSTRUCTION
                      : types[i] == HWLOC_OBJ_L1CACHE ? CACHE_DATA
                                                      : CACHE_UNIFIED;
            c->size_bytes = a->size;
            c->line_bytes = a->linesize;
            c->ways = a->associativity > 0 ? (uint32_t)a->associativity : 0; /* -1: fully */
            set_from_bitmap(&c->cpus, obj->cpuset);
        }
    }
    return 0;
}

/* The index of the node behind a row of distances, or -1. */
static int row_index(const struct hwloc_distances_s *d, const struct host_topo *host, unsigned row)
{
    if (d->objs[row] == NULL)
        return -1;
    return host_topo_node_index(host, (struct hnode_id){ d->objs[row]->os_index });
}

/* Fill the matrix from what hwloc has; false when it is not about these nodes. */
static bool copy_distances(const struct hwloc_distances_s *d, struct host_topo *host)
{
    if (d->nbobjs != host->n_nodes)
        return false;
    for (unsigned i = 0; i < d->nbobjs; i++)
        if (row_index(d, host, i) < 0)
            return false;
    for (unsigned i = 0; i < d->nbobjs; i++)
        for (unsigned k = 0; k < d->nbobjs; k++)
            host->distances[(size_t)row_index(d, host, i) * host->n_nodes +
                            (size_t)row_index(d, host, k)] =
                (uint32_t)MIN(d->values[i * d->nbobjs + k], (hwloc_uint64_t)UINT32_MAX);
    return true;
}

static int read_distances(hwloc_topology_t topo, struct host_topo *host, struct errctx *ec)
{
    struct hwloc_distances_s *d[4] = { NULL };
    unsigned nr = ARRAY_SIZE(d);
    size_t n = host->n_nodes;

    host->distances = calloc(n * n, sizeof(*host->distances));
    if (host->distances == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the distances of %zu host nodes", n);
    for (size_t i = 0; i < n * n; i++)
        host->distances[i] = i / n == i % n ? GUEST_DISTANCE_LOCAL : GUEST_DISTANCE_REMOTE;
    if (hwloc_distances_get_by_type(topo, HWLOC_OBJ_NUMANODE, &nr, d,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) < 0)
        nr = 0;
    for (unsigned i = 0; i < MIN(nr, (unsigned)ARRAY_SIZE(d)); i++) {
        if (!host->has_distances)
            host->has_distances = copy_distances(d[i], host);
        hwloc_distances_release(topo, d[i]);
    }
    host->has_distances = host->has_distances || n == 1; /* hwloc leaves out the only one */
    return 0;
}

/* Everything but the source and the free memory. */
static int read_topology(hwloc_topology_t topo, struct host_topo *host, struct errctx *ec)
{
    int r = read_nodes(topo, host, ec);

    if (r == 0)
        r = read_cpus(topo, host, ec);
    if (r == 0)
        r = read_caches(topo, host, ec);
    return r < 0 ? r : read_distances(topo, host, ec);
}

/*
 * What we need of hwloc, the same for every source. Groups are nothing to us, but a node whose
 * CPUs are not those of a package or cache hangs on one: without it hwloc 2.9 moves the node to
 * the next larger object and gives it all CPUs of that.
 */
static int prepare(hwloc_topology_t *ret_topo, struct errctx *ec)
{
    if (hwloc_topology_init(ret_topo) < 0)
        return errctx_set(ec, ENOMEM, "hwloc: no memory for a topology");
    (void)hwloc_topology_set_components(*ret_topo, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
    (void)hwloc_topology_set_io_types_filter(*ret_topo, HWLOC_TYPE_FILTER_KEEP_NONE);
    (void)hwloc_topology_set_icache_types_filter(*ret_topo, HWLOC_TYPE_FILTER_KEEP_ALL);
    (void)hwloc_topology_set_type_filter(*ret_topo, HWLOC_OBJ_GROUP,
                                         HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
    (void)hwloc_topology_set_type_filter(*ret_topo, HWLOC_OBJ_MISC, HWLOC_TYPE_FILTER_KEEP_NONE);
    return 0;
}

/* Drop a topology that was read into @host, with the result @r. */
static int finish(hwloc_topology_t topo, int r, struct host_topo *host, struct host_topo *ret_host)
{
    hwloc_topology_destroy(topo);
    if (r < 0)
        host_topo_fini(host);
    else
        *ret_host = *host;
    return r;
}

int host_topo_discover(const char *kernel_root, struct host_topo *ret_host, struct errctx *ec)
{
    struct host_topo host = { 0 };
    hwloc_topology_t topo;
    bool archived = kernel_root[0] != '\0';
    int r;

    if (archived && access(kernel_root, R_OK | X_OK) < 0)
        return errctx_set_os(ec, EIO, "no archived machine at %s", kernel_root);
    r = prepare(&topo, ec);
    if (r < 0)
        return r;
    if (archived)
        r = host_hwloc_load_below(topo, kernel_root, ec);
    else if (host_hwloc_load(topo) < 0)
        r = errctx_set_os(ec, EIO, "hwloc cannot read this machine");
    if (r < 0) {
        hwloc_topology_destroy(topo);
        return r;
    }
    host.this_machine = !archived && hwloc_topology_is_thissystem(topo);
    if (host.this_machine)
        (void)snprintf(host.source, sizeof(host.source), "this machine");
    else if (!archived)
        (void)snprintf(host.source, sizeof(host.source), "what HWLOC_ variables name");
    else
        (void)snprintf(host.source, sizeof(host.source), "%s", kernel_root);
    archived = archived || hwloc_topology_is_thissystem(topo);
    r = finish(topo, read_topology(topo, &host, ec), &host, &host);
    if (r < 0)
        return r;
    if (archived) { /* the files below the root belong to what was read */
        host_memory_read(kernel_root, &host);
        host_hmat_read(kernel_root, &host);
        host_cpus_read(kernel_root, &host);
        host_limits_read(kernel_root, &host);
    }
    *ret_host = host;
    return 0;
}

/*
 * Does hwloc get through this file? Version 2.9 follows null pointers in files whose objects lack
 * some attributes, so a child reads it first: whatever it dies of, we can say so.
 */
static int try_xml(const char *path, struct errctx *ec)
{
    int status;
    const pid_t child = fork();

    if (child < 0)
        return errctx_set_os(ec, errno, "fork, to try %s", path);
    if (child == 0) {
        const struct rlimit no_core = { 0 };
        hwloc_topology_t topo;
        const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };

        for (size_t i = 0; i < ARRAY_SIZE(deadly); i++) /* our process's handlers are not for it */
            (void)signal(deadly[i], SIG_DFL);
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(null, STDERR_FILENO); /* what a sanitizer or hwloc has to say of it */
        _exit(prepare(&topo, NULL) < 0 || hwloc_topology_set_xml(topo, path) < 0 ||
              host_hwloc_load(topo) < 0);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return errctx_set_os(ec, errno, "wait for the child that tries %s", path);
    if (WIFSIGNALED(status))
        return errctx_set(ec, EINVAL, "%s is damaged: hwloc crashes on it (objects without "
                                      "complete_cpuset or complete_nodeset do that)", path);
    if (WEXITSTATUS(status) != 0)
        return errctx_set(ec, EINVAL, "%s is not a machine in hwloc's XML form", path);
    return 0;
}

int host_topo_from_xml(const char *path, struct host_topo *ret_host, struct errctx *ec)
{
    struct host_topo host = { 0 };
    hwloc_topology_t topo;
    int r;

    if (access(path, R_OK) < 0)
        return errctx_set_os(ec, errno, "cannot read %s", path);
    r = try_xml(path, ec);
    if (r < 0)
        return r;
    r = prepare(&topo, ec);
    if (r < 0)
        return r;
    if (hwloc_topology_set_xml(topo, path) < 0 || host_hwloc_load(topo) < 0) {
        hwloc_topology_destroy(topo);
        return errctx_set(ec, EINVAL, "%s is not a machine in hwloc's XML form", path);
    }
    (void)snprintf(host.source, sizeof(host.source), "%s", path);
    r = read_topology(topo, &host, ec);
    if (r == 0 && host_memattrs_read(topo, &host) < 0)
        r = errctx_set(ec, ENOMEM, "no memory for latencies and bandwidths");
    return finish(topo, r, &host, ret_host);
}

/*
 * How many objects the lowest level of a synthetic description asks for, at most IDSET_MAX + 1:
 * hwloc makes them all, however long that takes.
 */
static uint64_t synthetic_leaves(const char *description)
{
    uint64_t leaves = 1;

    for (const char *at = description; *at != '\0'; at++) {
        uint64_t n;

        if (*at == '(') /* attributes, sizes among them */
            at += strcspn(at, ")");
        if (*at == '\0')
            break;
        if (*at != ':' || !isdigit((unsigned char)at[1]))
            continue;
        n = strtoul(at + 1, NULL, 0);
        leaves = n > IDSET_MAX ? IDSET_MAX + 1 : MIN(leaves * n, (uint64_t)IDSET_MAX + 1);
    }
    return leaves;
}

int host_topo_from_synthetic(const char *description, struct host_topo *ret_host, struct errctx *ec)
{
    struct host_topo host = { 0 };
    hwloc_topology_t topo;
    int r;

    if (synthetic_leaves(description) > IDSET_MAX)
        return errctx_set(ec, EINVAL, "\"%s\" describes more than %d CPUs", description, IDSET_MAX);
    r = prepare(&topo, ec);
    if (r < 0)
        return r;
    if (hwloc_topology_set_synthetic(topo, description) < 0 || host_hwloc_load(topo) < 0) {
        hwloc_topology_destroy(topo);
        return errctx_set(ec, EINVAL, "\"%s\" is not a machine in hwloc's synthetic form",
                          description);
    }
    (void)snprintf(host.source, sizeof(host.source), "%s", description);
    return finish(topo, read_topology(topo, &host, ec), &host, ret_host);
}
