/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The growing arrays of a guest description. Room is doubled whenever the count is a power of
 * two, so that no capacity has to be carried in a value that others fill with initialisers.
 */
#include "vmm/topology/guest_spec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const guest_balance_words[] = { "off", "advise", "on", NULL };

/* Make room for one more element of @size in *array that holds @n. */
static int grow(void **array, size_t n, size_t size, struct errctx *ec)
{
    void *bigger;

    if (n != 0 && (n & (n - 1)) != 0)
        return 0;
    bigger = reallocarray(*array, n == 0 ? 1 : 2 * n, size);
    if (bigger == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the guest's description");
    *array = bigger;
    return 0;
}

int guest_spec_add_node(struct guest_spec *spec, const struct guest_node_spec *node,
                        struct errctx *ec)
{
    void *array = spec->nodes;
    int r;

    if (spec->n_nodes >= GUEST_MAX_VNODES)
        return errctx_set(ec, E2BIG, "--node: a guest has at most %d nodes", GUEST_MAX_VNODES);
    r = grow(&array, spec->n_nodes, sizeof(*node), ec);
    if (r < 0)
        return r;
    spec->nodes = array;
    spec->nodes[spec->n_nodes++] = *node;
    return 0;
}

int guest_spec_add_distance(struct guest_spec *spec, const struct guest_distance_spec *d,
                            struct errctx *ec)
{
    void *array = spec->distances;
    int r;

    if (spec->n_distances >= (size_t)GUEST_MAX_VNODES * GUEST_MAX_VNODES)
        return errctx_set(ec, E2BIG, "--distance: more distances than pairs of %d nodes",
                          GUEST_MAX_VNODES);
    r = grow(&array, spec->n_distances, sizeof(*d), ec);
    if (r < 0)
        return r;
    spec->distances = array;
    spec->distances[spec->n_distances++] = *d;
    return 0;
}

int guest_spec_add_link(struct guest_spec *spec, const struct guest_link_spec *l, struct errctx *ec)
{
    void *array = spec->links;
    int r;

    if (spec->n_links >= (size_t)GUEST_MAX_VNODES * GUEST_MAX_VNODES)
        return errctx_set(ec, E2BIG, "--link: more links than pairs of %d nodes", GUEST_MAX_VNODES);
    r = grow(&array, spec->n_links, sizeof(*l), ec);
    if (r < 0)
        return r;
    spec->links = array;
    spec->links[spec->n_links++] = *l;
    return 0;
}

void guest_spec_fini(struct guest_spec *spec)
{
    free(spec->nodes);
    free(spec->distances);
    free(spec->links);
    memset(spec, 0, sizeof(*spec));
}
