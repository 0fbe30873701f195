/* SPDX-License-Identifier: Apache-2.0 */
/* See guest_scale.h. */
#include "vmm/topology/guest_scale.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/guest_caches.h"
#include "vmm/topology/guest_shape.h"

enum { SCALE_MAX = 1000000 };

static int parse_fraction(char *text, uint32_t *ret_by, uint32_t *ret_of, struct errctx *ec)
{
    char *slash = strchr(text, '/');
    uint64_t by, of;
    int r;

    if (slash == NULL)
        return errctx_set(ec, EINVAL, "\"%s\" is not of the form 1/N", text);
    *slash = '\0';
    r = units_parse_uint(text, SCALE_MAX, &by, ec);
    if (r == 0)
        r = units_parse_uint(slash + 1, SCALE_MAX, &of, ec);
    if (r < 0)
        return r;
    if (by == 0 || by > of)
        return errctx_set(ec, EINVAL, "%" PRIu64 "/%" PRIu64 " shrinks nothing: say a fraction "
                          "of at most 1/1", by, of);
    *ret_by = (uint32_t)by;
    *ret_of = (uint32_t)of;
    return 0;
}

int guest_scale_parse(const char *text, struct guest_scale *ret_scale, struct errctx *ec)
{
    CLEANUP_FREE char *copy = strdup(text);
    struct guest_scale s = { 0 };
    char *rest = NULL;
    int r = 0;

    if (copy == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the option");
    for (char *w = strtok_r(copy, ",", &rest); r == 0 && w != NULL; w = strtok_r(NULL, ",", &rest)) {
        const bool memory = strncmp(w, "memory=", 7) == 0;

        if (!memory && strncmp(w, "cpus=", 5) != 0)
            return errctx_set(ec, EINVAL, "\"%s\" is neither memory=1/N nor cpus=1/N", w);
        if ((memory ? s.memory_of : s.cpus_of) != 0)
            return errctx_set(ec, EINVAL, "%s is said twice", memory ? "memory=" : "cpus=");
        r = memory ? parse_fraction(w + 7, &s.memory_by, &s.memory_of, ec)
                   : parse_fraction(w + 5, &s.cpus_by, &s.cpus_of, ec);
        if (r < 0)
            return errctx_wrap(ec, r, "%s", memory ? "memory=" : "cpus=");
    }
    if (s.memory_of == 0 && s.cpus_of == 0)
        return errctx_set(ec, EINVAL, "\"%s\" is not of the form memory=1/N,cpus=1/N", text);
    *ret_scale = s;
    return 0;
}

/* Down to a multiple of @unit, but not to nothing. */
static uint64_t scaled(uint64_t v, uint32_t by, uint32_t of, uint64_t unit)
{
    const uint64_t less = (uint64_t)((unsigned __int128)v * by / of);

    return v == 0 ? 0 : MAX(less / unit, UINT64_C(1)) * unit;
}

/* Caches in front of memory keep their share of it. */
static void scale_mem_caches(struct guest_node_spec *n, uint64_t before)
{
    for (uint32_t i = 0; i < n->n_mem_caches; i++) {
        uint64_t *size = &n->mem_cache[i].size_bytes;
        const unsigned __int128 share = (unsigned __int128)*size * n->memory_bytes;

        if (before > 0)
            *size = MAX((uint64_t)(share / before), UINT64_C(4096));
    }
}

static void scale_node_memory(struct guest_spec *spec, uint32_t by, uint32_t of)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < spec->n_nodes; i++) {
        struct guest_node_spec *n = &spec->nodes[i];
        const uint64_t before = n->memory_bytes;

        n->memory_bytes = scaled(before, by, of, GUEST_PAGE_BYTES);
        n->hotplug_bytes = scaled(n->hotplug_bytes, by, of, GUEST_HOTPLUG_BYTES);
        scale_mem_caches(n, before);
        sum += n->memory_bytes;
    }
    if (sum > 0 && spec->memory_bytes > 0)
        spec->memory_bytes = sum;
    else if (sum == 0)
        spec->memory_bytes = scaled(spec->memory_bytes, by, of, GUEST_PAGE_BYTES);
}

/* How many cores are left of a group of @n. */
static uint32_t fewer(const struct guest_scale *s, uint32_t n)
{
    const uint64_t v = ((uint64_t)n * s->cpus_by * 2 + s->cpus_of) / (2ull * s->cpus_of);

    return (uint32_t)MAX(v, UINT64_C(1));
}

/* A die of @cores, in groups of @group (those that share the last-level cache). */
static uint32_t fewer_of_die(const struct guest_scale *s, uint32_t cores, uint32_t group)
{
    const uint32_t left = fewer(s, group);

    if (cores == group || cores % group != 0 || (uint64_t)group * s->cpus_by < s->cpus_of)
        return fewer(s, cores);
    return cores / group * left;
}

/* The greatest power of two up to @most that divides @n. */
static uint32_t pow2_divisor(uint32_t n, uint32_t most)
{
    uint32_t v = n & -n;

    while (v > most)
        v /= 2;
    return v;
}

