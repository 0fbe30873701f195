/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots and what they were judged by to JSON and back. Whatever is read is held against
 * balance_check() before it is given to anybody; sizes are looked at before memory is taken for
 * them. See balance_trace.h.
 */
#include "vmm/machine/balance_trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static json_t *numbers32(const uint32_t *values, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_integer(values[i]));
    return list;
}

static bool same32(const uint32_t *a, const uint32_t *b, size_t n)
{
    return a != NULL && b != NULL && memcmp(a, b, n * sizeof(*a)) == 0;
}

json_t *balance_trace_to_json(const struct balance_snapshot *s,
                              const struct balance_snapshot *before)
{
    const size_t pairs = (size_t)s->n_nodes * s->n_nodes;
    json_t *nodes = json_array(), *vnodes = json_array(), *at = json_array(), *json;

    for (uint32_t h = 0; h < s->n_nodes; h++)
        (void)json_array_append_new(nodes, json_pack("[I, I, I, I]",
                                                     (json_int_t)s->nodes[h].capacity_milli,
                                                     (json_int_t)s->nodes[h].others_milli,
                                                     (json_int_t)s->nodes[h].mem_bytes,
                                                     (json_int_t)s->nodes[h].free_bytes));
    for (uint32_t i = 0; i < s->n_vnodes; i++)
        (void)json_array_append_new(vnodes,
                                    json_pack("[I, I, b]", (json_int_t)s->vnodes[i].demand_milli,
                                              (json_int_t)s->vnodes[i].home, s->vnodes[i].fixed));
    for (size_t i = 0; i < (size_t)s->n_vnodes * s->n_nodes; i++)
        (void)json_array_append_new(at, json_integer((json_int_t)s->at_bytes[i]));
    json = json_pack("{s:I, s:o, s:o, s:o, s:I}", "time", (json_int_t)s->time_ns, "nodes", nodes,
                     "vnodes", vnodes, "at", at, "stall", (json_int_t)s->stall);
    if (json != NULL && (before == NULL || !same32(s->distances, before->distances, pairs)))
        (void)json_object_set_new(json, "distances", numbers32(s->distances, pairs));
    if (json != NULL && s->told != NULL &&
        (before == NULL || !same32(s->told, before->told, (size_t)s->n_vnodes * s->n_vnodes)))
        (void)json_object_set_new(json, "told",
                                  numbers32(s->told, (size_t)s->n_vnodes * s->n_vnodes));
    return json;
}

/* A list of @n numbers that are not negative and at most @max; @ret64 or @ret32 receives them. */
static int read_list(const json_t *list, size_t n, json_int_t max, uint64_t *ret64, uint32_t *ret32)
{
    if (!json_is_array(list) || json_array_size(list) != n)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const json_int_t value =
            json_is_boolean(item) ? json_is_true(item) : json_integer_value(item);

        if ((!json_is_integer(item) && !json_is_boolean(item)) || value < 0 || value > max)
            return -EINVAL;
        if (ret64 != NULL)
            ret64[i] = (uint64_t)value;
        else
            ret32[i] = (uint32_t)value;
    }
    return 0;
}

static int read_rows(const json_t *nodes, const json_t *vnodes, struct balance_line *line)
{
    uint64_t row[4];

    for (uint32_t h = 0; h < line->snap.n_nodes; h++) {
        if (read_list(json_array_get(nodes, h), 4, INT64_MAX, row, NULL) < 0 ||
            row[0] > UINT32_MAX || row[1] > UINT32_MAX)
            return -EINVAL;
        line->nodes[h] = (struct balance_node){ .capacity_milli = (uint32_t)row[0],
                                                .others_milli = (uint32_t)row[1],
                                                .mem_bytes = row[2],
                                                .free_bytes = row[3] };
    }
    for (uint32_t i = 0; i < line->snap.n_vnodes; i++) {
        if (read_list(json_array_get(vnodes, i), 3, UINT32_MAX, row, NULL) < 0)
            return -EINVAL;
        line->vnodes[i] = (struct balance_vnode){ .demand_milli = (uint32_t)row[0],
                                                  .home = (uint32_t)row[1],
                                                  .fixed = row[2] != 0 };
    }
    return 0;
}

