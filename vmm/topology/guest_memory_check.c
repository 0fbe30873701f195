/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_memory_check.h. Pure. */
#include "vmm/topology/guest_memory_check.h"

#include <errno.h>

#include "vmm/base/units.h"

struct guest_node_memory guest_node_memory(const struct guest_spec *spec, uint32_t i)
{
    const struct guest_node_spec *n = i < spec->n_nodes ? &spec->nodes[i] : NULL;

    return (struct guest_node_memory){
        .policy = n != NULL && n->policy != GUEST_POLICY_NONE ? n->policy : spec->policy,
        .pages = n != NULL && n->pages.n > 0 ? &n->pages : &spec->pages,
        .weights = n != NULL && n->weights.n > 0 ? &n->weights : NULL,
        .reserve = n != NULL && n->reserve,
        .prealloc = spec->prealloc || (n != NULL && n->prealloc),
    };
}

static int check_has_memory(const struct guest_node_spec *n, uint32_t i, struct errctx *ec)
{
    const char *key = n->policy != GUEST_POLICY_NONE ? "policy="
                      : n->weights.n > 0             ? "weights="
                      : n->pages.n > 0               ? "pages="
                      : n->reserve                   ? "reserve"
                      : n->prealloc                  ? "prealloc"
                                                     : NULL;

    return key == NULL ? 0
                       : errctx_set(ec, EINVAL,
                                    "--node %u: %s has no effect on a node without memory", i, key);
}

static int check_weights(const struct guest_node_spec *n, const struct guest_node_memory *m,
                         uint32_t i, struct errctx *ec)
{
    const uint32_t hosts = idset_count(&n->host_nodes);

    if (m->policy != GUEST_POLICY_WEIGHTED)
        return n->weights.n == 0 ? 0
                                 : errctx_set(ec, EINVAL,
                                              "--node %u: weights= has no effect without "
                                              "policy=weighted-interleave",
                                              i);
    if (n->weights.n == 0)
        return errctx_set(ec, EINVAL, "--node %u: policy=weighted-interleave needs weights=", i);
    if (n->weights.n != hosts)
        return errctx_set(ec, EINVAL,
                          "--node %u: weights= has %u numbers, but host= names %u host nodes", i,
                          n->weights.n, hosts);
    return 0;
}

static int check_policy(const struct guest_node_spec *n, const struct guest_node_memory *m,
                        uint32_t i, struct errctx *ec)
{
    const bool spreads = m->policy == GUEST_POLICY_INTERLEAVE ||
                         m->policy == GUEST_POLICY_WEIGHTED;

    if (m->policy == GUEST_POLICY_LOCAL && !idset_empty(&n->host_nodes))
        return errctx_set(ec, EINVAL,
                          "--node %u: host= and policy=local exclude each other: local memory is "
                          "wherever the CPU runs that touches it first",
                          i);
    if (spreads && idset_count(&n->host_nodes) == 1)
        return errctx_set(ec, EINVAL, "--node %u: policy=%s has only one host node in host=", i,
                          guest_policy_words[m->policy]);
    return check_weights(n, m, i, ec);
}

static int check_commit(const struct guest_spec *spec, const struct guest_node_memory *m,
                        uint32_t i, struct errctx *ec)
{
    if (i < spec->n_nodes && spec->nodes[i].prealloc && spec->prealloc)
        return errctx_set(ec, EINVAL, "--node %u: prealloc is said for all nodes by --prealloc", i);
    if (m->reserve && m->prealloc)
        return errctx_set(ec, EINVAL,
                          "--node %u: reserve has no effect beside prealloc, which takes all "
                          "memory",
                          i);
    if (m->policy == GUEST_POLICY_LOCAL && (m->reserve || m->prealloc))
        return errctx_set(ec, EINVAL,
                          "--node %u: policy=local and %s exclude each other: memory taken at the "
                          "start is on no vCPU's node",
                          i, m->prealloc ? "prealloc" : "reserve");
    return 0;
}

/* The parts fill the node exactly. */
static int check_pages(const struct guest_spec *spec, const struct guest_pages *pages,
                       uint64_t ram_bytes, uint32_t i, struct errctx *ec)
{
    const char *option = i < spec->n_nodes && pages == &spec->nodes[i].pages ? "pages=" : "--pages";
    uint64_t left = ram_bytes;
    char a[32], b[32];

    for (uint32_t k = 0; k < pages->n; k++) {
        const enum guest_page_kind kind = pages->part[k].kind;
        const uint64_t bytes = pages->part[k].bytes > 0 ? pages->part[k].bytes : left;

        if (bytes > left)
            return errctx_set(ec, EINVAL, "--node %u: %s asks for %s in pages of %s, %s is left", i,
                              option, units_format_size(bytes, a, sizeof(a)),
                              guest_page_name(kind), units_format_size(left, b, sizeof(b)));
        if (bytes == 0)
            return errctx_set(ec, EINVAL, "--node %u: %s leaves nothing for pages of %s", i, option,
                              guest_page_name(kind));
        if (bytes % guest_page_unit(kind) != 0)
            return errctx_set(ec, EINVAL, "--node %u: %s: %s is no multiple of %s", i, option,
                              units_format_size(bytes, a, sizeof(a)), guest_page_name(kind));
        left -= bytes;
    }
    if (pages->n > 0 && left > 0)
        return errctx_set(ec, EINVAL,
                          "--node %u: %s does not say what the last %s are; the last part needs no "
                          "size",
                          i, option, units_format_size(left, a, sizeof(a)));
    return 0;
}

static bool has_pools(const struct guest_pages *pages)
{
    for (uint32_t k = 0; k < pages->n; k++)
        if (guest_page_bytes(pages->part[k].kind) > 0)
            return true;
    return false;
}

/* That pages may give way says nothing where all are normal ones. */
static int check_fallback(const struct guest_spec *spec, struct errctx *ec)
{
    bool pools = has_pools(&spec->pages);

    for (uint32_t i = 0; i < spec->n_nodes; i++)
        pools = pools || has_pools(&spec->nodes[i].pages);
    for (uint32_t k = 0; k < spec->fallback.n; k++)
        if (spec->fallback.step[k] == GUEST_YIELD_PAGES && !pools)
            return errctx_set(ec, EINVAL,
                              "--fallback pages has no effect: no node asks for pages of 2M or 1G");
    return 0;
}

int guest_memory_check(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec)
{
    int r = check_fallback(spec, ec);

    for (uint32_t i = 0; r == 0 && i < sh->n_nodes; i++) {
        const struct guest_node_spec *n = i < spec->n_nodes ? &spec->nodes[i] : NULL;
        const struct guest_node_memory m = guest_node_memory(spec, i);

        if (sh->ram_bytes[i] == 0) {
            r = n != NULL ? check_has_memory(n, i, ec) : 0;
            continue;
        }
        if (n == NULL && m.policy == GUEST_POLICY_WEIGHTED)
            return errctx_set(
                ec, EINVAL, "--policy weighted-interleave needs a --node with host= and weights=");
        r = n != NULL ? check_policy(n, &m, i, ec) : 0;
        if (r == 0)
            r = check_commit(spec, &m, i, ec);
        if (r == 0)
            r = check_pages(spec, m.pages, sh->ram_bytes[i], i, ec);
    }
    return r;
}
