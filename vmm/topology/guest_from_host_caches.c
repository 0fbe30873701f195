/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Caches of a machine, one kind of each level as a guest has them; and what is between its nodes.
 * Lower levels that a source leaves out get usual sizes, since a guest's caches begin with the
 * first. Pure.
 */
#include <errno.h>

#include "vmm/base/checked.h"
#include "vmm/base/macros.h"
#include "vmm/topology/guest_caches.h"
#include "vmm/topology/guest_from_host_parts.h"
#include "vmm/topology/topo_limits.h"

static const struct guest_cache_spec usual[] = {
    { .level = 1, .type = CACHE_DATA, .size_bytes = 32 * KIB, .line_bytes = 64, .ways = 8 },
    { .level = 1, .type = CACHE_INSTRUCTION, .size_bytes = 32 * KIB, .line_bytes = 64, .ways = 8 },
    { .level = 2, .type = CACHE_UNIFIED, .size_bytes = 1 * MIB, .line_bytes = 64, .ways = 16 },
    { .level = 3, .type = CACHE_UNIFIED, .size_bytes = 16 * MIB, .line_bytes = 64, .ways = 16 },
    { .level = 4, .type = CACHE_UNIFIED, .size_bytes = 128 * MIB, .line_bytes = 64, .ways = 16 },
};

/* Cores that the CPUs of @set are; threads where cores differ in threads. */
static uint32_t count_cores(const struct from_host *f, const struct idset *set)
{
    return idset_count(set) / f->spec->threads;
}

static struct guest_cache_spec geometry(const struct host_cache *c)
{
    struct guest_cache_spec s = { .level = c->level, .type = c->type, .size_bytes = c->size_bytes };
    uint64_t way;

    if (is_pow2(c->line_bytes) && c->line_bytes <= TOPO_MAX_CACHE_LINE_BYTES)
        s.line_bytes = c->line_bytes;
    if (s.line_bytes != 0 && s.size_bytes % s.line_bytes != 0)
        s.line_bytes = 0;
    way = (uint64_t)s.line_bytes * c->ways;
    if (way != 0 && c->ways <= TOPO_MAX_CACHE_WAYS && s.size_bytes % way == 0)
        s.ways = c->ways;
    return s;
}

static bool in_die(const struct from_host_cpu *a, const struct from_host_cpu *b)
{
    return a->node == b->node && a->cpu->package == b->cpu->package && a->cpu->die == b->cpu->die;
}

/* Is it shared by exactly the CPUs of a die, as the higher levels are by default? */
static bool is_of_a_die(const struct from_host *f, const struct host_cache *c)
{
    const uint32_t first = idset_next(&c->cpus, 0);
    const struct from_host_cpu *die = NULL;

    for (size_t i = 0; i < f->host->n_cpus && die == NULL; i++)
        if (f->cpus[i].cpu->id.v == first)
            die = &f->cpus[i];
    for (size_t i = 0; i < f->host->n_cpus && die != NULL; i++)
        if (in_die(&f->cpus[i], die) != idset_has(&c->cpus, f->cpus[i].cpu->id.v))
            return false;
    return c->level > 2 && die != NULL;
}

static void note_differing(const struct from_host *f, const struct host_cache *a,
                           const struct host_cache *b)
{
    const char *name = guest_cache_name(a->level, a->type);

    if (a->size_bytes != b->size_bytes || a->ways != b->ways)
        topo_note(f->notes, "%s: not all are alike, all are told as the first CPU's.", name);
    if (count_cores(f, &a->cpus) != count_cores(f, &b->cpus) &&
        !(is_of_a_die(f, a) && is_of_a_die(f, b)))
        topo_note(f->notes, "%s: not all are shared by as many cores, all are told as one for each "
                  "%s.", name, a->level <= 2 ? "core" : "die");
}

/* The kind of cache that @want is; false where the machine tells of none. */
static bool read_kind(const struct from_host *f, const struct guest_cache_spec *want,
                      struct guest_cache_spec *ret)
{
    const struct host_cache *first = NULL;
    bool alike = true;
    uint32_t cores;

    for (size_t i = 0; i < f->host->n_caches; i++) {
        const struct host_cache *c = &f->host->caches[i];

        if (c->level != want->level || c->type != want->type || c->size_bytes == 0)
            continue;
        if (first == NULL || idset_next(&c->cpus, 0) < idset_next(&first->cpus, 0))
            first = c;
    }
    if (first == NULL)
        return false;
    for (size_t i = 0; i < f->host->n_caches; i++) {
        const struct host_cache *c = &f->host->caches[i];

        if (c->level != want->level || c->type != want->type || c->size_bytes == 0)
            continue;
        note_differing(f, first, c);
        alike = alike && count_cores(f, &c->cpus) == count_cores(f, &first->cpus);
    }
    cores = count_cores(f, &first->cpus);
    *ret = geometry(first);
    if (alike && cores > f->max_die_cores) {
        ret->cores = cores;
        ret->span_nodes = true;
    } else if (alike && cores > 0 && cores != (want->level <= 2 ? 1 : f->max_die_cores)) {
        ret->cores = cores;
    }
    return true;
}

