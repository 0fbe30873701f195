/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU caches: the host's kinds and sizes where nothing else is said, and sharing that follows
 * the APIC ids, never the host.
 *
 * The guest's kernel groups vCPUs by the APIC id shifted right, so that is how an instance is
 * defined here. By default levels 1 and 2 belong to a core and the levels above to a die, and a
 * die is never in two nodes or sockets; only a description that says so makes one reach
 * further. Pure.
 */
#include "vmm/topology/plan_parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/guest_caches.h"
#include "vmm/topology/topo_limits.h"

enum {
    CACHE_DEFAULT_LINE = 64,
    CACHE_DEFAULT_WAYS = 16,
};

/* In the order in which a plan lists them. */
static const struct {
    uint32_t level;
    enum cache_type type;
} cache_kinds[] = {
    { 1, CACHE_DATA },    { 1, CACHE_INSTRUCTION }, { 2, CACHE_UNIFIED },
    { 3, CACHE_UNIFIED }, { 4, CACHE_UNIFIED },
};

/* The host's cache of that kind: the one of its first CPU where CPUs differ. */
static const struct host_cache *find_host(const struct host_topo *host, uint32_t level,
                                          enum cache_type type)
{
    const struct host_cache *found = NULL;

    for (size_t i = 0; i < host->n_caches; i++) {
        const struct host_cache *c = &host->caches[i];

        if (c->level != level || c->type != type || c->size_bytes == 0)
            continue;
        if (found == NULL || idset_next(&c->cpus, 0) < idset_next(&found->cpus, 0))
            found = c;
    }
    return found;
}

static const struct guest_cache_spec *find_said(const struct guest_spec *spec, uint32_t level,
                                                enum cache_type type)
{
    for (size_t i = 0; i < spec->n_caches; i++)
        if (spec->caches[i].level == level && guest_cache_type(&spec->caches[i]) == type)
            return &spec->caches[i];
    return NULL;
}

/* The largest number of ways up to @want that divides the cache's lines. */
static uint32_t fit_ways(uint64_t lines, uint32_t want)
{
    for (; want > 1; want--)
        if (lines % want == 0)
            break;
    return want;
}

/* Size, line, ways and sets, from what was said, then from the host, then usual values. */
static int fill_geometry(const struct guest_cache_spec *said, const struct host_cache *host,
                         struct topo_plan_cache *c, struct errctx *ec)
{
    const char *name = guest_cache_name(c->level, c->type);
    uint32_t host_ways = host != NULL && host->ways > 0 && host->ways <= TOPO_MAX_CACHE_WAYS
                             ? host->ways
                             : CACHE_DEFAULT_WAYS;
    uint64_t lines, sets;
    char size[32];

    c->size_bytes = said != NULL && said->size_bytes > 0 ? said->size_bytes : 0;
    if (c->size_bytes == 0 && host == NULL)
        return errctx_set(ec, EINVAL, "%s: say its size, this host has none to take it from", name);
    if (c->size_bytes == 0)
        c->size_bytes = host->size_bytes;
    c->line_bytes =
        said != NULL && said->line_bytes > 0 ? said->line_bytes
        : host != NULL && is_pow2(host->line_bytes) && host->line_bytes <= TOPO_MAX_CACHE_LINE_BYTES
            ? host->line_bytes
            : CACHE_DEFAULT_LINE;
    (void)units_format_size(c->size_bytes, size, sizeof(size));
    if (c->size_bytes % c->line_bytes != 0)
        return errctx_set(ec, EINVAL, "%s: %s is not a multiple of its lines of %u bytes", name,
                          size, c->line_bytes);
    lines = c->size_bytes / c->line_bytes;
    c->ways = said != NULL && said->ways > 0 ? said->ways : fit_ways(lines, host_ways);
    if (lines % c->ways != 0)
        return errctx_set(ec, EINVAL, "%s: %s does not divide into %u ways of %u-byte lines", name,
                          size, c->ways, c->line_bytes);
    sets = lines / c->ways;
    if (sets > TOPO_MAX_CACHE_SETS)
        return errctx_set(ec, EINVAL, "%s: %s makes more sets than a guest can be told of", name, size);
    c->sets = (uint32_t)sets;
    return 0;
}

/* Why the ways are not the host's. Said of the plan whoever decided, so that a saved one, which
 * names its ways, has the same notes. */
static void note_ways(const struct host_cache *host, const struct topo_plan_cache *c,
                      struct topo_plan *plan)
{
    uint64_t lines = c->size_bytes / c->line_bytes;
    char size[32];

    if (host == NULL || host->ways == 0 || lines % host->ways == 0)
        return;
    (void)units_format_size(c->size_bytes, size, sizeof(size));
    plan_note(plan, "%s: %s does not divide into the host's %u ways, the guest's has %u.",
              guest_cache_name(c->level, c->type), size, host->ways, c->ways);
}

/* Cores in the group of @vcpu at @shift. */
static uint32_t group_cores(const struct topo_plan *plan, uint32_t group, uint32_t shift)
{
    uint32_t n = 0;

    for (size_t i = 0; i < plan->n_vcpus; i++)
        n += plan->vcpus[i].thread == 0 && plan->vcpus[i].apic_id >> shift == group;
    return n;
}

