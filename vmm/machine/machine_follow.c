/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows a virtual node's memory to another host node.
 *
 * Each thread places itself, asked by a message, because neither its CPUs nor its memory policy
 * should be another thread's to change (the sandbox allows both for the caller alone). vCPUs find
 * the message when they pass the gate. They have to be held anyway while KVM forgets the memory and
 * takes it again: what second-level tables then are made for it are made by threads that prefer the
 * new node. KVM drops all tables with a slot unless it is told otherwise, so those of other nodes
 * are made anew as well, where their vCPUs are. Where threads run is for the planner to say, as at
 * the start.
 */
#include <errno.h>
#include <stdlib.h>

#include "memory/numa_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_plan.h"
#include "vmm/machine/machine_private.h"

void machine_follow_vcpu(struct machine *m, struct vcpu_id vcpu)
{
    struct vnode_place *p = &m->places[m->plan->vcpus[vcpu.v].vnode.v];
    struct errctx ec = { 0 };
    struct idset cpus, nodes;
    int r;

    {
        LOCK_SCOPE(&p->lock);
        cpus = m->pins[vcpu.v].host_cpus;
        nodes = p->nodes;
    }
    r = place_pin_thread(&cpus, &ec);
    if (r == 0 && !idset_empty(&nodes))
        r = numa_policy_prefer(&nodes, &ec);
    LOCK_SCOPE(&p->lock);
    p->n_there += r == 0;
    if (r < 0)
        p->failed = ec;
}

static bool is_pinned_narrowly(const struct machine *m)
{
    const enum guest_pin pin = m->config->spec.pin;

    return pin == GUEST_PIN_DEDICATED || pin == GUEST_PIN_LLC;
}

/* The plan with the host CPUs of now; borrowed from the machine. */
static struct topo_plan plan_now(const struct machine *m)
{
    struct topo_plan now = *m->plan;

    now.vcpus = m->pins;
    return now;
}

/* Host CPUs for each vCPU of a node on @to, as the planner has them. -ENOTSUP: not asked for. */
static int choose_cpus(const struct machine *m, struct vnode_id vnode, struct hnode_id to,
                       struct idset *ret_cpus, char *ret_notes, struct errctx *ec)
{
    const struct topo_plan now = plan_now(m);

    ret_notes[0] = '\0';
    if (m->hooks.host == NULL ||
        (!is_pinned_narrowly(m) && m->config->spec.pin != GUEST_PIN_SOCKET))
        return -ENOTSUP;
    return machine_plan_repin(&m->config->spec, m->hooks.host, &now, vnode, to, ret_cpus, ret_notes,
                              ec);
}

int machine_judge_cpus(const struct machine *m, struct vnode_id vnode, struct hnode_id to,
                       struct errctx *ec)
{
    struct idset *each = calloc(m->plan->n_vcpus + 1, sizeof(*each));
    char notes[MACHINE_PLAN_NOTES];
    struct errctx why = { 0 };
    int r = each == NULL ? errctx_set(&why, ENOMEM, "no memory to judge a move")
                         : choose_cpus(m, vnode, to, each, notes, &why);

    free(each);
    if (r == -ENOTSUP)
        return 0;
    return r == -ENOSPC ? errctx_set(ec, ENOSPC,
                                     "%s: say --force to have them share all CPUs there", why.msg)
           : r < 0      ? errctx_set(ec, -r, "%s", why.msg)
                        : 0;
}

static void choose_pins(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                        const struct idset *cpus)
{
    struct idset *each = calloc(m->plan->n_vcpus + 1, sizeof(*each));
    struct vnode_place *p = &m->places[vnode.v];
    char notes[MACHINE_PLAN_NOTES];
    const int r = each == NULL ? -ENOMEM : choose_cpus(m, vnode, to, each, notes, NULL);
    LOCK_SCOPE(&p->lock);

    /* Beside an error, a cache that no cache of the node is like; who is dedicated stays so. */
    p->widened = is_pinned_narrowly(m) &&
                 (r < 0 || (m->config->spec.pin == GUEST_PIN_LLC && notes[0] != '\0'));
    for (size_t i = 0; i < m->plan->n_vcpus; i++)
        if (m->pins[i].vnode.v == vnode.v)
            m->pins[i].host_cpus = r == 0 ? each[i] : *cpus;
    free(each);
}

static void follow_io(void *ctx)
{
    struct io_thread *io = ctx;

    place_group_follow(evloop_place(io->loop), &io->place_seen);
}

