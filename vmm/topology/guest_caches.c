/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Described CPU caches: each on its own, against the others, and against the dies.
 *
 * The guest's kernel learns sharing from a shift of the APIC id, so a number of cores that
 * share a cache must be a group that a shift can name: all cores of a die, a complex, or a power
 * of two below or above a complex. What cannot be told truthfully is refused here.
 */
#include "vmm/topology/guest_caches.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>

#include "vmm/base/checked.h"
#include "vmm/topology/topo_limits.h"

const char *guest_cache_name(uint32_t level, enum cache_type type)
{
    static const char *const name[TOPO_MAX_CACHE_LEVEL + 1][CACHE_UNIFIED + 1] = {
        [1] = { "L1 cache", "L1 data cache", "L1 instruction cache", "L1 cache" },
        [2] = { "L2 cache", "L2 data cache", "L2 instruction cache", "L2 cache" },
        [3] = { "L3 cache (--l3)", "L3 data cache", "L3 instruction cache", "L3 cache (--l3)" },
        [4] = { "L4 cache", "L4 data cache", "L4 instruction cache", "L4 cache" },
    };

    if (level < 1 || level > TOPO_MAX_CACHE_LEVEL || (unsigned)type > CACHE_UNIFIED)
        return "cache";
    return name[level][type];
}

enum cache_type guest_cache_type(const struct guest_cache_spec *c)
{
    return c->type == 0 && c->level > 1 ? CACHE_UNIFIED : c->type;
}

static int check_numbers(const struct guest_cache_spec *c, struct errctx *ec)
{
    const char *name = guest_cache_name(c->level, c->type);
    uint64_t way;

    if (c->line_bytes > TOPO_MAX_CACHE_LINE_BYTES || (c->line_bytes != 0 && !is_pow2(c->line_bytes)))
        return errctx_set(ec, ERANGE, "%s: line %u is not a power of two up to %d", name,
                          c->line_bytes, TOPO_MAX_CACHE_LINE_BYTES);
    if (c->ways > TOPO_MAX_CACHE_WAYS)
        return errctx_set(ec, ERANGE, "%s: %u ways, a guest can be told of at most %d", name, c->ways,
                          TOPO_MAX_CACHE_WAYS);
    if (c->cores > GUEST_MAX_VCPUS)
        return errctx_set(ec, ERANGE, "%s: cores=%u is above the limit of %d", name, c->cores,
                          GUEST_MAX_VCPUS);
    way = (uint64_t)(c->line_bytes ? c->line_bytes : 1) * (c->ways ? c->ways : 1);
    if (c->size_bytes % way != 0)
        return errctx_set(ec, EINVAL,
                          "%s: size %" PRIu64 " is not a multiple of its lines and ways (%" PRIu64
                          " bytes)",
                          name, c->size_bytes, way);
    if (c->size_bytes > GUEST_MAX_MEMORY_BYTES)
        return errctx_set(ec, ERANGE, "%s: size %" PRIu64 " is more than any memory", name,
                          c->size_bytes);
    return 0;
}

static int check_one(const struct guest_cache_spec *c, struct errctx *ec)
{
    const char *name = guest_cache_name(c->level, c->type);

    if (c->level < 1 || c->level > TOPO_MAX_CACHE_LEVEL)
        return errctx_set(ec, ERANGE, "cache level %u: levels are 1 to %d", c->level,
                          TOPO_MAX_CACHE_LEVEL);
    if ((unsigned)c->type > CACHE_UNIFIED)
        return errctx_set(ec, ERANGE, "%s %u: type %u is not data, instruction or unified", name,
                          c->level, (unsigned)c->type);
    if (c->level == 1 && c->type == 0)
        return errctx_set(ec, EINVAL, "%s: say whether it is the data or the instruction cache",
                          name);
    if (c->level == 1 && c->type == CACHE_UNIFIED)
        return errctx_set(ec, EINVAL, "%s: level 1 is split into data and instruction", name);
    if (c->level > 1 && c->type != 0 && c->type != CACHE_UNIFIED)
        return errctx_set(ec, EINVAL, "%s: only level 1 is split into data and instruction", name);
    if (c->size_bytes == 0 && c->line_bytes == 0 && c->ways == 0 && c->cores == 0)
        return errctx_set(ec, EINVAL, "%s is named but nothing is said about it", name);
    if (c->span_nodes && c->cores == 0)
        return errctx_set(ec, EINVAL, "%s: spanning nodes has no effect without cores=", name);
    return check_numbers(c, ec);
}

