/* SPDX-License-Identifier: Apache-2.0 */
/* From a plan to a placement problem and back. Pure. */
#include "vmm/machine/machine_plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vcpu/policy/place.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_arch.h"
#include "vmm/topology/guest_memory_check.h"
#include "vmm/topology/ledger.h"
#include "vmm/topology/plan_parts.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum {
    CPU_MILLI = 1000,
    LLC_LEVEL = 3,
    BUDGET = 1000, /* a machine starts once: rather more than the planner's default */
};

/* What one planning needs and gives back at its end. */
struct planning {
    struct host_topo topo; /* the host with all memory free; arrays but nodes are borrowed */
    struct place_host *host;
    struct place_vnode *vnodes;
    struct place_vcpu *vcpus;
    struct idset *cpus; /* per vCPU */
    struct idset taken;
    uint64_t page_bytes; /* of all of the guest's memory; 0: of no huge size, or several */
    bool pools; /* memory is what pools of huge pages have free */
    struct place_use *used; /* per host node, by other machines; NULL: nothing */
    struct place_guest guest;
    struct place_problem problem;
    struct place_result result;
};

/* Bits of an APIC id below the number of its last-level cache, or of its die. */
static uint32_t cache_shift(const struct topo_plan *plan, bool *ret_known)
{
    uint32_t shift = plan->apic.die_shift;

    *ret_known = false;
    for (size_t i = 0; i < plan->n_caches; i++) {
        if (plan->caches[i].level < LLC_LEVEL)
            continue;
        shift = plan->caches[i].apic_shift;
        *ret_known = true;
    }
    return shift;
}

/* The most vCPUs of a node that share a cache. */
static uint32_t sharers(const struct topo_plan *plan, const struct topo_plan_node *n,
                        uint32_t shift)
{
    uint32_t most = 0;

    IDSET_FOREACH(a, &n->cpus) {
        uint32_t same = 0;

        IDSET_FOREACH(b, &n->cpus)
            same += plan->vcpus[a].apic_id >> shift == plan->vcpus[b].apic_id >> shift;
        most = same > most ? same : most;
    }
    return most;
}

/* What a node's vCPUs want together: no more than their part of --cpu-max, unless each has a CPU
 * alone. */
static uint32_t demand(const struct guest_spec *spec, const struct topo_plan *plan, uint32_t n_cpus)
{
    uint64_t most = spec->share.max_milli * (uint64_t)n_cpus / MAX(plan->n_vcpus, (size_t)1);

    if (most == 0 || spec->pin == GUEST_PIN_DEDICATED)
        return n_cpus * CPU_MILLI;
    return (uint32_t)MIN(most, (uint64_t)n_cpus * CPU_MILLI);
}

static void describe(const struct guest_spec *spec, const struct topo_plan *plan,
                     struct planning *p)
{
    bool known;
    uint32_t shift = cache_shift(plan, &known);

    for (size_t i = 0; i < plan->n_nodes; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        p->vnodes[i] =
            (struct place_vnode){ .n_vcpus = idset_count(&n->cpus),
                                  .demand_milli = demand(spec, plan, idset_count(&n->cpus)),
                                  .mem_bytes = n->ram_bytes,
                                  .llc_vcpus = known ? sharers(plan, n, shift) : 0,
                                  .spread = idset_empty(&n->host_nodes) ? NULL : &n->host_nodes,
                                  .current = PLACE_ANYWHERE };
    }
    for (size_t i = 0; i < plan->n_vcpus; i++)
        p->vcpus[i] = (struct place_vcpu){ .vnode = plan->vcpus[i].vnode.v,
                                           .core = plan->vcpus[i].apic_id >> plan->apic.core_shift,
                                           .llc = plan->vcpus[i].apic_id >> shift,
                                           .ret_cpus = &p->cpus[i] };
    p->guest = (struct place_guest){ .n = (uint32_t)plan->n_nodes, .distances = plan->distances };
    p->problem = (struct place_problem){ .host = p->host,
                                         .vnodes = p->vnodes,
                                         .n_vnodes = plan->n_nodes,
                                         .used = p->used,
                                         .guests = &p->guest,
                                         .n_guests = 1,
                                         .objective = spec->objective,
                                         .budget = BUDGET,
                                         .own_cpus = spec->pin == GUEST_PIN_DEDICATED };
}

