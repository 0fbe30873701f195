/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads, cores, dies and sockets of a machine, as far as a guest can have them: all cores of
 * as many threads, and counts of cores, dies and sockets that are said only where they are the
 * same everywhere. A die is what CPUs of one die, package and node are. Pure.
 */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/guest_from_host_parts.h"

/* Threads in each core; 1 with a note where cores differ. */
static int count_threads(struct from_host *f, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    CLEANUP_FREE uint32_t *threads = calloc(IDSET_MAX, sizeof(*threads));
    uint32_t min = UINT32_MAX, max = 0;

    if (threads == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count threads");
    for (size_t i = 0; i < host->n_cpus; i++)
        if (host->cpus[i].core < IDSET_MAX)
            threads[host->cpus[i].core]++;
    for (uint32_t i = 0; i < IDSET_MAX; i++)
        if (threads[i] > 0) {
            min = MIN(min, threads[i]);
            max = MAX(max, threads[i]);
        }
    f->spec->threads = min == max ? max : 1;
    if (min != max)
        topo_note(f->notes, "Cores have %u to %u threads, which are told as cores.", min, max);
    return 0;
}

static bool same_die(const struct from_host_cpu *a, const struct from_host_cpu *b)
{
    return a->node == b->node && a->cpu->package == b->cpu->package && a->cpu->die == b->cpu->die;
}

struct die_count {
    uint32_t dies, packages;
    uint32_t min_cores, max_cores;
    bool die_spans_nodes, package_repeats;
};

/* Runs of CPUs in their order: each is a die. */
static void count_dies(const struct from_host *f, struct die_count *n)
{
    const size_t n_cpus = f->host->n_cpus;
    size_t start = 0;
    struct idset packages = { 0 };

    *n = (struct die_count){ .min_cores = UINT32_MAX };
    for (size_t i = 1; i <= n_cpus; i++) {
        const struct from_host_cpu *c = &f->cpus[start];
        const uint32_t cores = (uint32_t)(i - start) / f->spec->threads;

        if (i < n_cpus && same_die(c, &f->cpus[i]))
            continue;
        n->dies++;
        n->min_cores = MIN(n->min_cores, cores);
        n->max_cores = MAX(n->max_cores, cores);
        if (start == 0 || c[-1].cpu->package != c->cpu->package) {
            n->package_repeats = n->package_repeats || idset_has(&packages, c->cpu->package);
            idset_add(&packages, c->cpu->package);
        } else if (c[-1].cpu->die == c->cpu->die) {
            n->die_spans_nodes = true;
        }
        start = i;
    }
    n->packages = idset_count(&packages);
}

/* Has every package as many dies as the others? */
static bool packages_alike(const struct from_host *f, const struct die_count *n)
{
    const uint32_t want = n->dies / n->packages;
    uint32_t have = 1;

    if (n->dies % n->packages != 0 || n->package_repeats)
        return false;
    for (size_t i = 1; i < f->host->n_cpus; i++) {
        const struct from_host_cpu *c = &f->cpus[i];

        if (c->cpu->package != c[-1].cpu->package) {
            if (have != want)
                return false;
            have = 1;
        } else if (!same_die(c, c - 1)) {
            have++;
        }
    }
    return have == want;
}

int from_host_shape(struct from_host *f, struct errctx *ec)
{
    struct guest_spec *spec = f->spec;
    struct die_count n;
    int r = count_threads(f, ec);

    if (r < 0)
        return r;
    count_dies(f, &n);
    f->max_die_cores = n.max_cores;
    spec->n_cpus = (uint32_t)f->host->n_cpus;
    spec->sockets = n.packages;
    if (n.min_cores == n.max_cores && packages_alike(f, &n)) {
        spec->cores = n.max_cores;
        spec->dies = n.dies / n.packages;
    } else if (n.package_repeats) {
        spec->sockets = 0;
        topo_note(f->notes, "A package shares a node with others and has another one, too: each "
                            "node is told as one socket.");
    }
    if (n.die_spans_nodes)
        topo_note(f->notes, "A die with several nodes is told as one die for each of them.");
    return 0;
}
