/* SPDX-License-Identifier: Apache-2.0 */
/* See run_share.h and docs/placement.md. */
#include "vmm/cli/run_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/kernel_file.h"
#include "vmm/base/place.h"
#include "vmm/cli/cli.h"
#include "vmm/cli/run_nice.h"
#include "vmm/machine/host_swap.h"

enum { MOVE_LOCK_MS = 2000 }; /* the machine waits meanwhile, not its guest */

int run_share_begin(const struct machine_config *config, struct run_share *ret_share,
                    struct errctx *ec)
{
    *ret_share = (struct run_share){ .config = config,
                                     .others = { .dir_fd = -1, .lock_fd = -1 },
                                     .group = CPU_GROUP_NONE };
    return neighbours_read(NULL, NEIGHBOURS_LOCK_MS, &ret_share->others, ec);
}

/* Who pages his guest wants nobody else to. */
static bool dreads_swap(const struct run_share *share)
{
    return share->config->pager == CONFIG_PAGER_ON && host_swap_look("") == HOST_SWAP_REACHES;
}

/* Where somebody has a reservation, who asks for nothing is in a group as well: only then do weights
 * keep it against him. */
static bool wants_group(const struct run_share *share)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    bool want =
        s->weight > 0 || s->max_milli > 0 || s->reserve_milli > 0 || dreads_swap(share);

    for (size_t i = 0; i < share->others.n; i++)
        want = want || share->others.uses[i].reserve_milli > 0;
    return want;
}

int run_share_admit(struct run_share *share, const struct host_topo *host,
                    const struct topo_plan *plan, struct errctx *ec)
{
    int r = machine_use_make(share->config, plan, &share->use, ec);

    if (r < 0)
        return r;
    (void)process_mark_make(getpid(), &share->use.process);
    r = machine_use_admit(host, share->others.uses, share->others.n, &share->use, ec);
    if (r == 0 && wants_group(share))
        (void)cpu_group_choose("", share->config->name, getpid(), &share->group, &share->no_group);
    return r;
}

/* With a reservation among them, weights of all change when one more comes, or goes elsewhere. Those
 * of machines that end meanwhile are gone, which is no matter. */
static int set_weights(const struct neighbours *others, const struct machine_use *use,
                       const struct host_topo *host, bool *ret_any, uint32_t *ret_own,
                       struct errctx *ec)
{
    const size_t n = others->n;
    struct machine_use *all = calloc(n + 1, sizeof(*all));
    uint32_t *weights = calloc(n + 1, sizeof(*weights));
    size_t grouped = 0;

    if (all == NULL || weights == NULL) {
        free(all);
        free(weights);
        return errctx_set(ec, ENOMEM, "no memory for the weights of machines");
    }
    for (size_t i = 0; i < n; i++)
        if (others->uses[i].cgroup[0] != '\0')
            all[grouped++] = others->uses[i];
    all[grouped] = *use;
    *ret_any = false;
    for (size_t i = 0; i <= grouped; i++)
        *ret_any = *ret_any || all[i].reserve_milli > 0;
    machine_use_weights(host, all, grouped + 1, weights);
    for (size_t i = 0; *ret_any && i < grouped; i++)
        (void)cpu_group_set_weight(all[i].cgroup, weights[i]);
    *ret_own = weights[grouped];
    free(all);
    free(weights);
    return 0;
}

/* The kernel weighs sessions first, and nice values inside of each only. */
static bool sessions_first(void)
{
    uint64_t on = 0;

    return kernel_file_u64(&on, "", "/proc/sys/kernel/sched_autogroup_enabled") && on != 0;
}

static void tell_reserve(const struct guest_cpu_share *s, const struct run_nice *nice,
                         const char *why)
{
    if (s->reserve_milli > 0 && nice->holds)
        (void)cli_error(0, "--cpu-reserve is kept by nice values%s, %d for this machine: %s",
                        sessions_first() ? " (in this session; sched_autogroup_enabled)" : "",
                        nice->own, why);
    else if (s->reserve_milli > 0)
        (void)cli_error(0, "--cpu-reserve is admitted, but nice values cannot keep it: %s", why);
    else
        (void)cli_error(0, "other machines reserved CPU time, which makes this one nice %d: %s",
                        nice->own, why);
}

