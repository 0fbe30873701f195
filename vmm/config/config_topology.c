/* SPDX-License-Identifier: Apache-2.0 */
/* See config_topology.h: what the options do. Reading the forms is config_topology_read.c's. */
#include "vmm/config/config_topology.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/read_file.h"
#include "vmm/config/config_json.h"
#include "vmm/config/suggest.h"
#include "vmm/topology/guest_distances.h"
#include "vmm/topology/guest_scale.h"
#include "vmm/topology/guest_shape.h"
#include "vmm/topology/numactl_text.h"

enum { DISTANCES_FILE_MAX = 1 * MIB };

static int keep(char **slot, const char *text, struct errctx *ec)
{
    if (text[0] == '\0')
        return errctx_set(ec, EINVAL, "an empty text says nothing");
    *slot = strdup(text);
    return *slot != NULL ? 0 : errctx_set(ec, ENOMEM, "no memory for the option");
}

int config_parse_topology(struct config_input *in, const char *text, struct errctx *ec)
{
    return keep(&in->topology, text, ec);
}

int config_parse_distances(struct config_input *in, const char *text, struct errctx *ec)
{
    return keep(&in->distances, text, ec);
}

int config_parse_scale(struct config_input *in, const char *text, struct errctx *ec)
{
    struct guest_scale scale;
    int r = guest_scale_parse(text, &scale, ec);

    return r < 0 ? r : keep(&in->scale, text, ec);
}

static bool given(const struct config_input *in, const char *option)
{
    return in->option_given[config_input_find(option)];
}

/* What a topology says itself, nobody else may say. */
static int check_alone(const struct config_input *in, struct errctx *ec)
{
    static const char *const others[] = { "cpus", "vnuma", "node", "threads", "cores",
                                          "dies", "sockets", "l3" };
    static const char *const members[] = { "cpus", "vnuma", "nodes", "threads", "cores",
                                           "dies", "sockets", "caches", "host_caches" };

    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        if (given(in, others[i]))
            return errctx_set(ec, EINVAL, "--topology and --%s exclude each other: the topology "
                              "says which CPUs, nodes and caches there are", others[i]);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        for (size_t k = 0; config_json_field(k) != NULL; k++)
            if (strcmp(config_json_field(k), members[i]) == 0 && in->field_in_file[k])
                return errctx_set(ec, EINVAL, "--topology and \"%s\" of %s exclude each other: the "
                                  "topology says it", members[i], in->file);
    return 0;
}

/* The topology's part of @spec is @from's, which is used up; what it leaves open stays. */
static int take_topology(struct guest_spec *spec, struct guest_spec *from, struct errctx *ec)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < spec->n_distances; i++)
        r = guest_spec_add_distance(from, &spec->distances[i], ec);
    for (size_t i = 0; r == 0 && i < spec->n_links; i++)
        r = guest_spec_add_link(from, &spec->links[i], ec);
    if (r < 0)
        return r;
    free(spec->distances);
    free(spec->links);
    spec->nodes = take_ptr(from->nodes);
    spec->n_nodes = from->n_nodes;
    spec->distances = take_ptr(from->distances);
    spec->n_distances = from->n_distances;
    spec->links = take_ptr(from->links);
    spec->n_links = from->n_links;
    spec->n_cpus = from->n_cpus;
    spec->memory_bytes = from->memory_bytes;
    spec->n_vnuma = from->n_vnuma;
    spec->threads = from->threads;
    spec->cores = from->cores;
    spec->dies = from->dies;
    spec->sockets = from->sockets;
    memcpy(spec->caches, from->caches, sizeof(spec->caches));
    spec->n_caches = from->n_caches;
    spec->no_host_caches = from->no_host_caches;
    return 0;
}

/* --scale, then --memory. */
static int resize(struct config_input *in, struct guest_spec *spec, struct errctx *ec)
{
    const uint64_t total = in->config->spec.memory_bytes;
    struct guest_scale scale = { 0 };
    int r = guest_spec_check(spec, ec);

    if (r < 0)
        return errctx_wrap(ec, r, "--topology: %s", in->topology);
    if (in->scale != NULL)
        r = guest_scale_parse(in->scale, &scale, ec);
    if (r == 0 && scale.memory_of != 0 && total > 0)
        r = errctx_set(ec, EINVAL, "memory= and --memory both say how much memory there is");
    if (r == 0 && in->scale != NULL)
        r = guest_scale_apply(spec, &scale, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "--scale");
    if (total == 0)
        return 0;
    if (total % GUEST_PAGE_BYTES == 0) /* else config_check() has the sentence */
        r = guest_scale_memory(spec, total, ec);
    else
        spec->memory_bytes = total;
    return r < 0 ? errctx_wrap(ec, r, "--memory") : 0;
}

