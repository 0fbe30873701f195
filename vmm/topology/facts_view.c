/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/topology/facts_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/units.h"

enum { LIST_LEN = 128 };

/* --- reading ---------------------------------------------------------------------------------- */

static int by_name(const void *name, const void *fact)
{
    return strcmp(name, ((const struct fact *)fact)->name);
}

static const char *value_of(const struct facts *facts, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static const char *value_of(const struct facts *facts, const char *fmt, ...)
{
    const struct fact *found = NULL;
    char name[32];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    if (facts->n > 0)
        found = bsearch(name, facts->list, facts->n, sizeof(facts->list[0]), by_name);
    return found != NULL ? found->value : NULL;
}

static int take_set(const char *what, const char *value, struct idset *ret_set, struct errctx *ec)
{
    int r;

    if (value == NULL)
        return errctx_set(ec, EINVAL, "%s: there is no such fact", what);
    r = idset_parse(strcmp(value, "-") == 0 ? "" : value, ret_set, ec);
    return r < 0 ? errctx_wrap(ec, r, "%s", what) : 0;
}

static int take_node(const struct facts *facts, uint32_t id, struct facts_view_node *n,
                     struct errctx *ec)
{
    const char *memory = value_of(facts, "node%u.memory", id);
    int r = take_set("CPUs of a node", value_of(facts, "node%u.cpus", id), &n->cpus, ec);

    if (r == 0 && memory != NULL)
        r = units_parse_uint(memory, UINT64_MAX / 1024, &n->memory_kib, ec);
    return r < 0 ? errctx_wrap(ec, r, "node %u", id) : 0;
}

int facts_view_of(const struct facts *facts, struct facts_view *ret_view, struct errctx *ec)
{
    CLEANUP_FREE struct facts_view *view = calloc(1, sizeof(*view));
    int r;

    if (view == NULL)
        return errctx_set(ec, ENOMEM, "no memory for what a guest sees");
    r = take_set("nodes", value_of(facts, "nodes"), &view->nodes, ec);
    if (r == 0)
        r = take_set("cpus", value_of(facts, "cpus"), &view->cpus, ec);
    if (r == 0 && value_of(facts, "generic_initiators") != NULL)
        r = take_set("generic_initiators", value_of(facts, "generic_initiators"),
                     &view->initiators, ec);
    if (r < 0)
        return r;
    IDSET_FOREACH (id, &view->nodes) {
        r = id < GUEST_MAX_VNODES ? take_node(facts, id, &view->node[id], ec)
                                  : errctx_set(ec, EINVAL, "node %u is more than there are", id);
        if (r < 0)
            return r;
    }
    *ret_view = *view;
    return 0;
}

/* --- changing --------------------------------------------------------------------------------- */

uint32_t facts_view_node_of(const struct facts_view *view, uint32_t cpu)
{
    for (uint32_t id = 0; id < GUEST_MAX_VNODES; id++)
        if (idset_has(&view->node[id].cpus, cpu))
            return id;
    return UINT32_MAX;
}

void facts_view_set_cpu(struct facts_view *view, uint32_t cpu, uint32_t node, bool online)
{
    (online ? idset_add : idset_del)(&view->cpus, cpu);
    (online ? idset_add : idset_del)(&view->node[node].cpus, cpu);
    if (online)
        idset_add(&view->nodes, node);
}

void facts_view_add_memory(struct facts_view *view, uint32_t node, uint64_t kib, bool less)
{
    struct facts_view_node *n = &view->node[node];
    bool there;

    if (!less)
        n->memory_kib += kib;
    else
        n->memory_kib -= kib < n->memory_kib ? kib : n->memory_kib;
    there = n->memory_kib > 0 || !idset_empty(&n->cpus) || idset_has(&view->initiators, node);
    (there ? idset_add : idset_del)(&view->nodes, node);
}

/* --- comparing -------------------------------------------------------------------------------- */

static const char *list(const struct idset *set, char buf[static LIST_LEN])
{
    return idset_empty(set) ? "none" : idset_format(set, buf, LIST_LEN);
}

bool facts_view_differ(const struct facts_view *expected, const struct facts_view *seen, char *buf,
                       size_t size)
{
    char a[LIST_LEN], b[LIST_LEN];

    if (!idset_equal(&expected->nodes, &seen->nodes)) {
        (void)snprintf(buf, size, "nodes %s are online, expected %s", list(&seen->nodes, a),
                       list(&expected->nodes, b));
        return true;
    }
    for (uint32_t id = 0; id < GUEST_MAX_VNODES; id++) {
        const struct facts_view_node *want = &expected->node[id], *is = &seen->node[id];

        if (!idset_equal(&want->cpus, &is->cpus)) {
            (void)snprintf(buf, size, "node %u has CPUs %s, expected %s", id, list(&is->cpus, a),
                           list(&want->cpus, b));
            return true;
        }
        if (want->memory_kib != is->memory_kib) {
            (void)snprintf(buf, size, "node %u has %" PRIu64 " KiB, expected %" PRIu64, id,
                           is->memory_kib, want->memory_kib);
            return true;
        }
    }
    if (idset_equal(&expected->cpus, &seen->cpus))
        return false;
    (void)snprintf(buf, size, "CPUs %s are online, expected %s", list(&seen->cpus, a),
                   list(&expected->cpus, b));
    return true;
}