static void weigh_alone(const struct guest_cpu_share *s, const char *why)
{
    const int nice = place_nice_of_weight(s->weight);

    if (place_set_nice(getpid(), nice) == 0)
        (void)cli_error(0, "--cpu-weight %u becomes nice %d: %s", s->weight, nice, why);
    else
        (void)cli_error(0, "--cpu-weight %u has no effect, since nice %d is not allowed, and %s",
                        s->weight, nice, why);
}

/* Without a group the machine keeps its limit itself, weights become nice values, and floors are kept
 * by those. */
static int do_without(struct run_share *share, const struct host_topo *host, const char *why,
                      struct errctx *ec)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    struct run_nice nice;
    int r = run_nice_set(&share->others, &share->use, host, &nice, ec);

    if (r < 0)
        return r;
    share->group.dir[0] = '\0';
    share->own_max_milli = s->max_milli;
    if (s->max_milli > 0)
        (void)cli_error(0, "--cpu-max is kept by the machine itself: %s", why);
    if (nice.any)
        tell_reserve(s, &nice, why);
    else if (s->weight > 0)
        weigh_alone(s, why);
    return 0;
}

static int enter_group(struct run_share *share, const struct host_topo *host, struct errctx *ec)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    uint32_t weight = 0;
    bool any = false;
    int r = set_weights(&share->others, &share->use, host, &any, &weight, ec);

    if (r < 0)
        return r;
    if (cpu_group_enter(&share->group, any || s->weight > 0 ? weight : 0, s->max_milli,
                        &share->no_group) < 0)
        return do_without(share, host, share->no_group.msg, ec);
    (void)snprintf(share->use.cgroup, sizeof(share->use.cgroup), "%s", share->group.dir);
    return 0;
}

/* Before guest memory is taken: what is there already stays what it was. */
static void keep_from_swap(const struct run_share *share)
{
    struct errctx why = share->no_group;

    if (share->group.entered && host_swap_forbid(share->group.dir, &why) == 0)
        return;
    (void)cli_error(0, "the host has swap and may swap out guest memory, of which --pager on knows "
                       "nothing: %s",
                    why.msg);
}

int run_share_enter(struct run_share *share, const struct host_topo *host, struct errctx *ec)
{
    const bool dread = dreads_swap(share);
    int r = 0;

    if (share->group.dir[0] != '\0')
        r = enter_group(share, host, ec);
    else if (wants_group(share))
        r = do_without(share, host, share->no_group.msg, ec);
    if (r == 0 && dread)
        keep_from_swap(share);
    if (r == 0)
        r = neighbours_publish(&share->others, &share->use, ec);
    neighbours_fini(&share->others);
    return r;
}

/* --- moves, in the guard ---------------------------------------------------------------------- */

/* What we said that we take, out of the list of all. */
static int take_own(struct run_share *share, struct neighbours *nb, struct errctx *ec)
{
    for (size_t i = 0; i < nb->n; i++) {
        if (strcmp(nb->uses[i].name, share->use.name) != 0)
            continue;
        (void)snprintf(share->use.cgroup, sizeof(share->use.cgroup), "%s", nb->uses[i].cgroup);
        share->use.process = nb->uses[i].process;
        machine_use_fini(&nb->uses[i]);
        nb->uses[i] = nb->uses[--nb->n];
        return 0;
    }
    return errctx_set(ec, EIO, "what this machine takes of the host cannot be read");
}

/* Where we are by now. */
static int use_now(const struct run_share *share, const struct topo_plan *plan,
                   struct machine_use *ret_use, struct errctx *ec)
{
    int r = machine_use_moved(share->config, plan, share->at, ret_use, ec);

    if (r == 0)
        (void)snprintf(ret_use->cgroup, sizeof(ret_use->cgroup), "%s", share->use.cgroup);
    ret_use->process = share->use.process;
    return r;
}

