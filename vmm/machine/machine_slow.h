/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --slow: a thread for each slow node, which makes its memory slow when it is told to. For the files
 * of vmm/machine only. All functions on the main thread; without --slow they do nothing.
 *
 * The threads run from before the first vCPU to after the last I/O thread: who waits for a page
 * cannot be interrupted. While a node is not slow nothing of its memory is registered or taken out.
 */
#ifndef VMM_MACHINE_MACHINE_SLOW_H
#define VMM_MACHINE_MACHINE_SLOW_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

struct machine;
struct machine_slow;

/** machine_make_slow() - measure this host, which takes some seconds, and make what the threads
 *  need. Part of the memory stage. Return: 0; -ENOENT (a node has no memory), -ENOTSUP (memory from
 *  a pool), or as slow_measure(). */
int machine_make_slow(struct machine *m, struct errctx *ec);
void machine_free_slow(struct machine *m);

/** machine_start_slow() - make the threads; returns when they are in their sandboxes. Nodes are slow
 *  from now on, unless the configuration says later. */
int machine_start_slow(struct machine *m, struct errctx *ec);

/** machine_stop_slow() - let everybody go and end the threads. */
void machine_stop_slow(struct machine *m);

/** machine_is_slow() - was @vnode said to be? */
bool machine_is_slow(const struct machine *m, struct vnode_id vnode);

#endif
