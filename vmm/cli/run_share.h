/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU share of the machine that `run` starts: its place among the user's other machines, its
 * cgroup, and what there is instead where no cgroup is to be had. Main thread; of moves, the guard.
 */
#ifndef VMM_CLI_RUN_SHARE_H
#define VMM_CLI_RUN_SHARE_H

#include "vmm/cli/guard.h"
#include "vmm/config/config.h"
#include "vmm/machine/cpu_group.h"
#include "vmm/machine/neighbours.h"
#include "vmm/topology/host_topo.h"

struct run_share {
    const struct machine_config *config; /* borrowed */
    struct neighbours others;
    struct machine_use use;
    struct cpu_group group;
    struct errctx no_group;  /* why there is none, although one is wanted */
    uint32_t own_max_milli;  /* --cpu-max that the machine has to keep itself; else 0 */
    int *at; /* in the guard, per virtual node: where it was moved to; NULL: nothing was */
};

/** run_share_begin() - see who else runs; from here on nobody else starts. */
int run_share_begin(const struct machine_config *config, struct run_share *ret_share,
                    struct errctx *ec);

/**
 * run_share_admit() - may the machine of @plan have what it reserves? Chooses the cgroup, too.
 * Return: 0; -ENOSPC or -EINVAL with a sentence; -ENOMEM.
 */
int run_share_admit(struct run_share *share, const struct host_topo *host,
                    const struct topo_plan *plan, struct errctx *ec);

/** run_share_enter() - enter the cgroup, tell the others, set the weights of all, and let others
 *  start. The guard runs, the machine's name is ours, no other thread was made. Prints a line about
 *  what there is instead of a cgroup. */
int run_share_enter(struct run_share *share, const struct host_topo *host, struct errctx *ec);

/**
 * run_share_move() - a step of a move, in the guard's process (guard_duties.move).
 *
 * Before it begins, what is reserved has to be admitted on the target, and is held there from then
 * on; when it arrived, its old place is free and the weights of all are set anew. All under the lock
 * that machines start under.
 * @host: as it was at the start; CPUs that are not online now do not count.
 * Return: 0; -ENOSPC with a sentence; -EBUSY, when others hold the lock; -EINVAL, -ENOMEM, an errno.
 */
int run_share_move(struct run_share *share, const struct host_topo *host,
                   const struct topo_plan *plan, const struct guard_move *move, struct errctx *ec);

/** run_share_status() - {"cgroup" or "nice", "weight", "max", "reserve"} as of now, each where there is
 *  one; a new object. */
json_t *run_share_status(const struct run_share *share);

/** run_share_end() - after the machine's last thread. Return: false when the group can be removed
 *  only after our end. */
bool run_share_end(struct run_share *share);

#endif