static void planning_free(struct planning *p)
{
    if (p == NULL)
        return;
    place_result_fini(&p->result);
    place_host_free(p->host);
    free(p->used);
    free(p->topo.nodes);
    free(p->vnodes);
    free(p->vcpus);
    free(p->cpus);
    free(p);
}

/* The size of the huge pages that all of the guest's memory is of; 0: it is of others, or of
 * several kinds, which host nodes' memory has to do for. */
static uint64_t only_pages(const struct topo_plan *plan)
{
    uint64_t ram = 0, listed = 0;

    for (size_t i = 0; i < plan->n_nodes; i++)
        ram += plan->nodes[i].ram_bytes;
    for (size_t i = 0; i < plan->n_backings; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];

        if (b->pages != plan->backings[0].pages)
            return 0;
        listed += b->len_bytes;
    }
    if (ram == 0 || listed != ram)
        return 0;
    return plan->backings[0].pages == GUEST_PAGES_1G   ? GIB
           : plan->backings[0].pages == GUEST_PAGES_2M ? 2 * MIB
                                                       : 0;
}

/* What a pool has free is what there is of its node's memory. Hosts that tell no pools are taken to
 * have enough pages in them, as where shortages are found. Return: is it so? */
static bool count_pools(struct host_topo *topo, uint64_t page_bytes)
{
    bool any = false;

    for (size_t h = 0; h < topo->n_nodes; h++)
        any = any || topo->nodes[h].n_pools > 0;
    for (size_t h = 0; any && h < topo->n_nodes; h++) {
        struct host_node *n = &topo->nodes[h];

        n->mem_bytes = 0;
        for (uint32_t k = 0; k < n->n_pools; k++)
            if (n->pool[k].page_bytes == page_bytes)
                n->mem_bytes = page_bytes * n->pool[k].free_pages;
    }
    return any;
}

/* What is gone from a pool: of what other machines take that much is known there already. */
static uint64_t taken_of_pool(const struct host_node *n, uint64_t page_bytes)
{
    for (uint32_t k = 0; k < n->n_pools; k++)
        if (n->pool[k].page_bytes == page_bytes)
            return page_bytes * (n->pool[k].total_pages - n->pool[k].free_pages);
    return 0;
}

static int planning_new(const struct host_topo *host, const struct topo_plan *plan,
                        struct planning **ret, struct errctx *ec)
{
    struct planning *p = calloc(1, sizeof(*p));
    int r;

    if (p != NULL) {
        p->topo = *host;
        p->topo.nodes = calloc(host->n_nodes, sizeof(*p->topo.nodes));
        p->vnodes = calloc(plan->n_nodes, sizeof(*p->vnodes));
        p->vcpus = calloc(plan->n_vcpus, sizeof(*p->vcpus));
        p->cpus = calloc(plan->n_vcpus, sizeof(*p->cpus));
    }
    if (p == NULL || p->topo.nodes == NULL || p->vnodes == NULL || p->vcpus == NULL ||
        p->cpus == NULL) {
        planning_free(p);
        return errctx_set(ec, ENOMEM, "no memory for the placement");
    }
    memcpy(p->topo.nodes, host->nodes, host->n_nodes * sizeof(*host->nodes));
    for (size_t i = 0; i < host->n_nodes; i++)
        p->topo.nodes[i].mem_free_bytes = 0; /* unknown: all of it, page cache makes way */
    p->page_bytes = only_pages(plan);
    p->pools = p->page_bytes > 0 && count_pools(&p->topo, p->page_bytes);
    r = place_host_new(&p->topo, &p->host, ec);
    if (r < 0)
        planning_free(p);
    else
        *ret = p;
    return r;
}

/* @plan receives notes; NULL: nothing is decided by it. */
static int count_others(const struct host_topo *host, const struct neighbours *others,
                        struct planning *p, struct topo_plan *plan, struct errctx *ec)
{
    double cpus = 0;

