/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots to JSON and back. Whatever is read is held against balance_check() before it is given
 * to anybody; sizes are looked at before memory is taken for them. See balance_trace.h.
 */
#include "vmm/machine/balance_trace.h"

#include <errno.h>
#include <stdlib.h>

static json_t *numbers32(const uint32_t *values, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(list, json_integer(values[i]));
    return list;
}

json_t *balance_trace_to_json(const struct balance_snapshot *s)
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
    json = json_pack("{s:I, s:o, s:o, s:o, s:o}", "time", (json_int_t)s->time_ns, "nodes", nodes,
                     "distances", numbers32(s->distances, pairs), "vnodes", vnodes, "at", at);
    if (json != NULL && s->told != NULL)
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

static int read_line(const json_t *json, struct balance_line *line, struct errctx *ec)
{
    const json_t *time = json_object_get(json, "time"), *told = json_object_get(json, "told");
    const size_t n = line->snap.n_nodes, v = line->snap.n_vnodes;

    if (!json_is_integer(time) || json_integer_value(time) < 0 ||
        read_rows(json_object_get(json, "nodes"), json_object_get(json, "vnodes"), line) < 0 ||
        read_list(json_object_get(json, "distances"), n * n, UINT32_MAX, NULL, line->distances) <
            0 ||
        read_list(json_object_get(json, "at"), v * n, INT64_MAX, line->at, NULL) < 0 ||
        (told != NULL && read_list(told, v * v, UINT32_MAX, NULL, line->told) < 0))
        return errctx_set(ec, EINVAL, "this line is no snapshot");
    line->snap.time_ns = (uint64_t)json_integer_value(time);
    line->snap.nodes = line->nodes;
    line->snap.vnodes = line->vnodes;
    line->snap.distances = line->distances;
    line->snap.at_bytes = line->at;
    line->snap.told = told != NULL ? line->told : NULL;
    return balance_check(&line->snap, ec);
}

int balance_trace_from_json(const json_t *json, struct balance_line *ret_line, struct errctx *ec)
{
    const size_t n = json_array_size(json_object_get(json, "nodes"));
    const size_t v = json_array_size(json_object_get(json, "vnodes"));
    struct balance_line line = { .snap = { .n_nodes = (uint32_t)n, .n_vnodes = (uint32_t)v } };
    int r;

    if (n == 0 || n > BALANCE_MAX_NODES || v == 0 || v > BALANCE_MAX_VNODES)
        return errctx_set(ec, EINVAL, "this line is no snapshot");
    line.nodes = calloc(n, sizeof(line.nodes[0]));
    line.vnodes = calloc(v, sizeof(line.vnodes[0]));
    line.distances = calloc(n * n, sizeof(line.distances[0]));
    line.told = calloc(v * v, sizeof(line.told[0]));
    line.at = calloc(v * n, sizeof(line.at[0]));
    if (line.nodes == NULL || line.vnodes == NULL || line.distances == NULL || line.told == NULL ||
        line.at == NULL)
        r = errctx_set(ec, ENOMEM, "no memory for a snapshot");
    else
        r = read_line(json, &line, ec);
    if (r < 0) {
        balance_line_fini(&line);
        return r;
    }
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
