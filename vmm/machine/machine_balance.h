/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rebalancing of a running machine: for the files of vmm/machine only.
 *
 * Once every epoch the main loop hands a job to a thread of its own, "balancer", which looks at the
 * host, at what the machine's threads used and at where memory is, and has the policy decide
 * (vcpu/policy/balance.h). The main loop then does what was decided, move by move, or says it. The
 * thread is there for the life of a run, since the sandbox lets none be made later, and sleeps
 * while rebalancing is off; none where the host has one node.
 *
 * A pause and a reset have it drop its job, since memory must not be given back while it is
 * counted.
 */
#ifndef VMM_MACHINE_MACHINE_BALANCE_H
#define VMM_MACHINE_MACHINE_BALANCE_H

#include <stdbool.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

struct machine;
struct balancer;

/** machine_open_balancer() - open what will be read and written; before the sandbox. Main thread,
 *  as all that follows. Return: 0, -ENOMEM, or the errno of making the trace's file. */
int machine_open_balancer(struct machine *m, struct errctx *ec);

/** machine_start_balancer() - make the thread; returns when it is in its sandbox. The first epoch
 *  begins when the main loop runs. */
int machine_start_balancer(struct machine *m, struct errctx *ec);

/** machine_stop_balancer() - end the thread, close what is open. Nothing happens without one. */
void machine_stop_balancer(struct machine *m);

/** machine_balancer_hold() / machine_balancer_release() - it stands still between the two, from when
 *  machine_balancer_is_still(), of which machine_stand_tell() tells. */
void machine_balancer_hold(struct machine *m);
bool machine_balancer_is_still(const struct machine *m);
void machine_balancer_release(struct machine *m);

/** machine_balance_mode() - "off", "advise" or "on"; "off" without a balancer. */
const char *machine_balance_mode(const struct machine *m);

/** machine_balancer_moved() - a move is over, whoever asked for it. @why: it did not arrive. */
void machine_balancer_moved(struct machine *m, struct vnode_id vnode, struct hnode_id to,
                            bool arrived, const char *why);

#endif
