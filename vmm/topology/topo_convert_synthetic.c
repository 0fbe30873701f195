/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwloc's synthetic form: how many of each there are in one of the level above, so nothing may
 * differ from one to the next, and a node has CPUs. Every level is a size in CPUs; larger ones come
 * first.
 */
#include "vmm/topology/topo_convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "vmm/base/macros.h"

struct level {
    const char *name;
    uint32_t cpus; /* in one of them */
    uint64_t size; /* memory or cache; 0: none */
    const char *unit;
};

enum { MAX_LEVELS = 5 + TOPO_PLAN_MAX_CACHES };

static int check_alike(const struct topo_plan *plan, struct errctx *ec)
{
    const struct topo_apic_layout *a = &plan->apic;
    const uint32_t nodes = (uint32_t)plan->n_nodes;

    for (uint32_t i = 0; i < nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];
        const uint32_t cpus = (uint32_t)plan->n_vcpus / nodes;
        struct idset want = { 0 };

        idset_add_range(&want, i * cpus, cpus);
        if (plan->n_vcpus % nodes != 0 || !idset_equal(&n->cpus, &want))
            return errctx_set(ec, EINVAL, "hwloc's synthetic form has the same CPUs in every node, "
                              "one behind the other, which node %u has not", i);
        if (n->ram_bytes != plan->nodes[0].ram_bytes)
            return errctx_set(ec, EINVAL, "hwloc's synthetic form has the same memory in every "
                              "node, and node %u has other than node 0", i);
    }
    if ((uint64_t)a->threads_per_core * a->cores_per_complex * a->complexes_per_die *
            a->dies_per_socket * a->n_sockets != plan->n_vcpus)
        return errctx_set(ec, EINVAL, "hwloc's synthetic form has the same dies and cores "
                          "everywhere, and they differ here");
    return 0;
}

/* CPUs that share @c with CPU 0; every instance must be alike. */
static int cache_level(const struct topo_plan *plan, const struct topo_plan_cache *c,
                       struct level *ret, struct errctx *ec)
{
    static const char *const names[] = { "", "L1", "L2", "L3", "L4" };
    uint32_t first = 0;

    for (uint32_t i = 0; i < plan->n_vcpus; i++) {
        struct idset cpus = { 0 };

        topo_plan_cache_cpus(plan, c, (struct vcpu_id){ i }, &cpus);
        if (i == 0)
            first = idset_count(&cpus);
        if (idset_count(&cpus) != first)
            return errctx_set(ec, EINVAL, "hwloc's synthetic form has caches of one level alike, "
                              "and those of level %u differ", c->level);
    }
    *ret = (struct level){ c->type == CACHE_INSTRUCTION ? "L1i" : names[c->level], first,
                           c->size_bytes, "size" };
    return 0;
}

/* Stable: what is equally large stays as it was added, outer ones first. */
static void sort_levels(struct level *l, size_t n)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0 && l[k - 1].cpus < l[k].cpus; k--) {
            const struct level swap = l[k];

            l[k] = l[k - 1];
            l[k - 1] = swap;
        }
}

int topo_convert_synthetic(const struct topo_plan *plan, FILE *out, struct errctx *ec)
{
    const struct topo_apic_layout *a = &plan->apic;
    const uint32_t core = a->threads_per_core, die = core * a->cores_per_complex *
                                                     a->complexes_per_die;
    struct level l[MAX_LEVELS];
    uint32_t above = (uint32_t)plan->n_vcpus;
    size_t n = 0;
    int r = check_alike(plan, ec);

    if (r < 0)
        return r;
    l[n++] = (struct level){ "Package", die * a->dies_per_socket, 0, NULL };
    if (a->dies_per_socket > 1)
        l[n++] = (struct level){ "Die", die, 0, NULL };
    l[n++] = (struct level){ "NUMANode", (uint32_t)(plan->n_vcpus / plan->n_nodes),
                             plan->nodes[0].ram_bytes, "memory" };
    for (size_t i = plan->n_caches; i-- > 0;) {
        r = cache_level(plan, &plan->caches[i], &l[n++], ec);
        if (r < 0)
            return r;
    }
    l[n++] = (struct level){ "Core", core, 0, NULL };
    l[n++] = (struct level){ "PU", 1, 0, NULL };
    sort_levels(l, n);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out, "%s%s:%u", i > 0 ? " " : "", l[i].name, above / l[i].cpus);
        if (l[i].size > 0)
            (void)fprintf(out, "(%s=%" PRIu64 ")", l[i].unit, l[i].size);
        above = l[i].cpus;
    }
    (void)fputc('\n', out);
    return 0;
}