/* Send a loop's threads where they are planned to be now, if that is elsewhere. */
static bool resettle(struct machine_thread *thread, const struct machine_thread *now,
                     struct evloop *loop)
{
    if (idset_empty(&now->host_cpus) || idset_equal(&now->host_cpus, &thread->host_cpus))
        return false;
    thread->host_cpus = now->host_cpus; /* as ctl status tells */
    place_group_send(evloop_place(loop), &now->host_cpus);
    return true;
}

/* The main thread and the I/O threads. Without memory they serve from where they are. */
static void follow_beside(struct machine *m)
{
    const struct topo_plan now = plan_now(m);
    struct machine_threads *t;

    if (m->threads == NULL || machine_threads_plan(m->config, &now, &t, NULL) < 0)
        return;
    for (size_t i = 0; i < m->n_io; i++)
        if (resettle(&m->threads->io[i], &t->io[i], m->io[i].loop) && m->io[i].started)
            (void)evloop_post(m->io[i].loop, follow_io, &m->io[i]);
    if (resettle(&m->threads->main, &t->main, m->main_loop))
        (void)place_pin_thread(&t->main.host_cpus, NULL);
    machine_threads_free(t);
}

/* vCPUs of a node go to their CPUs of now, if they have any, and prefer @nodes. */
static void ask_vcpus(struct machine *m, struct vnode_id vnode, const struct idset *nodes)
{
    struct vnode_place *p = &m->places[vnode.v];

    {
        LOCK_SCOPE(&p->lock);
        p->nodes = *nodes;
        p->n_there = p->n_asked = 0;
        p->failed.msg[0] = '\0';
        for (size_t i = 0; i < m->n_vcpus; i++)
            p->n_asked += m->plan->vcpus[i].vnode.v == vnode.v;
    }
    for (size_t i = 0; i < m->n_vcpus; i++)
        if (m->plan->vcpus[i].vnode.v == vnode.v)
            vcpu_ask(m->vcpus[i]);
}

static void follow_threads(struct machine *m, struct vnode_id vnode, const struct idset *nodes)
{
    struct topo_plan now;

    ask_vcpus(m, vnode, nodes);
    follow_beside(m);
    now = plan_now(m);
    machine_pager_follow(m, &now);
}

/* None was asked to follow this time. */
static void forget_threads(struct machine *m, struct vnode_id vnode)
{
    struct vnode_place *p = &m->places[vnode.v];
    LOCK_SCOPE(&p->lock);

    p->n_asked = p->n_there = 0;
    p->failed.msg[0] = '\0';
}

/* Do vCPUs of a node prefer memory where no CPU is? Then it is for what lies there alone. */
static bool prefers_memory_only(const struct machine *m, struct vnode_id vnode)
{
    struct vnode_place *p = &m->places[vnode.v];
    const struct topo_plan_host *hosts = m->plan->hosts;
    struct idset nodes;

    {
        LOCK_SCOPE(&p->lock);
        nodes = p->nodes;
    }
    if (idset_empty(&nodes)) /* as they were started */
        nodes = m->plan->nodes[vnode.v].host_nodes;
    for (size_t i = 0; i < m->plan->n_hosts; i++)
        if (idset_has(&nodes, hosts[i].id.v) && !idset_empty(&hosts[i].cpus))
            return false;
    return !idset_empty(&nodes);
}

int machine_follow(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                   const struct idset *cpus, struct errctx *ec)
{
    struct idset nodes = { 0 };

    idset_add(&nodes, to.v);
    if (!idset_empty(cpus)) {
        choose_pins(m, vnode, to, cpus);
        follow_threads(m, vnode, &nodes);
    } else if (prefers_memory_only(m, vnode)) {
        ask_vcpus(m, vnode, &nodes);
    } else { /* page tables stay near the CPUs that walk them */
        forget_threads(m, vnode);
    }
    return machine_remap_memory(m, vnode, ec);
}

void machine_repin(struct machine *m, struct vnode_id vnode, const struct idset *cpus)
{
    struct idset nodes;

    guest_mem_home(m->mem, vnode, &nodes);
    {
        LOCK_SCOPE(&m->places[vnode.v].lock);
        m->places[vnode.v].widened = false;
        for (size_t i = 0; i < m->plan->n_vcpus; i++)
            if (m->pins[i].vnode.v == vnode.v)
                m->pins[i].host_cpus = *cpus;
    }
    follow_threads(m, vnode, &nodes);
}
