/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Moving a virtual node to another host node: the thread that moves memory, and what of the machine
 * follows it. For the files of vmm/machine only.
 *
 * One thread for the life of a run, made with the others because the sandbox lets none be made
 * later; none where the host has one node. It sleeps unless a move is on. While it works on an
 * extent guest memory must not be given back, so a pause and a reset hold it after vCPUs and
 * devices, until the end of one extent at the latest, and let it go before them. When memory has
 * arrived the rest is done on the main loop (machine_follow.c), while vCPUs stand.
 */
#ifndef VMM_MACHINE_MACHINE_MOVE_H
#define VMM_MACHINE_MACHINE_MOVE_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"
#include "vmm/base/ids.h"

struct machine;
struct mover;

/** machine_start_mover() - make the thread; returns when it is in its sandbox. Main thread. */
int machine_start_mover(struct machine *m, struct errctx *ec);

/** machine_stop_mover() - end it, in the middle of a move too. Nothing happens without one. */
void machine_stop_mover(struct machine *m);

/** machine_mover_hold() / machine_mover_release() - it stands still between the two, from when
 *  machine_mover_is_still(), of which machine_stand_tell() tells. Main thread. */
void machine_mover_hold(struct machine *m);
bool machine_mover_is_still(const struct machine *m);
void machine_mover_release(struct machine *m);

/** machine_mover_busy() - is a virtual node, @ret_vnode, being moved? Main thread. */
bool machine_mover_busy(const struct machine *m, struct vnode_id *ret_vnode);

/* machine_follow.c, main thread. */

/**
 * machine_follow() - after its memory, while vCPUs stand: vCPU threads of @vnode run on @cpus, or those of them that
 * the planner chooses at the level that they were pinned to; the main thread and I/O threads run
 * where they would if the machine had been started so; the vCPUs' page tables come from @to, and
 * KVM makes those of the node's memory anew.
 * @cpus: of @to; empty: threads stay where they are, and so do the vCPUs' page tables, unless these
 * come from a node without CPUs, too: from @to then, as if the machine had been started so.
 * Return: 0; or the errno of KVM, which took the memory away and will not have it back.
 */
int machine_follow(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                   const struct idset *cpus, struct errctx *ec);

/** machine_repin() - threads of @vnode, as above, run on @cpus; memory stays. Memory that the
 *  kernel makes on their behalf still comes from where theirs is. */
void machine_repin(struct machine *m, struct vnode_id vnode, const struct idset *cpus);

/** machine_judge_cpus() - has @to the CPUs that --pin dedicated gives to the vCPUs of @vnode?
 * Return: 0, -ENOSPC with a sentence, or -ENOMEM. */
int machine_judge_cpus(const struct machine *m, struct vnode_id vnode, struct hnode_id to,
                       struct errctx *ec);

/** machine_follow_vcpu() - what a vCPU does then on its own thread. */
void machine_follow_vcpu(struct machine *m, struct vcpu_id vcpu);

#endif
