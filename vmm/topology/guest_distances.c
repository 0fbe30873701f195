/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_distances.h. */
#include "vmm/topology/guest_distances.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/macros.h"

enum { DISTANCE_HOP = 10 };

static uint32_t hops_flat(uint32_t from, uint32_t to, uint32_t n)
{
    (void)n;
    return from != to;
}

static uint32_t hops_line(uint32_t from, uint32_t to, uint32_t n)
{
    (void)n;
    return from > to ? from - to : to - from;
}

static uint32_t hops_one_way(uint32_t from, uint32_t to, uint32_t n)
{
    return (to + n - from) % n;
}

static uint32_t hops_ring(uint32_t from, uint32_t to, uint32_t n)
{
    return MIN(hops_one_way(from, to, n), hops_one_way(to, from, n));
}

/* The grid is as square as it gets: the last row may be short. */
static uint32_t columns(uint32_t n)
{
    uint32_t c = 1;

    while (c * c < n)
        c++;
    return c;
}

static uint32_t hops_mesh(uint32_t from, uint32_t to, uint32_t n)
{
    const uint32_t c = columns(n);

    return hops_line(from % c, to % c, n) + hops_line(from / c, to / c, n);
}

static uint32_t hops_torus(uint32_t from, uint32_t to, uint32_t n)
{
    const uint32_t c = columns(n), rows = (n + c - 1) / c;

    return hops_ring(from % c, to % c, c) + hops_ring(from / c, to / c, rows);
}

static uint32_t hops_hypercube(uint32_t from, uint32_t to, uint32_t n)
{
    (void)n;
    return (uint32_t)__builtin_popcount(from ^ to);
}

static uint32_t (*const hops[])(uint32_t from, uint32_t to, uint32_t n) = {
    hops_flat, hops_line, hops_ring, hops_one_way, hops_mesh, hops_torus, hops_hypercube,
};

const char *const guest_distance_shapes[] = {
    "flat", "line", "ring", "one-way", "mesh", "torus", "hypercube", NULL,
};

_Static_assert(ARRAY_SIZE(guest_distance_shapes) == ARRAY_SIZE(hops) + 1, "a name for each");

static int shape_index(const char *word)
{
    for (int i = 0; guest_distance_shapes[i] != NULL; i++)
        if (strcmp(guest_distance_shapes[i], word) == 0)
            return i;
    return -1;
}

bool guest_distances_is_shape(const char *word)
{
    return shape_index(word) >= 0;
}

int guest_distances_shape(struct guest_spec *spec, const char *word, uint32_t n_nodes,
                          struct errctx *ec)
{
    const int shape = shape_index(word);
    uint32_t most = 1, hop;
    int r = 0;

    if (shape < 0)
        return errctx_set(ec, EINVAL, "\"%s\" is no shape of distances", word);
    for (uint32_t i = 0; i < n_nodes; i++)
        for (uint32_t k = 0; k < n_nodes; k++)
            most = MAX(most, hops[shape](i, k, n_nodes));
    hop = MIN((uint32_t)DISTANCE_HOP, (GUEST_DISTANCE_MAX - GUEST_DISTANCE_LOCAL) / most);
    spec->n_distances = 0;
    for (uint32_t i = 0; r == 0 && i < n_nodes; i++)
        for (uint32_t k = 0; r == 0 && k < n_nodes; k++) {
            const struct guest_distance_spec d = {
                i, k, GUEST_DISTANCE_LOCAL + hop * hops[shape](i, k, n_nodes)
            };

            if (i != k)
                r = guest_spec_add_distance(spec, &d, ec);
        }
    return r;
}

struct matrix_text {
    const char *at, *end;
    unsigned line; /* from 1 */
};

/* To the next line that has something; false at the end. */
static bool next_row(struct matrix_text *t)
{
    while (t->at < t->end) {
        if (*t->at == '#')
            while (t->at < t->end && *t->at != '\n')
                t->at++;
        else if (*t->at == '\n')
            t->line++, t->at++;
        else if (*t->at == ' ' || *t->at == '\t' || *t->at == '\r')
            t->at++;
        else
            return true;
    }
    return false;
}

/* One number of a row; 0: the row has ended. */
static int next_number(struct matrix_text *t, uint32_t *ret, uint32_t column, struct errctx *ec)
{
    uint32_t v = 0;

    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r' || *t->at == ','))
        t->at++;
    if (t->at == t->end || *t->at == '\n' || *t->at == '#')
        return 0;
    if (!isdigit((unsigned char)*t->at))
        return errctx_set(ec, EINVAL, "line %u, number %u: a distance is expected here", t->line,
                          column + 1);
    while (t->at < t->end && isdigit((unsigned char)*t->at)) {
        v = v * 10 + (uint32_t)(*t->at++ - '0');
        if (v > GUEST_DISTANCE_MAX)
            return errctx_set(ec, ERANGE, "line %u, number %u: the greatest distance is %d",
                              t->line, column + 1, GUEST_DISTANCE_MAX);
    }
    *ret = v;
    return 1;
}

static int read_row(struct matrix_text *t, struct guest_spec *spec, uint32_t from, uint32_t n_nodes,
                    struct errctx *ec)
{
    struct guest_distance_spec d = { .from = from };
    const unsigned line = t->line;

    for (;; d.to++) {
        int r = next_number(t, &d.value, d.to, ec);

        if (r == 0 && d.to == n_nodes)
            return 0;
        if (r < 0)
            return r;
        if (r == 0 || d.to == n_nodes)
            return errctx_set(ec, EINVAL, "line %u has %s than %u distances, one for each node",
                              line, r == 0 ? "less" : "more", n_nodes);
        if (from == d.to ? d.value != GUEST_DISTANCE_LOCAL : d.value <= GUEST_DISTANCE_LOCAL)
            return errctx_set(ec, EINVAL, "line %u, number %u: %u, but a node is %d from itself and "
                              "more than that from others", line, d.to + 1, d.value,
                              GUEST_DISTANCE_LOCAL);
        r = from == d.to ? 0 : guest_spec_add_distance(spec, &d, ec);
        if (r < 0)
            return r;
    }
}

int guest_distances_matrix(struct guest_spec *spec, const char *text, size_t len, uint32_t n_nodes,
                           struct errctx *ec)
{
    struct matrix_text t = { .at = text, .end = text + len, .line = 1 };

    spec->n_distances = 0;
    for (uint32_t from = 0; from < n_nodes; from++) {
        int r;

        if (!next_row(&t))
            return errctx_set(ec, EINVAL, "it has %u lines of distances, there are %u nodes", from,
                              n_nodes);
        r = read_row(&t, spec, from, n_nodes, ec);
        if (r < 0)
            return r;
    }
    if (next_row(&t))
        return errctx_set(ec, EINVAL, "line %u is one too many, there are %u nodes", t.line,
                          n_nodes);
    return 0;
}