    if (plan != NULL && others->n_silent > 0)
        plan_note(plan, "%zu running machine%s not say what they take of the host.",
                  others->n_silent, others->n_silent == 1 ? " does" : "s do");
    if (others->n == 0)
        return 0;
    p->used = calloc(host->n_nodes, sizeof(*p->used));
    if (p->used == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count other machines");
    machine_use_sum(host, others->uses, others->n, p->used);
    for (size_t h = 0; p->pools && h < host->n_nodes; h++)
        p->used[h].mem_bytes -= MIN(p->used[h].mem_bytes, taken_of_pool(&host->nodes[h], p->page_bytes));
    for (size_t i = 0; i < others->n; i++)
        idset_or(&p->taken, &others->uses[i].cpus);
    for (size_t h = 0; h < host->n_nodes; h++)
        cpus += p->used[h].cpu_milli / 1000.0;
    if (plan != NULL)
        plan_note(plan, "Places are chosen beside %zu other machine%s of yours, which want%s %g "
                        "CPUs.",
                  others->n, others->n == 1 ? "" : "s", others->n == 1 ? "s" : "", cpus);
    return 0;
}

/* Memory that is not bound need not be where the vCPUs are: without it, if it must be. */
static int solve(struct planning *p, struct topo_plan *plan, struct errctx *ec)
{
    int r = place_solve(&p->problem, &p->result, ec);

    if (r != -ENOSPC)
        return r;
    for (size_t i = 0; i < plan->n_nodes; i++)
        p->vnodes[i].mem_bytes = 0;
    r = place_solve(&p->problem, &p->result, ec);
    if (r == 0)
        plan_worse(plan, "The guest's memory does not fit next to its CPUs: places are for the "
                        "CPUs alone.");
    return r;
}

static void note_lines(struct topo_plan *plan, const char *notes)
{
    while (*notes != '\0') {
        size_t len = strcspn(notes, "\n");

        plan_note(plan, "%.*s", (int)len, notes);
        notes += len + (notes[len] == '\n');
    }
}

/* What has a place but no policy prefers the host node of its node's CPUs: else the kernel takes it
 * wherever the thread runs that loads the guest, or the first CPU that clears it. */
static void prefer_homes(const struct guest_spec *spec, const struct planning *p,
                         struct topo_plan *plan)
{
    for (size_t i = 0; i < plan->n_backings; i++) {
        struct topo_plan_backing *b = &plan->backings[i];
        const enum guest_policy said = guest_node_memory(spec, b->vnode.v).policy;
        struct idset nodes;

        place_result_nodes(&p->result, p->host, b->vnode.v, &nodes);
        if (!idset_empty(&b->host_nodes) || idset_count(&nodes) != 1 ||
            (said != GUEST_POLICY_NONE && said != GUEST_POLICY_AUTO))
            continue;
        b->policy = GUEST_POLICY_PREFERRED;
        b->host_nodes = nodes;
    }
}

/* Said when places are known, which decide it, too. */
static void note_auto(const struct guest_spec *spec, struct topo_plan *plan)
{
    for (size_t i = 0; i < plan->n_backings; i++) {
        const struct topo_plan_backing *b = &plan->backings[i];

        if (b->off == 0 && guest_node_memory(spec, b->vnode.v).policy == GUEST_POLICY_AUTO)
            plan_note(plan, "Node %u: policy=auto is %s here.", b->vnode.v,
                      b->policy == GUEST_POLICY_NONE ? "no policy" : guest_policy_words[b->policy]);
    }
}

/* Linux reads the SRAT's CPUs before its memory, and numbers nodes as it comes by them. A device tree
 * has the numbers themselves. */
static void note_numbers(struct topo_plan *plan)
{
    struct idset met = { 0 };
    uint32_t n = 0;

    for (size_t i = 0; i < plan->n_vcpus + plan->n_nodes; i++) {
        const uint32_t node = i < plan->n_vcpus ? plan->vcpus[i].vnode.v
                                                : (uint32_t)(i - plan->n_vcpus);

        if (idset_has(&met, node))
            continue;
        if (node != n) {
            plan_note(plan, "Linux numbers nodes as it meets them, those with CPUs first: node %u "
                      "is its node %u.", node, n);
            return;
        }
        idset_add(&met, node);
        n++;
    }
}

/* host= asks nobody, so what it breaks is said. */
static void note_broken(struct topo_plan *plan)
{
    const size_t n = plan->n_nodes;

    for (size_t k = 0; k < n * n; k++) {
        const struct topo_plan_node *a = &plan->nodes[k / n], *b = &plan->nodes[k % n];
        const uint32_t real = a == b ? 0 : ledger_real(plan, &a->host_nodes, &b->host_nodes);

        if (real <= plan->distances[k])
            continue;
        plan_worse(plan,
                  "Node %u is told that node %u is %u away; their host nodes are %u apart "
                  "(and perhaps others: ctl NAME ledger).",
                  a->vnode.v, b->vnode.v, plan->distances[k], real);
        return;
    }
}

static int apply(const struct guest_spec *spec, struct planning *p, struct topo_plan *plan,
                 struct errctx *ec)
{
    char notes[512];
    int r = place_vcpus(p->host, &p->result, p->vcpus, plan->n_vcpus, spec->pin, &p->taken, notes,
                        sizeof(notes), ec);

