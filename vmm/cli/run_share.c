/* SPDX-License-Identifier: Apache-2.0 */
/* See run_share.h and docs/placement.md. */
#include "vmm/cli/run_share.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmm/base/place.h"
#include "vmm/cli/cli.h"

int run_share_begin(const struct machine_config *config, struct run_share *ret_share,
                    struct errctx *ec)
{
    *ret_share = (struct run_share){ .config = config,
                                     .others = { .dir_fd = -1, .lock_fd = -1 },
                                     .group = CPU_GROUP_NONE,
                                     .use_fd = -1 };
    return neighbours_read(NULL, true, &ret_share->others, ec);
}

/* Where somebody has a reservation, who asks for nothing is in a group as well: only then do weights
 * keep it against him. */
static bool wants_group(const struct run_share *share)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    bool want = s->weight > 0 || s->max_milli > 0 || s->reserve_milli > 0;

    for (size_t i = 0; i < share->others.n; i++)
        want = want || share->others.uses[i].reserve_milli > 0;
    return want;
}

/* Without a group a limit cannot be kept, a weight becomes a nice value, and a reservation is
 * just admitted. */
static int do_without(const struct guest_cpu_share *s, const char *why, struct errctx *ec)
{
    int nice = s->weight > 0 ? place_nice_of_weight(s->weight) : 0, got = 0;

    if (s->max_milli > 0)
        return errctx_set(ec, ENOTSUP, "--cpu-max: %s", why);
    if (s->weight > 0)
        got = place_set_nice(nice);
    if (s->weight > 0 && got == 0)
        (void)cli_error(0, "--cpu-weight %u becomes nice %d: %s", s->weight, nice, why);
    else if (s->weight > 0)
        (void)cli_error(0, "--cpu-weight %u has no effect, since nice %d is not allowed, and %s",
                        s->weight, nice, why);
    if (s->reserve_milli > 0)
        (void)cli_error(0, "--cpu-reserve is admitted, but nothing keeps it: %s", why);
    return 0;
}

int run_share_admit(struct run_share *share, const struct host_topo *host,
                    const struct topo_plan *plan, struct errctx *ec)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    struct errctx why = { 0 };
    int r = machine_use_make(share->config, plan, &share->use, ec);

    if (r == 0)
        r = machine_use_admit(host, share->others.uses, share->others.n, &share->use, ec);
    if (r == 0 && wants_group(share) &&
        cpu_group_choose("", share->config->name, getpid(), &share->group, &why) < 0)
        r = do_without(s, why.msg, ec);
    return r;
}

/* With a reservation among them, weights of all change when one more comes. Those of machines that
 * end meanwhile are gone, which is no matter. */
static int set_weights(const struct run_share *share, const struct host_topo *host, bool *ret_any,
                       uint32_t *ret_own, struct errctx *ec)
{
    const size_t n = share->others.n;
    struct machine_use *all = calloc(n + 1, sizeof(*all));
    uint32_t *weights = calloc(n + 1, sizeof(*weights));
    size_t grouped = 0;

    if (all == NULL || weights == NULL) {
        free(all);
        free(weights);
        return errctx_set(ec, ENOMEM, "no memory for the weights of machines");
    }
    for (size_t i = 0; i < n; i++)
        if (share->others.uses[i].cgroup[0] != '\0')
            all[grouped++] = share->others.uses[i];
    all[grouped] = share->use;
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

static int enter_group(struct run_share *share, const struct host_topo *host, struct errctx *ec)
{
    const struct guest_cpu_share *s = &share->config->spec.share;
    struct errctx why = { 0 };
    uint32_t weight = 0;
    bool any = false;
    int r = set_weights(share, host, &any, &weight, ec);

    if (r < 0)
        return r;
    if (cpu_group_enter(&share->group, any || s->weight > 0 ? weight : 0, s->max_milli, &why) < 0) {
        share->group.dir[0] = '\0';
        return do_without(s, why.msg, ec);
    }
    (void)snprintf(share->use.cgroup, sizeof(share->use.cgroup), "%s", share->group.dir);
    return 0;
}

int run_share_enter(struct run_share *share, const struct host_topo *host, struct errctx *ec)
{
    int r = share->group.dir[0] != '\0' ? enter_group(share, host, ec) : 0;

    if (r == 0)
        r = neighbours_publish(&share->others, &share->use, &share->use_fd, ec);
    neighbours_fini(&share->others);
    return r;
}

void run_share_moved(struct run_share *share, const struct topo_plan *plan, struct vnode_id vnode,
                     struct hnode_id to)
{
    struct machine_use use;

    if (share->at == NULL) {
        share->at = malloc(plan->n_nodes * sizeof(*share->at));
        for (size_t i = 0; share->at != NULL && i < plan->n_nodes; i++)
            share->at[i] = -1;
    }
    if (share->at == NULL || share->use_fd < 0)
        return;
    share->at[vnode.v] = (int)to.v;
    if (machine_use_moved(share->config, plan, share->at, &use, NULL) < 0)
        return;
    (void)snprintf(use.cgroup, sizeof(use.cgroup), "%s", share->use.cgroup);
    (void)neighbours_say_anew(share->use_fd, &use);
    machine_use_fini(&share->use);
    share->use = use;
}

bool run_share_end(struct run_share *share)
{
    neighbours_fini(&share->others);
    machine_use_fini(&share->use);
    if (share->use_fd >= 0)
        (void)close(share->use_fd);
    free(share->at);
    return cpu_group_leave(&share->group);
}
