/* SPDX-License-Identifier: Apache-2.0 */
/* What `ctl ledger` shows. Main thread. */
#include <errno.h>
#include <stdlib.h>

#include "memory/residency.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/machine/machine_private.h"
#include "vmm/topology/ledger.h"

/* Memory of one backing: all of it, and what is on a node where it belongs. */
static int count(const struct machine *m, const struct backing *b, struct residency *res,
                 struct ledger_node *n, struct errctx *ec)
{
    int r;

    guest_mem_pages_stay(m->mem);
    r = residency_scan(b, m->pagemap, res, ec);
    guest_mem_pages_may_go(m->mem);
    if (r < 0)
        return r;
    n->resident_bytes += res->present_bytes;
    for (uint32_t i = 0; i < res->n_nodes; i++)
        if (idset_has(&b->home.host_nodes, i))
            n->home_bytes += res->node[i].pages_4k * 4096 + res->node[i].pages_2m * 2 * MIB +
                             res->node[i].pages_1g * GIB;
    return 0;
}

static int gather(struct machine *m, struct ledger_node *nodes, struct errctx *ec)
{
    CLEANUP_FREE struct residency *res = malloc(sizeof(*res));
    int r = 0;

    if (res == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count pages");
    for (size_t i = 0; r == 0 && i < guest_mem_n_backings(m->mem); i++) {
        const struct backing *b = guest_mem_backing(m->mem, i);

        r = count(m, b, res, &nodes[b->plan->vnode.v], ec);
    }
    for (uint32_t i = 0; i < m->plan->n_nodes; i++) {
        guest_mem_home(m->mem, (struct vnode_id){ i }, &nodes[i].homes);
        nodes[i].forced = idset_has(&m->forced, i);
    }
    return r;
}

static json_t *node_json(const struct ledger *l, size_t i)
{
    const struct ledger_node *n = &l->nodes[i];
    const bool known = n->resident_bytes > 0 && !idset_empty(&n->homes);
    char homes[256];

    return json_pack("{s:i, s:s, s:I, s:I, s:o, s:b}", "id", (int)i, "home",
                     idset_format(&n->homes, homes, sizeof(homes)), "resident",
                     (json_int_t)n->resident_bytes, "at_home", (json_int_t)n->home_bytes, "share",
                     known ? json_real((double)n->home_bytes / (double)n->resident_bytes)
                           : json_null(),
                     "forced", n->forced);
}

static json_t *matrix_json(const uint32_t *values, size_t n)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array();

        for (size_t k = 0; k < n; k++)
            (void)json_array_append_new(row, json_integer(values[i * n + k]));
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *pair_json(uint32_t from, uint32_t to, uint32_t told, uint32_t real)
{
    return json_pack("{s:i, s:i, s:i, s:i}", "from", (int)from, "to", (int)to, "told", (int)told,
                     "real", (int)real);
}

static json_t *broken_json(const struct ledger *l)
{
    const size_t n = l->n_nodes;
    json_t *list = json_array();

    for (size_t i = 0; i < n * n; i++)
        if (ledger_is_broken(l, i / n, i % n))
            (void)json_array_append_new(
                list, pair_json((uint32_t)(i / n), (uint32_t)(i % n), l->told[i], l->real[i]));
    return list;
}

static json_t *ledger_json(const struct machine *m, const struct ledger *l)
{
    const struct ledger_pair *w = &l->worst;
    json_t *nodes = json_array();

    for (size_t i = 0; i < l->n_nodes; i++)
        (void)json_array_append_new(nodes, node_json(l, i));
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:I}", "name", m->config->name, "nodes", nodes,
                     "told", matrix_json(l->told, l->n_nodes), "real",
                     matrix_json(l->real, l->n_nodes), "worst",
                     w->real > 0 ? pair_json(w->from, w->to, w->told, w->real) : json_null(),
                     "broken", broken_json(l), "inversions", (json_int_t)l->n_inversions);
}

static int answer(struct machine *m, json_t **ret_json, struct errctx *ec)
{
    CLEANUP_FREE struct ledger_node *nodes = calloc(m->plan->n_nodes, sizeof(*nodes));
    struct ledger *l;
    int r =
        nodes == NULL ? errctx_set(ec, ENOMEM, "no memory for the ledger") : gather(m, nodes, ec);

    if (r == 0)
        r = ledger_new(m->plan, nodes, &l, ec);
    if (r < 0)
        return r;
    *ret_json = ledger_json(m, l);
    ledger_free(l);
    return *ret_json == NULL ? errctx_set(ec, ENOMEM, "no memory for the answer") : 0;
}

/* Nothing is evicted: looking would fill a hole that is made meanwhile. */
static void ledger_now(struct stand_wish *wish, bool stands)
{
    struct machine_ask *ask = container_of(wish, struct machine_ask, wish);
    struct errctx ec = { 0 };
    json_t *json = NULL;
    const int r = stands ? answer(ask->machine, &json, &ec) : machine_ask_ending(&ec);

    ask->answer(ask, r, json, &ec);
}

void machine_ledger(struct machine *m, struct machine_ask *ask)
{
    machine_ask_when(m, ask, STAND_EVICTOR, ledger_now);
}
