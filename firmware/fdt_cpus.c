/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /cpus: a node per vCPU in the order of their numbers, which is how Linux numbers them, the
 * caches behind them, and cpu-map, which says their places.
 *
 * The map's names count from 0 without gaps within each parent, for Linux looks for them one after
 * the other; the plan's places may have gaps. The plan's dies and complexes are both clusters.
 */
#include <errno.h>
#include <stdlib.h>

#include "firmware/fdt_parts.h"
#include "vmm/base/macros.h"

struct place {
    uint32_t apic_id, vcpu;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    return x->apic_id < y->apic_id ? -1 : x->apic_id > y->apic_id;
}

static int sort_by_place(const struct topo_plan *plan, uint32_t *ret_order)
{
    struct place *places = calloc(plan->n_vcpus, sizeof(*places));

    if (places == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < plan->n_vcpus; i++)
        places[i] = (struct place){ plan->vcpus[i].apic_id, i };
    qsort(places, plan->n_vcpus, sizeof(*places), compare_places);
    for (size_t i = 0; i < plan->n_vcpus; i++)
        ret_order[i] = places[i].vcpu;
    free(places);
    return 0;
}

static void order_fini(struct fdt_cpu_order *order)
{
    free(order->by_place);
    free(order->group);
}

static int order_make(const struct topo_plan *plan, struct fdt_cpu_order *order, struct errctx *ec)
{
    const size_t n = plan->n_vcpus;

    *order = (struct fdt_cpu_order){ .plan = plan };
    for (size_t i = 0; i < plan->n_caches; i++)
        if (plan->caches[i].level > 1 &&
            (i == 0 || plan->caches[i].level != plan->caches[i - 1].level))
            order->level[order->n_levels++] = &plan->caches[i];
    order->by_place = calloc(n, sizeof(*order->by_place));
    order->group = calloc(n * MAX(order->n_levels, (size_t)1), sizeof(*order->group));
    if (order->by_place == NULL || order->group == NULL || sort_by_place(plan, order->by_place) < 0) {
        order_fini(order);
        return errctx_set(ec, ENOMEM, "no memory for the device tree");
    }
    for (size_t level = 0; level < order->n_levels; level++) {
        const uint32_t shift = order->level[level]->apic_shift;
        uint32_t group = 0, last = 0;

        for (size_t i = 0; i < n; i++) {
            const uint32_t vcpu = order->by_place[i], at = plan->vcpus[vcpu].apic_id >> shift;

            group += i > 0 && at != last;
            last = at;
            order->group[level * n + vcpu] = group;
        }
    }
    return 0;
}

static void append_cpu(struct fdt_out *w, const struct fdt_arch *arch,
                       const struct fdt_cpu_order *order, uint32_t vcpu)
{
    const uint32_t reg = arch->cpu_reg((struct vcpu_id){ vcpu });

    fdt_out_begin(w, "cpu@%x", reg);
    fdt_out_text(w, "device_type", "cpu");
    arch->cpu(w);
    fdt_out_u32(w, "reg", reg);
    fdt_out_u32(w, "numa-node-id", order->plan->vcpus[vcpu].vnode.v);
    fdt_caches_of_cpu(w, order, vcpu);
    fdt_out_u32(w, "phandle", FDT_HANDLE_CPU + vcpu);
    fdt_out_end(w);
}

/* How many levels of the map (socket, cluster, core) the CPU begins anew; 0: it is the next thread
 * of its core. */
static unsigned begins(const struct topo_plan_vcpu *v, const struct topo_plan_vcpu *before)
{
    if (before == NULL || v->socket != before->socket)
        return 3;
    if (v->die != before->die || v->complex != before->complex)
        return 2;
    return v->core != before->core ? 1 : 0;
}

static void append_map(struct fdt_out *w, const struct fdt_cpu_order *order)
{
    static const char *const names[] = { "thread", "core", "cluster", "socket" };
    const struct topo_plan *plan = order->plan;
    const bool threads = plan->apic.threads_per_core > 1;
    const struct topo_plan_vcpu *before = NULL;
    uint32_t count[ARRAY_SIZE(names)] = { 0 };

    fdt_out_begin(w, "cpu-map");
    for (size_t i = 0; i < plan->n_vcpus; i++) {
        const struct topo_plan_vcpu *v = &plan->vcpus[order->by_place[i]];
        const unsigned anew = begins(v, before);

        for (unsigned k = 0; before != NULL && k < anew; k++)
            fdt_out_end(w);
        for (unsigned k = anew; k > 0; k--) {
            fdt_out_begin(w, "%s%u", names[k], count[k]++);
            count[k - 1] = 0;
        }
        if (threads)
            fdt_out_begin(w, "%s%u", names[0], count[0]++);
        fdt_out_u32(w, "cpu", FDT_HANDLE_CPU + v->id.v);
        if (threads)
            fdt_out_end(w);
        before = v;
    }
    for (unsigned k = 0; before != NULL && k < 3; k++)
        fdt_out_end(w);
    fdt_out_end(w);
}

int fdt_cpus_append(struct fdt_out *w, const struct fdt_arch *arch, const struct fdt_input *in,
                    struct errctx *ec)
{
    struct fdt_cpu_order order;
    int r = fdt_caches_check(in->plan, ec);

    if (r == 0)
        r = order_make(in->plan, &order, ec);
    if (r < 0)
        return r;
    fdt_out_begin(w, "cpus");
    fdt_out_u32(w, "#address-cells", 1);
    fdt_out_u32(w, "#size-cells", 0);
    for (uint32_t i = 0; i < in->plan->n_vcpus; i++)
        append_cpu(w, arch, &order, i);
    fdt_caches_append(w, &order);
    append_map(w, &order);
    fdt_out_end(w);
    order_fini(&order);
    return 0;
}