uint32_t guest_caches_complex(const struct guest_spec *spec, const struct guest_shape *sh)
{
    uint32_t cores = sh->max_cores, level = TOPO_MAX_CACHE_LEVEL + 1;

    for (size_t i = 0; i < spec->n_caches; i++) {
        const struct guest_cache_spec *c = &spec->caches[i];

        if (c->level >= 3 && c->level < level && c->cores > 0 && c->cores < sh->max_cores) {
            cores = c->cores;
            level = c->level;
        }
    }
    return cores;
}

/* Does @cores fall on a border that an APIC id field, or some of its bits, can name? */
static int check_sharing(const struct guest_cache_spec *c, const struct guest_shape *sh,
                         uint32_t complex, struct errctx *ec)
{
    const char *name = guest_cache_name(c->level, c->type);

    if (c->span_nodes && c->cores <= sh->max_cores)
        return errctx_set(ec, EINVAL,
                          "%s: spanning nodes has no effect with cores=%u, which fit on a die",
                          name, c->cores);
    if (c->cores == 0 || c->span_nodes)
        return 0;
    if (c->cores > sh->max_cores)
        return errctx_set(ec, EINVAL,
                          "%s: cores=%u, but a die has at most %u cores, and no cache is shared "
                          "across dies or nodes unless it is described as spanning them",
                          name, c->cores, sh->max_cores);
    for (uint32_t i = 0; i < sh->n_dies; i++)
        if (sh->die[i].cores % c->cores != 0)
            return errctx_set(ec, EINVAL,
                              "%s: cores=%u does not divide the %u cores of a die of node %u", name,
                              c->cores, sh->die[i].cores, sh->die[i].node);
    if (c->cores == sh->max_cores || c->cores == complex)
        return 0;
    if (c->cores < complex && (complex % c->cores != 0 || !is_pow2(c->cores)))
        return errctx_set(ec, EINVAL,
                          "%s: cores=%u must be a power of two that divides the %u cores which "
                          "share the last level",
                          name, c->cores, complex);
    if (c->cores > complex && (c->cores % complex != 0 || !is_pow2(c->cores / complex)))
        return errctx_set(ec, EINVAL,
                          "%s: cores=%u must be the %u cores of the level below times a power of "
                          "two",
                          name, c->cores, complex);
    return 0;
}

int guest_caches_check(const struct guest_spec *spec, const struct guest_shape *sh,
                       struct errctx *ec)
{
    uint32_t complex;
    int r;

    if (spec->n_caches > GUEST_MAX_CACHE_SPECS)
        return errctx_set(ec, ERANGE, "%zu caches are described, at most %d", spec->n_caches,
                          GUEST_MAX_CACHE_SPECS);
    for (size_t i = 0; i < spec->n_caches; i++) {
        const struct guest_cache_spec *c = &spec->caches[i];

        r = check_one(c, ec);
        if (r < 0)
            return r;
        if (spec->no_host_caches && c->size_bytes == 0)
            return errctx_set(ec, EINVAL,
                              "%s: say its size, since \"host_caches\": false takes none from "
                              "the host",
                              guest_cache_name(c->level, c->type));
        for (size_t k = 0; k < i; k++)
            if (spec->caches[k].level == c->level &&
                guest_cache_type(&spec->caches[k]) == guest_cache_type(c))
                return errctx_set(ec, EINVAL, "%s is described twice",
                                  guest_cache_name(c->level, c->type));
    }
    complex = guest_caches_complex(spec, sh);
    for (size_t i = 0; i < spec->n_caches; i++) {
        r = check_sharing(&spec->caches[i], sh, complex, ec);
        if (r < 0)
            return r;
    }
    return 0;
}