/* A cache across dies: the shift at which every group has exactly that many cores. */
static int find_span(const struct topo_plan *plan, const struct guest_cache_spec *said,
                     uint32_t *ret_shift, struct errctx *ec)
{
    uint32_t bits = MIN(ceil_log2(plan->max_apic_id + 1ull), (unsigned)TOPO_MAX_CACHE_APIC_SHIFT);

    for (uint32_t s = plan->apic.die_shift + 1; s <= bits; s++) {
        bool all = true;

        for (size_t i = 0; i < plan->n_vcpus && all; i++)
            if ((plan->vcpus[i].apic_id & ((1u << s) - 1)) == 0)
                all = group_cores(plan, plan->vcpus[i].apic_id >> s, s) == said->cores;
        if (all) {
            *ret_shift = s;
            return 0;
        }
    }
    return errctx_set(
        ec, EINVAL,
        "%s: cores=%u that span dies must be all cores of a socket, of a power of two "
        "of dies or sockets, or of the machine, each instance alike and below %u APIC ids",
        guest_cache_name(said->level, said->type), said->cores, 1u << TOPO_MAX_CACHE_APIC_SHIFT);
}

static int fill_shift(const struct guest_cache_spec *said, const struct topo_plan *plan,
                      struct topo_plan_cache *c, struct errctx *ec)
{
    const struct topo_apic_layout *a = &plan->apic;
    uint32_t cores = said != NULL ? said->cores : 0;

    if (cores == 0)
        c->apic_shift = c->level <= 2 ? a->core_shift : a->die_shift;
    else if (said->span_nodes)
        return find_span(plan, said, &c->apic_shift, ec);
    else if (cores == a->cores_per_complex)
        c->apic_shift = a->complex_shift;
    else if (cores < a->cores_per_complex)
        c->apic_shift = a->core_shift + ceil_log2(cores);
    else if (cores == a->cores_per_complex * a->complexes_per_die)
        c->apic_shift = a->die_shift;
    else
        c->apic_shift = a->complex_shift + ceil_log2(cores / a->cores_per_complex);
    return 0;
}

/* The widest sharing of any cache of a lower level: both of level 1 count. */
static uint32_t widest_below(const struct topo_plan *plan, uint32_t level)
{
    uint32_t shift = 0;

    for (size_t i = 0; i < plan->n_caches; i++)
        if (plan->caches[i].level < level)
            shift = MAX(shift, plan->caches[i].apic_shift);
    return shift;
}

int plan_caches_fill(const struct guest_spec *spec, const struct host_topo *host,
                     struct topo_plan *plan, struct errctx *ec)
{
    int r;

    for (size_t i = 0; i < sizeof(cache_kinds) / sizeof(cache_kinds[0]); i++) {
        struct topo_plan_cache c = { .level = cache_kinds[i].level, .type = cache_kinds[i].type };
        const struct guest_cache_spec *said = find_said(spec, c.level, c.type);
        const struct host_cache *of_host = find_host(host, c.level, c.type);
        const struct host_cache *taken = spec->no_host_caches ? NULL : of_host;
        const struct topo_plan_cache *below =
            plan->n_caches > 0 ? &plan->caches[plan->n_caches - 1] : NULL;

        if (said == NULL && taken == NULL)
            continue;
        if (c.level > 1 && (below == NULL || below->level < c.level - 1) && said == NULL)
            continue; /* an incomplete host snapshot: nothing was asked for */
        if (c.level > 1 && (below == NULL || below->level < c.level - 1))
            return errctx_set(ec, EINVAL,
                              "%s has no effect without a cache of level %u: describe it",
                              guest_cache_name(c.level, c.type), c.level - 1);
        r = fill_geometry(said, taken, &c, ec);
        if (r == 0)
            r = fill_shift(said, plan, &c, ec);
        if (r < 0)
            return r;
        if (widest_below(plan, c.level) > c.apic_shift)
            return errctx_set(
                ec, EINVAL,
                "%s would be shared by fewer CPUs than the level below it: give cores= "
                "for both",
                guest_cache_name(c.level, c.type));
        note_ways(of_host, &c, plan);
        plan->caches[plan->n_caches++] = c;
    }
    if (plan->n_caches == 0 && !spec->no_host_caches)
        plan_note(plan, "This host's caches %s, so the guest is told of none.",
                  host->n_caches == 0 ? "are not known" : "are known without level 1");
    return 0;
}

/* What @spec says about the cache @c, made if it says nothing. */
static struct guest_cache_spec *describe(struct guest_spec *spec, const struct topo_plan_cache *c)
{
    for (size_t i = 0; i < spec->n_caches; i++)
        if (spec->caches[i].level == c->level && guest_cache_type(&spec->caches[i]) == c->type)
            return &spec->caches[i];
    spec->caches[spec->n_caches] =
        (struct guest_cache_spec){ .level = c->level, .type = c->type };
    return &spec->caches[spec->n_caches++];
}

void topo_plan_describe_caches(const struct topo_plan *plan, struct guest_spec *spec)
{
    for (size_t i = 0; i < plan->n_caches; i++) {
        struct guest_cache_spec *said = describe(spec, &plan->caches[i]);

        said->size_bytes = plan->caches[i].size_bytes;
        said->line_bytes = plan->caches[i].line_bytes;
        said->ways = plan->caches[i].ways;
    }
    spec->no_host_caches |= plan->n_caches > 0;
}