static void scale_caches(struct guest_spec *spec, const struct guest_scale *s,
                         const struct guest_shape *sh, uint32_t group)
{
    const uint32_t die = fewer_of_die(s, sh->max_cores, group);
    const uint32_t left = group == sh->max_cores ? die
                          : (uint64_t)group * s->cpus_by < s->cpus_of ? 1 : fewer(s, group);

    for (size_t i = 0; i < spec->n_caches; i++) {
        uint32_t *cores = &spec->caches[i].cores;

        if (*cores == 0)
            continue;
        if (*cores == sh->max_cores)
            *cores = die;
        else if (*cores == group)
            *cores = left;
        else if (*cores < group)
            *cores = pow2_divisor(left, *cores);
        else
            *cores = *cores / group * left;
    }
}

/* CPUs of the nodes, numbered anew in the order that they had. */
static void number_nodes(struct guest_spec *spec, const struct guest_shape *sh,
                         const uint32_t cpus[static GUEST_MAX_VNODES])
{
    uint32_t next = 0;

    for (size_t i = 0; i < spec->n_nodes && !sh->split_cpus; i++)
        spec->nodes[i].cpus = (struct idset){ 0 };
    for (uint32_t i = 0; i < sh->n_cpu_nodes; i++) {
        const uint32_t node = sh->cpu_nodes[i];

        if (!sh->split_cpus)
            idset_add_range(&spec->nodes[node].cpus, next, cpus[node]);
        next += cpus[node];
    }
    spec->n_cpus = next;
}

static int scale_cpus(struct guest_spec *spec, const struct guest_scale *s, struct errctx *ec)
{
    CLEANUP_FREE struct guest_shape *sh = calloc(1, sizeof(*sh));
    uint32_t cpus[GUEST_MAX_VNODES] = { 0 }, group;
    int r;

    if (sh == NULL)
        return errctx_set(ec, ENOMEM, "no memory to scale CPUs");
    for (size_t i = 0; i < spec->n_caches; i++)
        if (spec->caches[i].span_nodes)
            return errctx_set(ec, EINVAL, "cpus=: a cache that spans nodes cannot keep its shape");
    r = guest_shape_resolve(spec, sh, ec);
    if (r < 0)
        return r;
    group = guest_caches_complex(spec, sh);
    for (uint32_t i = 0; i < sh->n_dies; i++)
        cpus[sh->die[i].node] += fewer_of_die(s, sh->die[i].cores, group) * sh->threads;
    scale_caches(spec, s, sh, group);
    if (spec->cores > 0)
        spec->cores = fewer_of_die(s, spec->cores, group);
    number_nodes(spec, sh, cpus);
    return 0;
}

int guest_scale_apply(struct guest_spec *spec, const struct guest_scale *scale, struct errctx *ec)
{
    if (scale->memory_of != 0) {
        if (spec->memory_bytes == 0 && spec->n_nodes == 0)
            return errctx_set(ec, EINVAL, "memory=: the topology says nothing of memory");
        scale_node_memory(spec, scale->memory_by, scale->memory_of);
    }
    for (size_t i = 0; scale->cpus_of != 0 && i < spec->n_nodes; i++)
        if (!idset_empty(&spec->nodes[i].later_cpus))
            return errctx_set(ec, EINVAL, "cpus=: node %zu has CPUs that are plugged in later, "
                              "which do not scale", i);
    return scale->cpus_of != 0 ? scale_cpus(spec, scale, ec) : 0;
}

int guest_scale_memory(struct guest_spec *spec, uint64_t total_bytes, struct errctx *ec)
{
    uint64_t before = 0, given = 0;
    size_t most = 0, with = 0;
    char a[32];

    for (size_t i = 0; i < spec->n_nodes; i++) {
        before += spec->nodes[i].memory_bytes;
        with += spec->nodes[i].memory_bytes > 0;
        if (spec->nodes[i].memory_bytes > spec->nodes[most].memory_bytes)
            most = i;
    }
    spec->memory_bytes = total_bytes;
    if (before == 0)
        return 0;
    if (total_bytes / GUEST_PAGE_BYTES < with)
        return errctx_set(ec, EINVAL, "%s is too little to give each of %zu nodes a page of 2 MiB",
                          units_format_size(total_bytes, a, sizeof(a)), with);
    for (size_t i = 0; i < spec->n_nodes; i++) {
        struct guest_node_spec *n = &spec->nodes[i];
        const uint64_t was = n->memory_bytes;
        const unsigned __int128 share = (unsigned __int128)was * total_bytes / before;

        if (was == 0)
            continue;
        n->memory_bytes = MAX((uint64_t)share / GUEST_PAGE_BYTES, UINT64_C(1)) * GUEST_PAGE_BYTES;
        scale_mem_caches(n, was);
        given += n->memory_bytes;
    }
    /* What rounding left over, or took too much of, is the largest node's. */
    if (spec->nodes[most].memory_bytes + total_bytes < given + GUEST_PAGE_BYTES)
        return errctx_set(ec, EINVAL, "%s does not divide by the nodes' shares, say more",
                          units_format_size(total_bytes, a, sizeof(a)));
    spec->nodes[most].memory_bytes += total_bytes - given;
    return 0;
}
