/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a plan: allocate, then run the steps of plan_parts.h in order. Pure.
 */
#include "vmm/topology/topo_plan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/topology/plan_parts.h"

static int plan_alloc(const struct guest_spec *spec, const struct guest_shape *sh,
                      struct topo_plan **ret_plan, struct errctx *ec)
{
    size_t n = sh->n_nodes;
    struct topo_plan *plan = calloc(1, sizeof(*plan));

    if (plan == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the topology plan");
    plan->n_nodes = n;
    plan->n_vcpus = sh->n_cpus;
    plan->nodes = calloc(n, sizeof(*plan->nodes));
    plan->vcpus = calloc(sh->n_cpus, sizeof(*plan->vcpus));
    plan->distances = calloc(n * n, sizeof(*plan->distances));
    plan->links = spec->n_links > 0 ? calloc(n * n, sizeof(*plan->links)) : NULL;
    if (plan->nodes == NULL || plan->vcpus == NULL || plan->distances == NULL ||
        (plan->links == NULL && spec->n_links > 0)) {
        topo_plan_free(plan);
        return errctx_set(ec, ENOMEM, "no memory for the plan of %zu nodes and %u CPUs", n,
                          sh->n_cpus);
    }
    *ret_plan = plan;
    return 0;
}

/* Of a description in which every number is said. */
static int make(const struct guest_spec *spec, const struct host_topo *host,
                struct topo_plan **ret_plan, struct errctx *ec)
{
    struct topo_plan *plan = NULL;
    struct guest_shape sh;
    int r;

    r = guest_shape_resolve(spec, &sh, ec);
    if (r < 0)
        return r;
    r = plan_alloc(spec, &sh, &plan, ec);
    if (r < 0)
        return r;

    plan_nodes_fill(spec, &sh, plan);
    r = plan_apic_fill(spec, &sh, plan, ec);
    if (r < 0)
        goto err_free;
    r = plan_caches_fill(spec, host, plan, ec);
    if (r < 0)
        goto err_free;
    plan_distances_fill(spec, plan);
    plan_links_fill(spec, plan);
    r = plan_place_fill(spec, host, plan, ec);
    if (r == 0)
        r = plan_memory_fill(spec, host, plan, ec);
    if (r < 0)
        goto err_free;
    r = plan_limits_check(host, plan, ec);
    if (r < 0)
        goto err_free;
    *ret_plan = plan;
    return 0;

err_free:
    topo_plan_free(plan);
    return r;
}

static int make_sized(const struct guest_spec *spec, const struct host_topo *host,
                      struct topo_plan **ret_plan, struct errctx *ec)
{
    char text[GUEST_AUTO_BYTES];
    struct guest_spec copy;
    struct guest_auto why;
    int r = guest_auto_resolve(spec, host, &copy, &why, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "--vnuma auto");
    r = make(&copy, host, ret_plan, ec);
    guest_auto_release(&copy);
    if (r < 0)
        return r;
    (*ret_plan)->sized = why;
    plan_note(*ret_plan, "--vnuma auto: %s", guest_auto_text(&why, text, sizeof(text)));
    return 0;
}

int topo_plan_make(const struct guest_spec *spec, const struct host_topo *host,
                   struct topo_plan **ret_plan, struct errctx *ec)
{
    int r = guest_spec_check(spec, ec);

    if (r < 0)
        return r;
    return spec->n_vnuma == GUEST_VNUMA_AUTO ? make_sized(spec, host, ret_plan, ec)
                                             : make(spec, host, ret_plan, ec);
}

int topo_plan_describe_nodes(const struct topo_plan *plan, struct guest_spec *spec,
                             struct errctx *ec)
{
    int r = 0;

    if (spec->n_vnuma != GUEST_VNUMA_AUTO)
        return 0;
    spec->n_vnuma = (uint32_t)plan->n_nodes;
    spec->n_cpus = (uint32_t)plan->n_vcpus;
    if (spec->pin == GUEST_PIN_UNSAID && spec->objective == GUEST_OBJECTIVE_UNSAID)
        spec->pin = GUEST_PIN_NODE; /* which auto implies */
    for (uint32_t i = 0; i < spec->n_vnuma; i++) {
        for (uint32_t k = 0; r == 0 && k < spec->n_vnuma; k++) {
            const struct guest_distance_spec d = { i, k, plan->distances[i * plan->n_nodes + k] };

            if (i != k && d.value != GUEST_DISTANCE_REMOTE)
                r = guest_spec_add_distance(spec, &d, ec);
        }
    }
    return r;
}

void topo_plan_free(struct topo_plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->nodes);
    free(plan->vcpus);
    free(plan->distances);
    free(plan->links);
    free(plan->backings);
    free(plan->hosts);
    free(plan->host_distances);
    free(plan);
}

void topo_plan_cache_cpus(const struct topo_plan *plan, const struct topo_plan_cache *cache,
                          struct vcpu_id vcpu, struct idset *ret_cpus)
{
    uint32_t group = plan->vcpus[vcpu.v].apic_id >> cache->apic_shift;

    memset(ret_cpus, 0, sizeof(*ret_cpus));
    for (size_t i = 0; i < plan->n_vcpus; i++)
        if (plan->vcpus[i].apic_id >> cache->apic_shift == group)
            idset_add(ret_cpus, plan->vcpus[i].id.v);
}

enum { SENTENCE_MAX = 512 };

void plan_worse(struct topo_plan *plan, const char *fmt, ...)
{
    char text[SENTENCE_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    plan_note(plan, "%s", text);
    topo_note(&plan->worse, "%s", text);
}

void plan_note(struct topo_plan *plan, const char *fmt, ...)
{
    static const char more[] = "There is more to say than fits here.\n";
    size_t len = strlen(plan->notes), room = sizeof(plan->notes) - sizeof(more) - len;
    va_list ap;
    int n;

    if (len >= sizeof(more) - 1 && strcmp(plan->notes + len - (sizeof(more) - 1), more) == 0)
        return;
    va_start(ap, fmt);
    n = vsnprintf(plan->notes + len, room, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n + 1 >= room)
        memcpy(plan->notes + len, more, sizeof(more));
    else
        memcpy(plan->notes + len + n, "\n", 2);
}
