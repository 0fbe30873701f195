/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest descriptions from arbitrary bytes, for the fuzz target and the property test. Numbers
 * are mostly small, so that many descriptions are sound, and now and then anything at all.
 */
#ifndef VMM_TOPOLOGY_TEST_SPEC_BYTES_H
#define VMM_TOPOLOGY_TEST_SPEC_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vmm/topology/guest_spec.h"

struct spec_bytes {
    const uint8_t *at;
    size_t left;
};

static inline uint32_t spec_byte(struct spec_bytes *b)
{
    if (b->left == 0)
        return 0;
    b->left--;
    return *b->at++;
}

/* At most @n things, for loops. */
static inline uint32_t spec_count(struct spec_bytes *b, uint32_t n)
{
    return spec_byte(b) % (n + 1);
}

/* Below @n, but one time in 64 any number. */
static inline uint32_t spec_number(struct spec_bytes *b, uint32_t n)
{
    uint32_t k = spec_byte(b);

    if (k == 0xff && spec_byte(b) < 64) {
        k = spec_byte(b);
        k = k << 8 | spec_byte(b);
        k = k << 8 | spec_byte(b);
        return k << 8 | spec_byte(b);
    }
    if (n == 0) /* one more than the greatest number */
        return k;
    return n > 256 ? (k << 8 | spec_byte(b)) % n : k % n;
}

static inline void spec_bytes_nodes(struct spec_bytes *b, struct guest_spec *spec, uint32_t n)
{
    uint32_t how = spec_byte(b), next = 0;

    for (uint32_t i = 0; i < n && i <= GUEST_MAX_VNODES; i++) {
        struct guest_node_spec node = { 0 };
        uint32_t cpus = how & 1 ? how >> 4 : spec_number(b, 9), flags = spec_byte(b);

        if (how & 2) /* every n-th CPU */
            for (uint32_t k = 0; k < (how >> 4); k++)
                idset_add(&node.cpus, i + k * n);
        else
            idset_add_range(&node.cpus, next % 2048, cpus % 1024);
        next += cpus;
        node.memory_bytes = (uint64_t)spec_number(b, 4) << 21;
        if (flags & 1)
            node.hotplug_bytes = (uint64_t)spec_number(b, 3) << 31;
        if (flags & 2)
            idset_add(&node.host_nodes, spec_number(b, 3));
        if ((flags & 12) == 12) {
            node.has_initiator = true;
            node.initiator = spec_number(b, n);
        }
        if ((flags & 48) == 48) {
            node.n_mem_caches = spec_number(b, 4);
            for (uint32_t k = 0; k < GUEST_MAX_MEM_CACHES; k++)
                node.mem_cache[k].size_bytes = (uint64_t)spec_number(b, 5) << 20;
        }
        (void)guest_spec_add_node(spec, &node, NULL);
    }
}

static inline void spec_bytes_caches(struct spec_bytes *b, struct guest_spec *spec)
{
    static const uint32_t cores[] = { 0, 0, 1, 2, 2, 3, 4, 8 };

    for (uint32_t n = spec_count(b, 3); n > 0 && spec->n_caches < 4; n--) {
        struct guest_cache_spec *c = &spec->caches[spec->n_caches++];

        c->level = 1 + spec_number(b, 4);
        c->type = (enum cache_type)(c->level == 1 ? 1 + spec_number(b, 2) : 3);
        c->size_bytes = (uint64_t)spec_number(b, 64) << 15;
        c->line_bytes = spec_number(b, 8) == 7 ? 128 : 0;
        c->ways = spec_number(b, 8) == 7 ? 4 : 0;
        c->cores = cores[spec_byte(b) % 8];
        c->span_nodes = spec_number(b, 16) == 15;
    }
}

/* Fill @spec; release with guest_spec_fini(). */
static inline void spec_from_bytes(const uint8_t *data, size_t len, struct guest_spec *spec)
{
    struct spec_bytes b = { data, len };
    uint32_t how = spec_byte(&b), n = spec_number(&b, how & 1 ? 6 : 130);

    memset(spec, 0, sizeof(*spec));
    if (how & 2)
        spec->n_cpus = spec_number(&b, how & 4 ? 1025 : 33);
    if (how & 8)
        spec->memory_bytes = (uint64_t)spec_number(&b, 300) << 21;
    if ((how & 0x30) == 0x30)
        spec->threads = 1 + spec_number(&b, 3);
    if ((how & 0x50) == 0x50)
        spec->sockets = spec_number(&b, 6);
    if ((how & 0x90) == 0x90)
        spec->dies = spec_number(&b, 4);
    if ((how & 0xe0) == 0xe0)
        spec->cores = spec_number(&b, 6);
    how = spec_byte(&b);
    if (how & 1)
        spec->n_vnuma = (how & 0xe0) == 0xe0 ? GUEST_VNUMA_AUTO : n;
    else if (how & 2)
        spec_bytes_nodes(&b, spec, n);
    for (uint32_t k = how & 4 ? spec_count(&b, 8) : 0; k > 0; k--) {
        struct guest_distance_spec d = { spec_number(&b, n + 1), spec_number(&b, n + 1), 0 };

        d.value = d.from == d.to ? 10 : 11 + spec_number(&b, 244);
        (void)guest_spec_add_distance(spec, &d, NULL);
    }
    for (uint32_t k = how & 8 ? spec_count(&b, 8) : 0; k > 0; k--) {
        struct guest_link_spec l = { spec_number(&b, n + 1), spec_number(&b, n + 1),
                                     spec_number(&b, 500), (uint64_t)spec_number(&b, 50) << 28 };

        (void)guest_spec_add_link(spec, &l, NULL);
    }
    if (how & 16)
        spec_bytes_caches(&b, spec);
}

#endif