    if (r < 0)
        return r;
    for (size_t i = 0; i < plan->n_vcpus; i++)
        plan->vcpus[i].host_cpus = p->cpus[i];
    prefer_homes(spec, p, plan);
    note_lines(plan, notes);
    if (p->topo.n_nodes > 1 && place_host_measured(p->host))
        plan_note(plan, "Host nodes are as far apart as was measured, not as the firmware says.");
    if (!p->result.kept)
        plan_worse(plan, "On this host nodes are farther apart, or nearer in another order, than "
                        "the guest is told.");
    return 0;
}

static double in_cpus(int64_t cost)
{
    return (double)cost / (double)PLACE_COST_CPU;
}

static int explain(const struct planning *p, const struct guest_auto *sized, bool applied,
                   struct machine_placement *ret, struct errctx *ec)
{
    const struct place_terms *t = &p->result.terms;
    size_t n = p->result.n_vnodes;
    struct idset *nodes = calloc(n, sizeof(*nodes));

    if (nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to explain the placement");
    for (uint32_t i = 0; i < n; i++)
        place_result_nodes(&p->result, p->host, i, &nodes[i]);
    *ret = (struct machine_placement){ .applied = applied,
                                       .sized = *sized,
                                       .traffic = in_cpus(t->traffic),
                                       .overload = in_cpus(t->overload),
                                       .stranded = in_cpus(t->stranded),
                                       .contention = in_cpus(t->contention),
                                       .broken = in_cpus(t->broken),
                                       .total = in_cpus(place_terms_total(t)),
                                       .bound = in_cpus(p->result.bound),
                                       .proved = p->result.proved,
                                       .kept = p->result.kept,
                                       .expanded = p->result.expanded,
                                       .nodes = nodes,
                                       .n_nodes = n };
    return 0;
}

static int check_objective(const struct guest_spec *spec, struct topo_plan *plan,
                           struct errctx *ec)
{
    const bool balances = spec->balance != GUEST_BALANCE_OFF;
    bool any = false;