/* A list that may be left out where the line before has it. Return: 0, -EINVAL; 1: nobody has
 * it. */
static int read_kept(const json_t *json, const char *name, size_t n, const uint32_t *before,
                     uint32_t *ret)
{
    const json_t *list = json_object_get(json, name);

    if (list != NULL)
        return read_list(list, n, UINT32_MAX, NULL, ret);
    if (before == NULL)
        return 1;
    memcpy(ret, before, n * sizeof(*ret));
    return 0;
}

static int read_line(const json_t *json, const struct balance_snapshot *before,
                     struct balance_line *line, struct errctx *ec)
{
    const json_t *time = json_object_get(json, "time"), *stall = json_object_get(json, "stall");
    const size_t n = line->snap.n_nodes, v = line->snap.n_vnodes;
    const int told = read_kept(json, "told", v * v, before != NULL ? before->told : NULL,
                               line->told);

    if (!json_is_integer(time) || json_integer_value(time) < 0 || told < 0 ||
        (stall != NULL && (!json_is_integer(stall) || json_integer_value(stall) < 0 ||
                           json_integer_value(stall) > BALANCE_STALL_ALL)) ||
        read_rows(json_object_get(json, "nodes"), json_object_get(json, "vnodes"), line) < 0 ||
        read_kept(json, "distances", n * n, before != NULL ? before->distances : NULL,
                  line->distances) != 0 ||
        read_list(json_object_get(json, "at"), v * n, INT64_MAX, line->at, NULL) < 0)
        return errctx_set(ec, EINVAL, "this line is no snapshot");
    line->snap.time_ns = (uint64_t)json_integer_value(time);
    line->snap.stall = (uint32_t)json_integer_value(stall);
    if (told != 0)
        line->snap.told = NULL;
    return balance_check(&line->snap, ec);
}

int balance_trace_from_json(const json_t *json, const struct balance_line *before,
                            struct balance_line *ret_line, struct errctx *ec)
{
    const size_t n = json_array_size(json_object_get(json, "nodes"));
    const size_t v = json_array_size(json_object_get(json, "vnodes"));
    const bool same = before != NULL && before->snap.n_nodes == n && before->snap.n_vnodes == v;
    struct balance_line line;
    int r = balance_line_init(&line, n, v, ec);

    if (r < 0)
        return r;
    r = read_line(json, same ? &before->snap : NULL, &line, ec);
    if (r < 0) {
        balance_line_fini(&line);
        return r;
    }
    *ret_line = line;
    return 0;
}

int balance_line_init(struct balance_line *ret_line, size_t n, size_t v, struct errctx *ec)
{
    struct balance_line line = { .snap = { .n_nodes = (uint32_t)n, .n_vnodes = (uint32_t)v } };

    if (n == 0 || n > BALANCE_MAX_NODES || v == 0 || v > BALANCE_MAX_VNODES)
        return errctx_set(ec, EINVAL, "%zu virtual nodes on %zu host nodes are no snapshot", v, n);
    line.nodes = calloc(n, sizeof(line.nodes[0]));
    line.vnodes = calloc(v, sizeof(line.vnodes[0]));
    line.distances = calloc(n * n, sizeof(line.distances[0]));
    line.told = calloc(v * v, sizeof(line.told[0]));
    line.at = calloc(v * n, sizeof(line.at[0]));
    if (line.nodes == NULL || line.vnodes == NULL || line.distances == NULL || line.told == NULL ||
        line.at == NULL) {
        balance_line_fini(&line);
        return errctx_set(ec, ENOMEM, "no memory for a snapshot");
    }
    line.snap.nodes = line.nodes;
    line.snap.vnodes = line.vnodes;
    line.snap.distances = line.distances;
    line.snap.at_bytes = line.at;
    line.snap.told = line.told;
    *ret_line = line;
    return 0;
}

