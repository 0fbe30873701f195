/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pager's threads and what of the machine goes through them: a fault thread for each virtual node,
 * on the CPUs of its vCPUs, also after a move, and one that evicts. For the files of vmm/machine only. All functions but
 * where said on the main thread; without --pager on they do nothing.
 *
 * Fault threads run from before the first vCPU to after the last I/O thread: who waits for a page
 * cannot be interrupted. While pages are being evicted guest memory must not be given back, so a pause
 * and a reset hold the evicting thread as they do the mover, and so does a move: the two never work at a
 * time. Once something was evicted that thread makes huge pages of what came back, by itself.
 */
#ifndef VMM_MACHINE_MACHINE_PAGER_H
#define VMM_MACHINE_MACHINE_PAGER_H

#include <jansson.h>
#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/topology/topo_plan.h"

struct machine;
struct machine_pager;
struct pager_follow_ops;

/** machine_make_pager() - where the configuration wants one: descriptors, tables, stores. Part of the
 *  memory stage. Return: 0 or as pager_new(). */
int machine_make_pager(struct machine *m, struct errctx *ec);
void machine_free_pager(struct machine *m);

/** machine_start_pager() - make the threads; returns when they are in their sandboxes. */
int machine_start_pager(struct machine *m, struct errctx *ec);

/** machine_stop_pager() - end them; what is away reads as zeroes afterwards. */
void machine_stop_pager(struct machine *m);

/** machine_pager_hold() / machine_pager_release() - nothing is evicted between the two; they nest. Who
 *  counts pages holds: looking at a hole that is made at this moment would fill it. The first waits, as
 *  long as a transfer to a disk may take: any thread but the main one. */
void machine_pager_hold(const struct machine *m);
void machine_pager_release(const struct machine *m);

/** machine_pager_ask() - as machine_pager_hold() without waiting: it is so once machine_pager_is_still(),
 *  of which machine_stand_tell() tells. Any thread, both. */
void machine_pager_ask(const struct machine *m);
bool machine_pager_is_still(const struct machine *m);

/** machine_pager_drain() - have fault threads end what they are at, the pages that come ahead of any
 *  touch, too; machine_pager_is_drained() when they did, of which machine_stand_tell() tells. While
 *  nobody touches guest memory. */
void machine_pager_drain(struct machine *m);
bool machine_pager_is_drained(const struct machine *m);

/** machine_pager_reset() - forget what is away. On a machine that stands still. */
int machine_pager_reset(struct machine *m, struct errctx *ec);

/** machine_pager_make_huge() - see pager_make_huge(). After the start of the pager's threads, and
 *  after machine_pager_reset() and the discarding of guest memory. */
int machine_pager_make_huge(struct machine *m, struct errctx *ec);

/** machine_pager_follow() - have fault threads run where the vCPUs of their nodes do by @now, and the
 *  one that evicts where the main thread does. They go when they have been told. */
void machine_pager_follow(struct machine *m, const struct topo_plan *now);

/** machine_pager_follow_memory() - have what is evicted of @vnode kept on host node @to; see
 *  pager_follow(). The mover's thread, whose sandbox has the calls for it. */
int machine_pager_follow_memory(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                                const struct pager_follow_ops *ops, void *ctx, struct errctx *ec);

/** machine_pager_watches() - see pager_watches(); held, it does not begin. */
bool machine_pager_watches(const struct machine *m, struct vnode_id vnode);

/** machine_pager_busy() - is memory being evicted, of @ret_vnode? */
bool machine_pager_busy(const struct machine *m, struct vnode_id *ret_vnode);

/** machine_swap_json() - what is in the swap file; NULL without one. */
json_t *machine_swap_json(const struct machine *m);

/** machine_domain_json() - the trust domain and its service; NULL without one. */
json_t *machine_domain_json(const struct machine *m);

/** machine_golden_json() - what the golden file is; NULL without one. */
json_t *machine_golden_json(const struct machine *m);

/** machine_pager_dropped_bytes() - of a node's memory, since the start, that was away when the guest
 *  gave it back or it was plugged out. Any thread. */
uint64_t machine_pager_dropped_bytes(const struct machine *m, struct vnode_id vnode);

/** machine_pager_json() - counts of a node; NULL without a pager or memory. */
json_t *machine_pager_json(const struct machine *m, struct vnode_id vnode);

#endif
