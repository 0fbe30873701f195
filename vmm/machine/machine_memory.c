/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl memory` shows: every backing, and where its pages are. Main thread. */
#include <errno.h>
#include <stdlib.h>

#include "memory/residency.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"

static json_t *where_json(const struct residency *res)
{
    json_t *where = json_array();

    for (uint32_t i = 0; i < res->n_nodes; i++) {
        const struct residency_node *n = &res->node[i];

        if (n->pages_4k + n->pages_2m + n->pages_1g > 0)
            (void)json_array_append_new(
                where, json_pack("{s:i, s:I, s:I, s:I}", "host", (int)i, "pages_4k",
                                 (json_int_t)n->pages_4k, "pages_2m", (json_int_t)n->pages_2m,
                                 "pages_1g", (json_int_t)n->pages_1g));
    }
    return where;
}

static json_t *backing_json(const struct backing *backing, const struct residency *res)
{
    const struct topo_plan_backing *b = backing->plan;
    char hosts[256];

    return json_pack("{s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "offset", (json_int_t)b->off,
                     "memory", (json_int_t)b->len_bytes, "pages", guest_page_name(b->pages),
                     "policy", guest_policy_words[backing->home.policy], "host",
                     idset_format(&backing->home.host_nodes, hosts, sizeof(hosts)), "present",
                     (json_int_t)res->present_bytes, "reserved", (json_int_t)res->reserved_bytes,
                     "unknown", (json_int_t)res->unknown_bytes, "where", where_json(res));
}

/* What the guest gave away joins the other facts of each node. */
static int add_given(const struct machine *m, json_t *nodes, struct errctx *ec)
{
    json_t *given;
    int r = machine_balloon_nodes(m, &given, ec);

    if (r == -ENODEV)
        return 0;
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(nodes); i++)
        (void)json_object_update(json_array_get(nodes, i), json_array_get(given, i));
    json_decref(given);
    return 0;
}

/* What is plugged into a node that has room for that. */
static void add_plugged(const struct machine *m, const struct topo_plan_node *n, json_t *node)
{
    for (size_t i = 0; i < guest_mem_n_windows(m->mem); i++) {
        const struct guest_mem_window w = guest_mem_window(m->mem, i);

        if (w.vnode.v == n->vnode.v)
            (void)json_object_set_new(
                node, "plugged",
                json_integer((json_int_t)guest_mem_plugged(m->mem, w.base, w.len_bytes)));
    }
}

/* Second-level page tables of all guests together, by host node that this machine may use. */
static json_t *tables_json(const struct machine *m)
{
    json_t *list = json_array();
    uint64_t bytes;

    for (size_t i = 0; i < m->plan->n_hosts; i++)
        if (host_tables_read(m->tables, i, &bytes))
            (void)json_array_append_new(list, json_pack("{s:i, s:I}", "host",
                                                        (int)m->plan->hosts[i].id.v, "page_tables",
                                                        (json_int_t)bytes));
    return list;
}

static int answer(const struct machine *m, json_t **ret_json, struct errctx *ec)
{
    CLEANUP_FREE struct residency *res = malloc(sizeof(*res));
    json_t *nodes = json_array();
    size_t k = 0;
    int r = res == NULL ? errctx_set(ec, ENOMEM, "no memory to count pages") : 0;

    for (size_t i = 0; r == 0 && i < m->plan->n_nodes; i++) {
        const struct topo_plan_node *n = &m->plan->nodes[i];
        json_t *backings = json_array(), *node;

        for (; k < guest_mem_n_backings(m->mem); k++) {
            const struct backing *b = guest_mem_backing(m->mem, k);

            if (b->plan->vnode.v != n->vnode.v)
                break;
            guest_mem_pages_stay(m->mem);
            r = residency_scan(b, m->pagemap, res, ec);
            guest_mem_pages_may_go(m->mem);
            if (r < 0)
                break;
            (void)json_array_append_new(backings, backing_json(b, res));
        }
        node = json_pack("{s:i, s:I, s:o, s:o*}", "id", (int)n->vnode.v, "memory",
                         (json_int_t)n->ram_bytes, "backings", backings, "pager",
                         machine_pager_json(m, n->vnode));
        add_plugged(m, n, node);
        (void)json_array_append_new(nodes, node);
    }
    if (r == 0)
        r = add_given(m, nodes, ec);
    if (r < 0) {
        json_decref(nodes);
        return r;
    }
    *ret_json = json_pack("{s:s, s:o, s:o, s:o*, s:o*, s:o*}", "name", m->config->name, "nodes",
                          nodes, "hosts", tables_json(m), "swap", machine_swap_json(m), "golden",
                          machine_golden_json(m), "domain", machine_domain_json(m));
    return *ret_json == NULL ? errctx_set(ec, ENOMEM, "no memory for the answer") : 0;
}

/* Nothing is evicted: looking would fill a hole that is made meanwhile. */
static void memory_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = stands ? answer(ask->machine, &json, &ec) : machine_ask_ending(&ec);

    ask->answer(ask, r, json, &ec);
}

void machine_memory(struct machine *m, struct machine_ask *ask)
{
    machine_ask_when(m, ask, STAND_EVICTOR, memory_now);
}
