/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest descriptions as one line of text, so that tests are tables.
 *
 *   cpus=8 memory=2G vnuma=2 (or auto) threads=2 cores=2 dies=1 sockets=2
 *   node:cpus=0-3;memory=1G;hotplug=2G;host=0;initiator=1;mc=1G;line=64
 *   d:0-1=21                           distance
 *   l:0-1=90;1000                      link: latency in ns, bandwidth in bytes per second
 *   c:3;u;32M;64;16;4;span             cache: level, type (d, i, u, -), size, line, ways, cores
 *
 * Test code: a description that cannot be read stops the program.
 */
#ifndef VMM_TOPOLOGY_TEST_SPEC_TEXT_H
#define VMM_TOPOLOGY_TEST_SPEC_TEXT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/units.h"
#include "vmm/topology/guest_spec.h"

static inline void spec_text_die(const char *what, const char *text)
{
    (void)fprintf(stderr, "bad test description: %s in %s\n", what, text);
    abort();
}

static inline uint64_t spec_text_size(const char *text)
{
    uint64_t v = 0;

    if (units_parse_size(text, &v, NULL) < 0)
        spec_text_die("size", text);
    return v;
}

static inline void spec_text_node(struct guest_spec *spec, char *text)
{
    struct guest_node_spec n = { 0 };
    char *save = NULL;

    for (char *f = strtok_r(text, ";", &save); f != NULL; f = strtok_r(NULL, ";", &save)) {
        char *v = strchr(f, '=');

        if (v == NULL)
            spec_text_die("field", f);
        *v++ = '\0';
        if (strcmp(f, "cpus") == 0)
            (void)idset_parse(v, &n.cpus, NULL);
        else if (strcmp(f, "memory") == 0)
            n.memory_bytes = spec_text_size(v);
        else if (strcmp(f, "hotplug") == 0)
            n.hotplug_bytes = spec_text_size(v);
        else if (strcmp(f, "host") == 0)
            (void)idset_parse(v, &n.host_nodes, NULL);
        else if (strcmp(f, "gi") == 0)
            n.generic_initiator = atoi(v) != 0;
        else if (strcmp(f, "initiator") == 0) {
            n.has_initiator = true;
            n.initiator = (uint32_t)atoi(v);
        } else if (strcmp(f, "mc") == 0)
            n.mem_cache[n.n_mem_caches++].size_bytes = spec_text_size(v);
        else if (strcmp(f, "line") == 0)
            n.mem_cache[n.n_mem_caches - 1].line_bytes = (uint32_t)atoi(v);
        else
            spec_text_die("node field", f);
    }
    if (guest_spec_add_node(spec, &n, NULL) < 0)
        spec_text_die("node", "too many");
}

static inline void spec_text_cache(struct guest_spec *spec, char *text)
{
    struct guest_cache_spec *c = &spec->caches[spec->n_caches++];
    char type = 0, size[32] = "", span[8] = "";

    if (sscanf(text, "%u;%c;%31[^;];%u;%u;%u;%7s", &c->level, &type, size, &c->line_bytes, &c->ways,
               &c->cores, span) < 6)
        spec_text_die("cache", text);
    c->type = type == 'd'   ? CACHE_DATA
              : type == 'i' ? CACHE_INSTRUCTION
              : type == 'u' ? CACHE_UNIFIED
                            : 0;
    c->size_bytes = spec_text_size(size);
    c->span_nodes = span[0] != '\0';
}

static inline void spec_text_number(struct guest_spec *spec, char *text)
{
    static const struct {
        const char *name;
        size_t off;
    } field[] = {
        { "cpus", offsetof(struct guest_spec, n_cpus) },
        { "vnuma", offsetof(struct guest_spec, n_vnuma) },
        { "threads", offsetof(struct guest_spec, threads) },
        { "cores", offsetof(struct guest_spec, cores) },
        { "dies", offsetof(struct guest_spec, dies) },
        { "sockets", offsetof(struct guest_spec, sockets) },
    };
    char *v = strchr(text, '=');

    if (v == NULL)
        spec_text_die("word", text);
    *v++ = '\0';
    if (strcmp(text, "memory") == 0) {
        spec->memory_bytes = spec_text_size(v);
        return;
    }
    for (unsigned k = 0; strcmp(text, "policy") == 0 && k < GUEST_POLICIES; k++)
        if (guest_policy_words[k] != NULL && strcmp(v, guest_policy_words[k]) == 0) {
            spec->policy = (enum guest_policy)k;
            return;
        }
    for (size_t i = 0; i < sizeof(field) / sizeof(field[0]); i++)
        if (strcmp(text, field[i].name) == 0) {
            *(uint32_t *)(void *)((char *)spec + field[i].off) =
                strcmp(v, "auto") == 0 ? GUEST_VNUMA_AUTO : (uint32_t)strtoul(v, NULL, 10);
            return;
        }
    spec_text_die("word", text);
}

/* Fill @spec; release with guest_spec_fini(). */
static inline void spec_text_parse(const char *text, struct guest_spec *spec)
{
    char *copy = strdup(text), *save = NULL;

    memset(spec, 0, sizeof(*spec));
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        struct guest_distance_spec d;
        struct guest_link_spec l;

        if (strncmp(w, "node:", 5) == 0)
            spec_text_node(spec, w + 5);
        else if (strncmp(w, "c:", 2) == 0)
            spec_text_cache(spec, w + 2);
        else if (sscanf(w, "d:%u-%u=%u", &d.from, &d.to, &d.value) == 3)
            (void)guest_spec_add_distance(spec, &d, NULL);
        else if (sscanf(w, "l:%u-%u=%lu;%lu", &l.from, &l.to, &l.latency_ns,
                        &l.bandwidth_bytes_per_s) == 4)
            (void)guest_spec_add_link(spec, &l, NULL);
        else
            spec_text_number(spec, w);
    }
    free(copy);
}

#endif
