/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl balloon` asks and shows. Main thread. */
#include <errno.h>
#include <stdlib.h>

#include "devices/virtio/balloon.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

int machine_balloon_nodes(const struct machine *m, json_t **ret_json, struct errctx *ec)
{
    CLEANUP_FREE struct balloon_node *nodes = calloc(m->plan->n_nodes, sizeof(*nodes));
    json_t *list;
    int r;

    if (m->balloon == NULL)
        return errctx_set(ec, ENODEV, "this machine has no balloon (--balloon)");
    if (nodes == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count pages");
    r = balloon_account(m->balloon, nodes, (uint32_t)m->plan->n_nodes);
    if (r < 0)
        return errctx_set_os(ec, -r, "look at pages that were given away");
    list = json_array();
    for (size_t i = 0; i < m->plan->n_nodes; i++)
        (void)json_array_append_new(
            list, json_pack("{s:i, s:I, s:I, s:I, s:I}", "id", (int)m->plan->nodes[i].vnode.v,
                            "ballooned", (json_int_t)nodes[i].ballooned_bytes, "reported",
                            (json_int_t)nodes[i].reported_bytes, "kept",
                            (json_int_t)nodes[i].kept_bytes, "returned",
                            (json_int_t)nodes[i].returned_bytes));
    *ret_json = list;
    return 0;
}

/* A guest may tell any number. */
static json_int_t bounded(uint64_t v)
{
    return (json_int_t)MIN(v, (uint64_t)INT64_MAX);
}

static json_t *stats_json(const struct balloon_status *st)
{
    json_t *values = json_object();

    for (unsigned i = 0; i < BALLOON_STATS; i++)
        if ((st->stats_there >> i & 1) != 0)
            (void)json_object_set_new(values, balloon_stat_name(i),
                                      json_integer(bounded(st->stats[i])));
    return json_pack("{s:I, s:I, s:o}", "count", bounded(st->stats_count), "age_ms",
                     bounded(st->stats_age_ns / 1000000), "values", values);
}

int machine_balloon(struct machine *m, const struct machine_balloon_request *req, json_t **ret_json,
                    struct errctx *ec)
{
    struct balloon_status st;
    json_t *nodes, *answer;
    int r = m->balloon != NULL && req->has_target
                ? balloon_set_target(m->balloon, req->target_bytes, ec)
                : 0;

    if (r == 0)
        r = machine_balloon_nodes(m, &nodes, ec);
    if (r < 0)
        return r;
    balloon_status(m->balloon, &st); /* before statistics can come that were asked for here */
    if (req->refresh)
        balloon_ask_stats(m->balloon);
    answer = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:o, s:o}", "name", m->config->name,
                       "driver", st.driver, "target", bounded(st.target_bytes), "told",
                       bounded(st.told_bytes), "gone", bounded(st.gone_bytes), "rejected",
                       bounded(st.rejected), "nodes", nodes, "stats", stats_json(&st));
    if (answer == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the answer");
    *ret_json = answer;
    return 0;
}
