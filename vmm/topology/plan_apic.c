/* SPDX-License-Identifier: Apache-2.0 */
/*
 * APIC ids: fields, widths, and each vCPU's place.
 *
 * Nodes are walked by their lowest CPU and a node's CPUs by number, threads fastest, so vCPU 0
 * (which KVM starts as the bootstrap processor) always gets APIC id 0. Every field is as wide
 * as its fullest parent needs, also where other parents are smaller: ids then have gaps, which
 * the architecture allows, while a narrower field would make two vCPUs one. Pure.
 */
#include "vmm/topology/plan_parts.h"

#include <errno.h>

#include "vmm/base/checked.h"
#include "vmm/topology/guest_caches.h"
#include "vmm/topology/topo_limits.h"

static void fill_layout(const struct guest_spec *spec, const struct guest_shape *sh,
                        struct topo_apic_layout *a)
{
    a->threads_per_core = sh->threads;
    a->cores_per_complex = guest_caches_complex(spec, sh);
    a->complexes_per_die = sh->max_cores / a->cores_per_complex;
    a->dies_per_socket = sh->dies_per_socket;
    a->n_sockets = sh->n_sockets;
    a->core_shift = ceil_log2(a->threads_per_core);
    a->complex_shift = a->core_shift + ceil_log2(a->cores_per_complex);
    a->die_shift = a->complex_shift + ceil_log2(a->complexes_per_die);
    a->socket_shift = a->die_shift + ceil_log2(a->dies_per_socket);
}

/* Give the next CPUs of @node, from *cpu on, to die @d. */
static void fill_die(const struct guest_spec *spec, const struct guest_die *d,
                     struct topo_plan *plan, uint32_t *cpu)
{
    const struct topo_apic_layout *a = &plan->apic;
    const struct topo_plan_node *node = &plan->nodes[d->node];

    for (uint32_t i = 0; i < d->cores * a->threads_per_core; i++) {
        uint32_t core = i / a->threads_per_core;
        struct topo_plan_vcpu *v;

        *cpu = idset_next(&node->cpus, *cpu);
        v = &plan->vcpus[*cpu];
        v->id = (struct vcpu_id){ *cpu };
        v->vnode = node->vnode;
        v->later = d->node < spec->n_nodes && idset_has(&spec->nodes[d->node].later_cpus, *cpu);
        v->socket = d->socket;
        v->die = d->die;
        v->complex = core / a->cores_per_complex;
        v->core = core % a->cores_per_complex;
        v->thread = i % a->threads_per_core;
        v->apic_id = v->socket << a->socket_shift | v->die << a->die_shift |
                     v->complex << a->complex_shift | v->core << a->core_shift | v->thread;
        if (v->apic_id > plan->max_apic_id)
            plan->max_apic_id = v->apic_id;
        (*cpu)++;
    }
}

/* High CPUs in a node with a low one get low ids. */
static int check_numbers(const struct topo_plan *plan, struct errctx *ec)
{
    for (size_t i = TOPO_NARROW_CPU + 1; i < plan->n_vcpus; i++)
        if (plan->vcpus[i].apic_id <= TOPO_NARROW_APIC_ID)
            return errctx_set(ec, EINVAL,
                              "CPU %zu would have APIC id %u, and guests cannot be told of a CPU "
                              "above %d with an id up to %d: give node %u, which has low CPUs "
                              "too, neighbouring ones",
                              i, plan->vcpus[i].apic_id, TOPO_NARROW_CPU, TOPO_NARROW_APIC_ID,
                              plan->vcpus[i].vnode.v);
    return 0;
}

static void note_later(struct topo_plan *plan)
{
    struct idset later = { 0 };
    char list[128];

    for (uint32_t i = 0; i < plan->n_vcpus; i++)
        if (plan->vcpus[i].later)
            idset_add(&later, i);
    if (!idset_empty(&later))
        plan_note(plan, "CPUs %s are not there at the start: ctl cpu plugs them.",
                  idset_format(&later, list, sizeof(list)));
}

int plan_apic_fill(const struct guest_spec *spec, const struct guest_shape *sh,
                   struct topo_plan *plan, struct errctx *ec)
{
    uint32_t cpu = 0;

    fill_layout(spec, sh, &plan->apic);
    for (uint32_t i = 0; i < sh->n_dies; i++) {
        if (i == 0 || sh->die[i].node != sh->die[i - 1].node)
            cpu = 0;
        fill_die(spec, &sh->die[i], plan, &cpu);
    }
    if (plan->max_apic_id > TOPO_MAX_APIC_ID)
        return errctx_set(ec, ERANGE,
                          "APIC ids would reach %u, interrupts can address at most %d: %u sockets "
                          "with up to %u dies of up to %u cores leave too many gaps; make the "
                          "nodes more equal or --sockets fewer",
                          plan->max_apic_id, TOPO_MAX_APIC_ID, sh->n_sockets, sh->dies_per_socket,
                          sh->max_cores);
    if (check_numbers(plan, ec) < 0)
        return -EINVAL;
    note_later(plan);
    if (sh->min_cores != sh->max_cores)
        plan_note(plan, "Dies are not all equal: they have %u to %u cores.", sh->min_cores,
                  sh->max_cores);
    if (sh->n_dies % sh->n_sockets != 0 || sh->n_dies / sh->n_sockets != sh->dies_per_socket)
        plan_note(plan, "Sockets are not all equal: %u dies in %u sockets.", sh->n_dies,
                  sh->n_sockets);
    else if (sh->n_sockets < sh->n_cpu_nodes && spec->dies == 0)
        plan_note(plan, "Each socket holds %u nodes, one die or more for each.",
                  sh->n_cpu_nodes / sh->n_sockets);
    return 0;
}
