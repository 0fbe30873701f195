/* SPDX-License-Identifier: Apache-2.0 */
/* Measured distances, for people and as JSON. */
#include "vmm/topology/host_show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/topology/host_measured.h"
#include "vmm/topology/show_text.h"

enum { MAX_SHOWN = 16 };

/* Of all pairs at one distance. */
struct spread {
    uint32_t distance;
    uint32_t min_ps, max_ps;
    uint64_t min_rate, max_rate;
    size_t n;
};

static struct spread *spread_of(struct spread *list, size_t *n, uint32_t distance)
{
    size_t at = 0;

    while (at < *n && list[at].distance < distance)
        at++;
    if (at < *n && list[at].distance == distance)
        return &list[at];
    for (size_t i = (*n)++; i > at; i--)
        list[i] = list[i - 1];
    list[at] = (struct spread){ .distance = distance, .min_ps = UINT32_MAX, .min_rate = UINT64_MAX };
    return &list[at];
}

static void print_spreads(const struct host_topo *host, FILE *out)
{
    CLEANUP_FREE struct spread *list = calloc(host->n_samples, sizeof(*list));
    char low[32], high[32];
    size_t n = 0;

    for (size_t i = 0; list != NULL && i < host->n_samples; i++) {
        const struct host_sample *s = &host->samples[i];
        const size_t from = (size_t)host_topo_node_index(host, s->from);
        const size_t to = (size_t)host_topo_node_index(host, s->to);
        struct spread *p = spread_of(list, &n, host_topo_distance(host, from, to));

        p->min_ps = MIN(p->min_ps, s->latency_ps);
        p->max_ps = MAX(p->max_ps, s->latency_ps);
        p->min_rate = MIN(p->min_rate, s->bytes_per_s);
        p->max_rate = MAX(p->max_rate, s->bytes_per_s);
        p->n++;
    }
    (void)fprintf(out, "  %8s  %5s  %15s  %s\n", "distance", "pairs", "latency, ns", "bandwidth");
    for (size_t i = 0; i < n; i++)
        (void)fprintf(out, "  %8u  %5zu  %5u.%u - %5u.%u  %s/s - %s/s\n", list[i].distance,
                      list[i].n, list[i].min_ps / 1000, list[i].min_ps % 1000 / 100,
                      list[i].max_ps / 1000, list[i].max_ps % 1000 / 100,
                      show_size(list[i].min_rate, low, sizeof(low)),
                      show_size(list[i].max_rate, high, sizeof(high)));
}

static void print_matrix(const struct host_topo *host, FILE *out)
{
    (void)fputs("  latency, ns, CPUs of the row's node, memory of the column's (~ from pairs like "
                "it)\n", out);
    (void)fprintf(out, "  %4s", "");
    for (size_t to = 0; to < host->n_nodes; to++)
        (void)fprintf(out, " %7u", host->nodes[to].id.v);
    for (size_t from = 0; from < host->n_nodes; from++) {
        (void)fprintf(out, "\n  %4u", host->nodes[from].id.v);
        for (size_t to = 0; to < host->n_nodes; to++) {
            const struct host_link *l = host_topo_measured(host, from, to);

            if (l == NULL)
                (void)fprintf(out, " %7s", "-");
            else
                (void)fprintf(out, " %s%4u.%u", l->by == HOST_MEASURED_PAIR ? " " : "~",
                              l->latency_ps / 1000, l->latency_ps % 1000 / 100);
        }
    }
    (void)fputc('\n', out);
}

void host_table_measured(const struct host_topo *host, FILE *out, bool colour)
{
    struct host_contradiction c[MAX_SHOWN];
    char text[HOST_CONTRADICTION_BYTES], when[64] = "";
    const time_t at = (time_t)host->measured_at;
    struct tm tm;
    size_t n;

    if (!host->has_measured)
        return;
    if (gmtime_r(&at, &tm) == NULL ||
        strftime(when, sizeof(when), "Measured on %Y-%m-%d %H:%M UTC", &tm) == 0)
        (void)snprintf(when, sizeof(when), "Measured");
    show_heading(out, colour, when);
    print_spreads(host, out);
    if (host->n_nodes > 1 && host->n_nodes <= SHOW_MATRIX_MAX)
        print_matrix(host, out);
    n = host_measured_judge(host, c, MAX_SHOWN);
    if (n > 0)
        show_heading(out, colour, "Measured values contradict the firmware's distances");
    for (size_t i = 0; i < n && i < MAX_SHOWN; i++)
        (void)fprintf(out, "  %s\n", host_contradiction_text(&c[i], text, sizeof(text)));
    if (n > MAX_SHOWN)
        (void)fprintf(out, "  and %zu more\n", n - MAX_SHOWN);
}

static json_t *pairs_json(const struct host_topo *host)
{
    json_t *pairs = json_array();

    for (size_t i = 0; i < host->n_samples; i++) {
        const struct host_sample *s = &host->samples[i];

        if (json_array_append_new(pairs, json_pack("{si si sI sI sb}", "from", (int)s->from.v, "to",
                                                   (int)s->to.v, "latency_ps",
                                                   (json_int_t)s->latency_ps, "bandwidth",
                                                   (json_int_t)s->bytes_per_s, "check",
                                                   (int)s->check)) < 0) {
            json_decref(pairs);
            return NULL;
        }
    }
    return pairs;
}

static json_t *matrix_json(const struct host_topo *host, bool latency)
{
    json_t *rows = json_array();

    for (size_t from = 0; from < host->n_nodes; from++) {
        json_t *row = json_array();

        for (size_t to = 0; to < host->n_nodes; to++) {
            const struct host_link *l = host_topo_measured(host, from, to);
            const uint64_t v = l == NULL ? 0 : latency ? l->latency_ps : l->bytes_per_s;

            if (json_array_append_new(row, json_integer((json_int_t)v)) < 0) {
                json_decref(row);
                row = NULL;
                break;
            }
        }
        if (json_array_append_new(rows, row) < 0) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

static json_t *contradictions_json(const struct host_topo *host)
{
    struct host_contradiction c[MAX_SHOWN];
    char text[HOST_CONTRADICTION_BYTES];
    const size_t n = host_measured_judge(host, c, MAX_SHOWN);
    json_t *list = json_array();

    for (size_t i = 0; i < MIN(n, (size_t)MAX_SHOWN); i++)
        if (json_array_append_new(
                list, json_pack("{ss si si sI ss}", "kind",
                                c[i].kind == HOST_CONTRADICTS_ORDER ? "order" : "class", "from",
                                (int)c[i].slow.from.v, "to", (int)c[i].slow.to.v, "percent",
                                (json_int_t)c[i].percent, "text",
                                host_contradiction_text(&c[i], text, sizeof(text)))) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

int host_json_measured(json_t *j, const struct host_topo *host)
{
    json_t *m;

    if (!host->has_measured)
        return 0;
    m = json_pack("{sI so so so so}", "at", (json_int_t)host->measured_at, "pairs",
                  pairs_json(host), "latency_ps", matrix_json(host, true), "bandwidth",
                  matrix_json(host, false), "contradictions", contradictions_json(host));
    return json_object_set_new(j, "measured", m) < 0 ? -ENOMEM : 0;
}