int from_host_caches(struct from_host *f, struct errctx *ec)
{
    struct guest_spec *spec = f->spec;
    uint32_t highest = 0;

    (void)ec;
    for (size_t i = 0; i < f->host->n_caches; i++)
        if (f->host->caches[i].size_bytes > 0 && f->host->caches[i].level <= TOPO_MAX_CACHE_LEVEL)
            highest = MAX(highest, f->host->caches[i].level);
    for (size_t i = 0; i < ARRAY_SIZE(usual); i++) {
        struct guest_cache_spec c = usual[i];

        if (c.level > highest)
            break;
        if (!read_kind(f, &usual[i], &c) && c.type != CACHE_INSTRUCTION)
            topo_note(f->notes, "%s: not described, so it has a usual size.",
                      guest_cache_name(c.level, c.type));
        spec->caches[spec->n_caches++] = c;
    }
    spec->no_host_caches = highest > 0;
    return 0;
}

static int add_distance(struct from_host *f, size_t from, size_t to, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    uint32_t value = host_topo_distance(host, from, to);
    struct guest_distance_spec d = { .from = (uint32_t)f->node_of[from],
                                     .to = (uint32_t)f->node_of[to] };

    if (value <= GUEST_DISTANCE_LOCAL || value > GUEST_DISTANCE_MAX)
        topo_note(f->notes,
                  "The distance %u from node %u to %u is told as %u: Linux drops a table with it.",
                  value, host->nodes[from].id.v, host->nodes[to].id.v,
                  value > GUEST_DISTANCE_MAX ? GUEST_DISTANCE_MAX : GUEST_DISTANCE_LOCAL + 1);
    d.value = MIN(MAX(value, GUEST_DISTANCE_LOCAL + 1u), (uint32_t)GUEST_DISTANCE_MAX);
    return guest_spec_add_distance(f->spec, &d, ec);
}

/* What the kernel tells of a node's best initiators. */
static int add_links(struct from_host *f, size_t to, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    const struct host_hmat *h = &host->nodes[to].hmat;
    struct guest_node_spec *node = &f->spec->nodes[f->node_of[to]];
    struct guest_link_spec l = {
        .to = (uint32_t)f->node_of[to],
        .latency_ns = MIN(h->read_latency_ns, (uint32_t)GUEST_LINK_MAX_NS),
        .bandwidth_bytes_per_s = h->read_bytes_per_s < MIB ? 0 : h->read_bytes_per_s / MIB * MIB,
    };
    int r = 0;

    if (h->read_latency_ns != h->write_latency_ns || h->read_bytes_per_s != h->write_bytes_per_s)
        topo_note(f->notes, "Writing is told to cost what reading does.");
    for (size_t from = 0; r == 0 && from < host->n_nodes; from++) {
        if (!idset_has(&h->initiators, host->nodes[from].id.v) || f->node_of[from] < 0 ||
            idset_empty(&host->nodes[from].cpus))
            continue;
        l.from = (uint32_t)f->node_of[from];
        if (idset_empty(&host->nodes[to].cpus) && !node->has_initiator) {
            node->has_initiator = true;
            node->initiator = l.from;
        }
        if (l.latency_ns != 0 || l.bandwidth_bytes_per_s != 0)
            r = guest_spec_add_link(f->spec, &l, ec);
    }
    return r;
}

/* What is said of every pair. The initiator of memory without CPUs is who reaches it first. */
static int add_told(struct from_host *f, size_t to, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    struct guest_node_spec *node = &f->spec->nodes[f->node_of[to]];
    uint32_t least = UINT32_MAX;
    int r = 0;

    for (size_t from = 0; r == 0 && from < host->n_nodes; from++) {
        const struct host_told *told = &host->told[from * host->n_nodes + to];
        const struct guest_link_spec l = {
            .from = (uint32_t)f->node_of[from],
            .to = (uint32_t)f->node_of[to],
            .latency_ns = MIN(told->latency_ns, (uint32_t)GUEST_LINK_MAX_NS),
            .bandwidth_bytes_per_s = told->bytes_per_s / MIB * MIB,
        };

        if (f->node_of[from] < 0 || (l.latency_ns == 0 && l.bandwidth_bytes_per_s == 0))
            continue;
        if (idset_empty(&host->nodes[to].cpus) && l.latency_ns > 0 && l.latency_ns < least) {
            least = (uint32_t)l.latency_ns;
            node->has_initiator = true;
            node->initiator = l.from;
        }
        r = guest_spec_add_link(f->spec, &l, ec);
    }
    return r;
}

int from_host_distances(struct from_host *f, struct errctx *ec)
{
    const struct host_topo *host = f->host;
    int r = 0;

    for (size_t i = 0; r == 0 && host->has_distances && i < host->n_nodes; i++)
        for (size_t k = 0; r == 0 && k < host->n_nodes; k++)
            if (i != k && f->node_of[i] >= 0 && f->node_of[k] >= 0)
                r = add_distance(f, i, k, ec);
    for (size_t i = 0; r == 0 && i < host->n_nodes; i++)
        if (f->node_of[i] >= 0 && host->told != NULL && host->nodes[i].mem_bytes > 0)
            r = add_told(f, i, ec);
        else if (f->node_of[i] >= 0 && host->nodes[i].has_hmat && host->nodes[i].mem_bytes > 0)
            r = add_links(f, i, ec);
    return r;
}
