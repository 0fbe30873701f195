/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prefill ours|pool MIB NODE... - take MIB of memory bound to each host node, at once.
 *
 * "ours" does it as the VMM does before a start, with threads on the CPUs of the node being filled;
 * "pool" has as many threads, which run anywhere and take the next piece of any node. Both touch
 * the same pages of the same memory files under the same policy. Prints one line: seconds, threads,
 * bytes, and the part of the pieces that were touched on the node itself. For the last one the call
 * that takes a piece is wrapped (-Wl,--wrap=backing_take), on both sides.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory/backing.h"
#include "memory/guest_mem.h"
#include "memory/mem_fill.h"
#include "memory/test/test_map.h"
#include "vmm/base/idset.h"
#include "vmm/base/macros.h"

enum { NODES = 128, PIECE_BYTES = 64 * MIB };

static struct {
    struct topo_plan_backing backings[NODES];
    struct topo_plan_node nodes[NODES];
    struct topo_plan_host hosts[NODES];
    struct topo_plan plan;
    struct guest_mem *mem;
    size_t pieces_per_node;
    _Atomic size_t next, taken, local;
} g;

int __wrap_backing_take(const struct backing *b, size_t off, size_t len_bytes);
int __real_backing_take(const struct backing *b, size_t off, size_t len_bytes);

int __wrap_backing_take(const struct backing *b, size_t off, size_t len_bytes)
{
    int r = __real_backing_take(b, off, len_bytes);

    atomic_fetch_add(&g.taken, 1);
    if (idset_has(&g.hosts[b->plan->vnode.v].cpus, (uint32_t)sched_getcpu()))
        atomic_fetch_add(&g.local, 1);
    return r;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "prefill: %s\n", what);
    exit(1);
}

static void read_cpus(uint32_t node, struct idset *cpus)
{
    char path[96], list[4096] = "";
    FILE *f;

    (void)snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", node);
    f = fopen(path, "re");
    if (f == NULL || (fgets(list, sizeof(list), f) == NULL && ferror(f)))
        die(path);
    (void)fclose(f);
    list[strcspn(list, "\n")] = '\0';
    if (idset_parse(list, cpus, NULL) < 0)
        die(path);
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *pool_thread(void *arg)
{
    const size_t all = g.pieces_per_node * g.plan.n_nodes;

    (void)arg;
    for (size_t i = atomic_fetch_add(&g.next, 1); i < all; i = atomic_fetch_add(&g.next, 1)) {
        const size_t node = i / g.pieces_per_node, off = i % g.pieces_per_node * PIECE_BYTES;
        const struct backing *b = guest_mem_backing(g.mem, node);

        if (backing_take(b, off, MIN((size_t)PIECE_BYTES, b->len_bytes - off)) < 0)
            die("memory cannot be taken");
    }
    return NULL;
}

/* As many as ours are: see threads_for() in memory/mem_fill.c. */
static size_t count_threads(void)
{
    size_t n = 0;

    for (size_t i = 0; i < g.plan.n_nodes; i++) {
        size_t here = MIN((size_t)idset_count(&g.hosts[i].cpus), (size_t)FILL_THREADS_NODE);

        here = MIN(here, (size_t)FILL_THREADS_ALL / g.plan.n_nodes);
        n += MIN(MAX(here, (size_t)1), g.pieces_per_node);
    }
    return n;
}

static void run_pool(size_t n)
{
    pthread_t threads[NODES * FILL_THREADS_NODE];

    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, pool_thread, NULL) != 0)
            die("no thread");
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
}

static void make_plan(uint64_t bytes, char **nodes, int n)
{
    for (int i = 0; i < n; i++) {
        const uint32_t node = (uint32_t)strtoul(nodes[i], NULL, 10);

        g.nodes[i] = (struct topo_plan_node){ .vnode = { (uint32_t)i }, .ram_bytes = bytes };
        g.backings[i] = (struct topo_plan_backing){ .vnode = { (uint32_t)i }, .len_bytes = bytes,
                                                    .policy = GUEST_POLICY_BIND,
                                                    .prealloc = true };
        idset_add(&g.backings[i].host_nodes, node);
        g.hosts[i].id.v = node;
        read_cpus(node, &g.hosts[i].cpus);
    }
    g.plan = (struct topo_plan){ .nodes = g.nodes, .n_nodes = (size_t)n, .backings = g.backings,
                                 .n_backings = (size_t)n, .hosts = g.hosts, .n_hosts = (size_t)n };
    g.pieces_per_node = (bytes + PIECE_BYTES - 1) / PIECE_BYTES;
}

int main(int argc, char **argv)
{
    const struct guest_mem_commit how = { .threads = true };
    const bool ours = argc > 3 && strcmp(argv[1], "ours") == 0;
    struct mem_layout *layout;
    struct errctx ec = { 0 };
    double start;
    size_t n;

    if (argc < 4 || argc - 3 > NODES || (!ours && strcmp(argv[1], "pool") != 0))
        die("usage: prefill ours|pool MIB NODE...");
    make_plan(strtoull(argv[2], NULL, 10) * MIB, argv + 3, argc - 3);
    if (mem_layout_make(&test_map, &g.plan, 46, &layout, &ec) < 0 ||
        guest_mem_new(&g.plan, layout, &g.mem, &ec) < 0)
        die(ec.msg);
    n = count_threads();
    start = now();
    if (!ours)
        run_pool(n);
    else if (guest_mem_commit(g.mem, &how, &ec) < 0)
        die(ec.msg);
    printf("%.6f %zu %llu %.4f\n", now() - start, n,
           (unsigned long long)g.nodes[0].ram_bytes * g.plan.n_nodes,
           (double)g.local / (double)g.taken);
    guest_mem_free(g.mem);
    mem_layout_free(layout);
    return 0;
}