    for (size_t i = 0; i < plan->n_nodes; i++)
        any = any || idset_empty(&plan->nodes[i].host_nodes);
    if (!any && spec->objective != GUEST_OBJECTIVE_UNSAID)
        return errctx_set(ec, EINVAL, "--objective has no effect when every node says host=");
    if (!any && balances)
        return errctx_set(ec, EINVAL, "--balance has no effect when every node says host=: such "
                                      "nodes stay where they are");
    if (balances && plan->n_hosts < 2)
        plan_note(plan, "Nothing is rebalanced: this host has one node.");
    return 0;
}

/* What is held against the guest's distances later is what the planner goes by. */
static int take_measured(const struct host_topo *host, struct topo_plan *plan, struct errctx *ec)
{
    const size_t n = plan->n_hosts;
    struct place_host *h;
    int r = host->has_measured ? place_host_new(host, &h, ec) : 0;

    if (r < 0 || !host->has_measured)
        return r;
    for (size_t i = 0; i < n * n && place_host_measured(h); i++)
        plan->host_distances[i] =
            (place_distance(h, (uint32_t)(i / n), (uint32_t)(i % n)) + PLACE_GUEST_UNIT - 1) /
            PLACE_GUEST_UNIT;
    place_host_free(h);
    return 0;
}

int machine_plan_make(const struct guest_spec *spec, const struct host_topo *host,
                      const struct neighbours *others, struct topo_plan **ret_plan,
                      struct machine_placement *ret_placement, struct errctx *ec)
{
    bool asked = spec->pin != GUEST_PIN_UNSAID || spec->objective != GUEST_OBJECTIVE_UNSAID ||
                 spec->n_vnuma == GUEST_VNUMA_AUTO || spec->share.reserve_milli > 0 ||
                 spec->balance != GUEST_BALANCE_OFF;
    struct planning *p = NULL;
    struct topo_plan *plan;
    int r = topo_plan_make(spec, host, &plan, ec);

    if (r < 0)
        return r;
    r = take_measured(host, plan, ec);
    if (r == 0 && (asked || ret_placement != NULL)) {
        r = check_objective(spec, plan, ec);
        if (r == 0)
            r = planning_new(host, plan, &p, ec);
        if (r == 0 && others != NULL)
            r = count_others(host, others, p, asked ? plan : NULL, ec);
        if (r == 0) {
            describe(spec, plan, p);
            r = solve(p, plan, ec);
        }
        if (r == 0 && asked)
            r = apply(spec, p, plan, ec);
        if (r == 0 && ret_placement != NULL)
            r = explain(p, &plan->sized, asked, ret_placement, ec);
        planning_free(p);
    }
    if (r < 0) {
        topo_plan_free(plan);
        return r;
    }
    note_auto(spec, plan);
    if (machine_arch_tree() == NULL)
        note_numbers(plan);
    if (!asked)
        note_broken(plan);
    *ret_plan = plan;
    return 0;
}

/* The vCPUs of @vnode alone, in front; the rest is taken. Return: how many. */
static size_t single_out(struct planning *p, const struct topo_plan *plan, struct vnode_id vnode)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->n_vcpus; i++) {
        if (plan->vcpus[i].vnode.v == vnode.v)
            p->vcpus[n++] = p->vcpus[i];
        else
            idset_or(&p->taken, &plan->vcpus[i].host_cpus);
    }
    return n;
}

int machine_plan_repin(const struct guest_spec *spec, const struct host_topo *host,
                       const struct topo_plan *plan, struct vnode_id vnode, struct hnode_id to,
                       struct idset *ret_cpus, char *ret_notes, struct errctx *ec)
{
    struct place_result where = { .n_vnodes = (uint32_t)plan->n_nodes };
    struct planning *p = NULL;
    size_t at = 0;
    int r;

    while (at < host->n_nodes && host->nodes[at].id.v != to.v)
        at++;
    if (at == host->n_nodes)
        return errctx_set(ec, ENOENT, "there is no host node %u", to.v);
    where.node = calloc(plan->n_nodes, sizeof(*where.node));
    r = where.node == NULL ? errctx_set(ec, ENOMEM, "no memory for the placement")
                           : planning_new(host, plan, &p, ec);
    if (r == 0) {
        for (size_t i = 0; i < plan->n_nodes; i++) /* those without a vCPU in the list: no matter */
            where.node[i] = (int)at;
        describe(spec, plan, p);
        r = place_vcpus(p->host, &where, p->vcpus, single_out(p, plan, vnode), spec->pin, &p->taken,
                        ret_notes, MACHINE_PLAN_NOTES, ec);
    }
    for (size_t i = 0; r == 0 && i < plan->n_vcpus; i++)
        if (plan->vcpus[i].vnode.v == vnode.v)
            ret_cpus[i] = p->cpus[i];
    planning_free(p);
    free(where.node);
    return r;
}

void machine_placement_fini(struct machine_placement *placement)
{
    free(placement->nodes);
    *placement = (struct machine_placement){ 0 };
}
