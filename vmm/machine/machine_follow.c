/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows a virtual node's memory to another host node.
 *
 * Each thread places itself, asked by a message, because neither its CPUs nor its memory policy
 * should be another thread's to change (the sandbox allows both for the caller alone). vCPUs find
 * the message when they pass the gate. They have to be held anyway while KVM forgets the memory and
 * takes it again: what second-level tables then are made for it are made by threads that prefer the
 * new node. KVM drops all tables with a slot unless it is told otherwise, so those of other nodes
 * are made anew as well, where their vCPUs are.
 */
#include <errno.h>

#include "memory/numa_policy.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/place.h"
#include "vmm/machine/machine_private.h"

void machine_follow_vcpu(struct machine *m, struct vcpu_id vcpu)
{
    struct vnode_place *p = &m->places[m->plan->vcpus[vcpu.v].vnode.v];
    struct errctx ec = { 0 };
    struct idset cpus, nodes;
    int r;

    {
        LOCK_SCOPE(&p->lock);
        cpus = p->cpus;
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

static void follow_io(void *ctx)
{
    const struct io_thread *io = ctx;
    const struct machine_thread *thread = &io->machine->threads->io[io->index];
    struct vnode_place *p = &io->machine->places[idset_next(&thread->vnodes, 0)];
    struct idset cpus;

    {
        LOCK_SCOPE(&p->lock);
        cpus = p->cpus;
    }
    (void)place_pin_thread(&cpus, NULL); /* it serves as well from where it is */
}

static void follow_threads(struct machine *m, struct vnode_id vnode, const struct idset *nodes,
                           const struct idset *cpus)
{
    struct vnode_place *p = &m->places[vnode.v];
    struct idset only = { 0 };

    idset_add(&only, vnode.v);
    {
        LOCK_SCOPE(&p->lock);
        p->cpus = *cpus;
        p->nodes = *nodes;
        p->n_there = p->n_asked = 0;
        p->failed.msg[0] = '\0';
        for (size_t i = 0; i < m->n_vcpus; i++)
            p->n_asked += m->plan->vcpus[i].vnode.v == vnode.v;
    }
    for (size_t i = 0; i < m->n_vcpus; i++)
        if (m->plan->vcpus[i].vnode.v == vnode.v)
            vcpu_ask(m->vcpus[i]);
    for (size_t i = 0; i < m->n_io; i++) {
        struct machine_thread *thread = &m->threads->io[i];

        if (!m->io[i].started || !idset_equal(&thread->vnodes, &only))
            continue;
        thread->host_cpus = *cpus; /* as ctl status tells */
        (void)evloop_post(m->io[i].loop, follow_io, &m->io[i]);
    }
}

/* None was asked to follow this time. */
static void forget_threads(struct machine *m, struct vnode_id vnode)
{
    struct vnode_place *p = &m->places[vnode.v];
    LOCK_SCOPE(&p->lock);

    p->n_asked = p->n_there = 0;
    p->failed.msg[0] = '\0';
}

int machine_follow(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                   const struct idset *cpus, struct errctx *ec)
{
    const bool hold = !m->paused;
    struct idset nodes = { 0 };
    int r;

    idset_add(&nodes, to.v);
    if (hold)
        machine_hold_vcpus(m);
    if (idset_empty(cpus))
        forget_threads(m, vnode);
    else
        follow_threads(m, vnode, &nodes, cpus);
    r = machine_remap_memory(m, vnode, ec);
    if (hold)
        machine_release_vcpus(m);
    return r;
}

void machine_repin(struct machine *m, struct vnode_id vnode, const struct idset *cpus)
{
    struct idset nodes;

    guest_mem_home(m->mem, vnode, &nodes);
    follow_threads(m, vnode, &nodes, cpus);
}