static int begin_move(struct run_share *share, const struct neighbours *nb,
                      const struct host_topo *host, const struct topo_plan *plan,
                      const struct guard_move *move, struct errctx *ec)
{
    const int was_at = share->at[move->vnode];
    struct machine_use before = { 0 }, after = { 0 }, both = { 0 };
    int r = use_now(share, plan, &before, ec);

    share->at[move->vnode] = (int)move->to;
    if (r == 0)
        r = use_now(share, plan, &after, ec);
    share->at[move->vnode] = was_at;
    if (r == 0)
        r = machine_use_admit_move(host, nb->uses, nb->n, &before, &after, ec);
    if (r == 0)
        r = machine_use_hold(&before, &after, &both, ec);
    if (r == 0)
        r = neighbours_publish(nb, &both, ec);
    machine_use_fini(&before);
    machine_use_fini(&after);
    machine_use_fini(&both);
    return r;
}

static int end_move(const struct run_share *share, const struct neighbours *nb,
                    const struct host_topo *host, const struct topo_plan *plan, struct errctx *ec)
{
    struct machine_use use = { 0 };
    struct run_nice nice;
    uint32_t weight;
    bool any = false;
    int r = use_now(share, plan, &use, ec);

    if (r == 0)
        r = neighbours_publish(nb, &use, ec);
    if (r == 0 && use.cgroup[0] != '\0')
        r = set_weights(nb, &use, host, &any, &weight, ec);
    else if (r == 0)
        r = run_nice_set(nb, &use, host, &nice, ec);
    if (r == 0 && any)
        (void)cpu_group_set_weight(use.cgroup, weight);
    machine_use_fini(&use);
    return r;
}

/* Each node's CPUs that are online at this moment. Release .nodes with free(). */
static int host_now(const struct host_topo *host, struct host_topo *ret_now, struct errctx *ec)
{
    struct idset online;

    *ret_now = *host;
    ret_now->nodes = calloc(host->n_nodes + 1, sizeof(*ret_now->nodes));
    if (ret_now->nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to look at the host");
    memcpy(ret_now->nodes, host->nodes, host->n_nodes * sizeof(*host->nodes));
    if (kernel_file_set(&online, "", "/sys/devices/system/cpu/online"))
        for (size_t h = 0; h < host->n_nodes; h++)
            idset_and(&ret_now->nodes[h].cpus, &online);
    return 0;
}

static int make_at(struct run_share *share, size_t n, struct errctx *ec)
{
    if (share->at == NULL) {
        share->at = malloc(n * sizeof(*share->at));
        for (size_t i = 0; share->at != NULL && i < n; i++)
            share->at[i] = -1;
    }
    return share->at != NULL ? 0 : errctx_set(ec, ENOMEM, "no memory to tell what moves");
}

int run_share_move(struct run_share *share, const struct host_topo *host,
                   const struct topo_plan *plan, const struct guard_move *move, struct errctx *ec)
{
    struct neighbours nb = { .dir_fd = -1, .lock_fd = -1 };
    struct host_topo now = { .nodes = NULL };
    int r;

    if (move->vnode >= plan->n_nodes || move->to >= IDSET_MAX)
        return errctx_set(ec, EINVAL, "there is no such node");
    r = make_at(share, plan->n_nodes, ec);
    if (r < 0)
        return r;
    if (move->step == GUARD_MOVE_ARRIVED)
        share->at[move->vnode] = (int)move->to;
    r = host_now(host, &now, ec);
    if (r == 0)
        r = neighbours_read(NULL, MOVE_LOCK_MS, &nb, ec);
    if (r == 0)
        r = take_own(share, &nb, ec);
    if (r == 0)
        r = move->step == GUARD_MOVE_BEGINS ? begin_move(share, &nb, &now, plan, move, ec)
                                            : end_move(share, &nb, &now, plan, ec);
    neighbours_fini(&nb);
    free(now.nodes);
    return r;
}

json_t *run_share_status(const struct run_share *share)
{
    json_t *status = cpu_group_status(&share->group);
    int nice;

    if (!share->group.entered && place_get_nice(0, &nice) == 0)
        (void)json_object_set_new(status, "nice", json_integer(nice));
    if (share->own_max_milli > 0)
        (void)json_object_set_new(status, "max", json_real(share->own_max_milli / 1000.0));
    if (share->use.reserve_milli > 0)
        (void)json_object_set_new(status, "reserve", json_real(share->use.reserve_milli / 1000.0));
    return status;
}

bool run_share_end(struct run_share *share)
{
    neighbours_fini(&share->others);
    machine_use_fini(&share->use);
    free(share->at);
    return cpu_group_leave(&share->group);
}