void balance_line_fini(struct balance_line *line)
{
    free(line->nodes);
    free(line->vnodes);
    free(line->distances);
    free(line->told);
    free(line->at);
    *line = (struct balance_line){ 0 };
}

/* --- the first line --------------------------------------------------------------------------- */

#define HEAD "numavisor balance"

enum { HEAD_VERSION = 1 };

/* Within these the policy's sums stay below 63 bits. */
#define MOST_NS        (UINT64_C(1) << 60)
#define LEAST_SPEED    (UINT64_C(1) << 26)
#define MOST_GIB_MILLI 1000

json_t *balance_head_to_json(const struct balance_head *h)
{
    const struct balance_params *p = &h->params;

    return json_pack("{s:s, s:i, s:o, s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "trace", HEAD,
                     "version", HEAD_VERSION, "hosts", numbers32(h->hosts, h->n_hosts), "params",
                     "horizon", (json_int_t)p->horizon_ns, "residency", (json_int_t)p->residency_ns,
                     "speed", (json_int_t)p->bytes_per_s, "min_gain",
                     (json_int_t)p->min_gain_milli, "gib_gain", (json_int_t)p->gib_gain_milli,
                     "confirm", (json_int_t)p->confirm, "most_stall", (json_int_t)p->most_stall);
}

static bool take(const json_t *object, const char *name, uint64_t most, uint64_t *ret)
{
    const json_t *v = json_object_get(object, name);

    *ret = (uint64_t)json_integer_value(v);
    return json_is_integer(v) && json_integer_value(v) >= 0 && *ret <= most;
}

static bool take_params(const json_t *json, struct balance_params *p)
{
    uint64_t min_gain, gib_gain, confirm, stall;

    if (!take(json, "horizon", MOST_NS, &p->horizon_ns) ||
        !take(json, "residency", MOST_NS / 1024, &p->residency_ns) ||
        !take(json, "speed", BALANCE_MAX_BYTES, &p->bytes_per_s) ||
        p->bytes_per_s < LEAST_SPEED ||
        !take(json, "min_gain", BALANCE_MAX_MILLI, &min_gain) ||
        !take(json, "gib_gain", MOST_GIB_MILLI, &gib_gain) ||
        !take(json, "confirm", BALANCE_MAX_MILLI, &confirm) ||
        !take(json, "most_stall", BALANCE_STALL_ALL, &stall))
        return false;
    p->min_gain_milli = (uint32_t)min_gain;
    p->gib_gain_milli = (uint32_t)gib_gain;
    p->confirm = (uint32_t)confirm;
    p->most_stall = (uint32_t)stall;
    return true;
}

int balance_head_from_json(const json_t *json, struct balance_head *ret_head, struct errctx *ec)
{
    const char *trace = json_string_value(json_object_get(json, "trace"));
    const json_t *hosts = json_object_get(json, "hosts");
    struct balance_head head = { .n_hosts = (uint32_t)json_array_size(hosts) };
    uint64_t version;

    if (trace == NULL || strcmp(trace, HEAD) != 0 || !take(json, "version", UINT32_MAX, &version))
        return errctx_set(ec, EINVAL, "this is no trace of rebalancing");
    if (version != HEAD_VERSION)
        return errctx_set(ec, EINVAL, "this trace has version %" PRIu64 ", and only %d is known",
                          version, HEAD_VERSION);
    if (json_array_size(hosts) == 0 || json_array_size(hosts) > BALANCE_MAX_NODES ||
        read_list(hosts, head.n_hosts, INT32_MAX, NULL, head.hosts) < 0 ||
        !take_params(json_object_get(json, "params"), &head.params))
        return errctx_set(ec, EINVAL, "the trace's first line makes no sense");
    *ret_head = head;
    return 0;
}