static int apply_topology(struct config_input *in, struct errctx *ec)
{
    struct guest_spec spec = { 0 };
    int r = check_alone(in, ec);

    if (r < 0)
        return r;
    r = strcmp(in->topology, "-") == 0
            ? config_topology_read_input(&in->topology_text, &spec, &in->config->about, &in->notes,
                                         ec)
            : config_topology_read(in->topology, &spec, &in->config->about, NULL, &in->notes, ec);
    if (r < 0)
        return errctx_wrap(ec, r, "--topology");
    r = resize(in, &spec, ec);
    if (r == 0)
        r = take_topology(&in->config->spec, &spec, ec);
    guest_spec_fini(&spec);
    return r;
}

static int no_such_distances(const char *text, int code, struct errctx *ec)
{
    struct suggest s = { .word = text };
    char hint[96];

    for (size_t i = 0; guest_distance_shapes[i] != NULL; i++)
        suggest_offer(&s, guest_distance_shapes[i]);
    if (strchr(text, '/') != NULL)
        return errctx_set_os(ec, code, "%s", text);
    return errctx_set(ec, EINVAL, "\"%s\" is neither a shape of distances nor a file%s", text,
                      suggest_format(&s, "", hint, sizeof(hint)));
}

/* The distances that a paste of numactl -H ends with. */
static int numactl_distances(struct guest_spec *spec, const char *text, size_t len, uint32_t n,
                             struct errctx *ec)
{
    struct host_topo host;
    int r = numactl_text_read(text, len, &host, ec);

    if (r < 0)
        return r;
    if (!host.has_distances)
        r = errctx_set(ec, EINVAL, "it tells no distances");
    else if (host.n_nodes != n)
        r = errctx_set(ec, EINVAL, "it tells of %zu nodes, there are %u", host.n_nodes, n);
    spec->n_distances = 0;
    for (uint32_t i = 0; r == 0 && i < n; i++)
        for (uint32_t k = 0; r == 0 && k < n; k++) {
            const struct guest_distance_spec d = { i, k, host_topo_distance(&host, i, k) };

            r = i != k ? guest_spec_add_distance(spec, &d, ec) : 0;
        }
    host_topo_fini(&host);
    return r;
}

static int apply_distances(struct config_input *in, struct errctx *ec)
{
    struct guest_spec *spec = &in->config->spec;
    const uint32_t n = guest_spec_n_nodes(spec);
    CLEANUP_FREE char *text = NULL;
    size_t len;
    int r;

    if (given(in, "distance"))
        return errctx_set(ec, EINVAL, "--distances and --distance exclude each other: all "
                                      "distances are said, or some");
    if (in->topology == NULL && spec->n_distances > 0)
        return errctx_set(ec, EINVAL, "--distances: %s says \"distances\" too", in->file);
    if (spec->n_vnuma == GUEST_VNUMA_AUTO)
        return errctx_set(ec, EINVAL, "--vnuma auto and --distances exclude each other: which nodes "
                                      "there are is decided on the host");
    if (n < 2)
        return errctx_set(ec, EINVAL, "--distances has no effect on a guest of one node");
    if (n > GUEST_MAX_VNODES)
        return 0; /* config_check() has the sentence */
    if (guest_distances_is_shape(in->distances))
        return guest_distances_shape(spec, in->distances, n, ec);
    r = read_file(in->distances, DISTANCES_FILE_MAX, &text, &len, NULL);
    if (r == -ENOENT)
        return errctx_wrap(ec, no_such_distances(in->distances, -r, ec), "--distances");
    if (r < 0)
        r = read_file(in->distances, DISTANCES_FILE_MAX, &text, &len, ec);
    else if (numactl_text_is(text, len))
        r = numactl_distances(spec, text, len, n, ec);
    else
        r = guest_distances_matrix(spec, text, len, n, ec);
    return r < 0 ? errctx_wrap(ec, r, "--distances: %s", in->distances) : 0;
}

int config_topology_apply(struct config_input *in, struct errctx *ec)
{
    int r = 0;

    if (in->scale != NULL && in->topology == NULL)
        return errctx_set(ec, EINVAL, "--scale has no effect without --topology");
    if (in->topology != NULL)
        r = apply_topology(in, ec);
    return r == 0 && in->distances != NULL ? apply_distances(in, ec) : r;
}
