/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances as a heat map, as a graph with labelled edges for few nodes, and links as a list.
 */
#include "vmm/topology/svg_parts.h"

#include <inttypes.h>

#include "vmm/base/macros.h"
#include "vmm/topology/show_text.h"

enum {
    HEAD = 22,      /* room for a part's title */
    HEAT_SPAN = 40, /* a distance this great is dark, however small the others are */
    NUMBERED = 40,  /* up to here cells hold their value */
    MAX_KEY = 12,   /* colours explained below a heat map without numbers */
    GRAPH_NODES = 4,
    LIST_LINKS = 14,
};

/* From pale yellow for the smallest distance to dark red for the greatest. */
static void heat(uint32_t v, uint32_t max, char *buf, size_t size, bool *ret_dark)
{
    double span = MAX(max, (uint32_t)HEAT_SPAN) - GUEST_DISTANCE_LOCAL;
    double t = (v - GUEST_DISTANCE_LOCAL) / span;

    (void)snprintf(buf, size, "#%02x%02x%02x", (unsigned)(255 - 95 * t * t),
                   (unsigned)(248 - 205 * t), (unsigned)(214 - 170 * t));
    *ret_dark = t > 0.55;
}

static uint32_t greatest(const struct topo_plan *plan)
{
    uint32_t max = GUEST_DISTANCE_LOCAL;

    for (size_t i = 0; i < plan->n_nodes * plan->n_nodes; i++)
        max = MAX(max, plan->distances[i]);
    return max;
}

/* The smallest distance above @v, or 0. */
static uint32_t next_value(const struct topo_plan *plan, uint32_t v)
{
    uint32_t next = 0;

    for (size_t i = 0; i < plan->n_nodes * plan->n_nodes; i++)
        if (plan->distances[i] > v && (next == 0 || plan->distances[i] < next))
            next = plan->distances[i];
    return next;
}

/* The values behind the colours, or the two ends when they are many. */
static void draw_key(const struct topo_plan *plan, FILE *out, double x, double y)
{
    uint32_t max = greatest(plan), n = 0;
    char colour[16], text[24];
    bool dark;

    for (uint32_t v = next_value(plan, 0); v != 0; v = next_value(plan, v))
        n++;
    for (uint32_t v = next_value(plan, 0); v != 0; v = next_value(plan, v)) {
        if (n > MAX_KEY && v != GUEST_DISTANCE_LOCAL && v != max)
            continue;
        heat(v, max, colour, sizeof(colour), &dark);
        svg_rect(out, (struct svg_rect){ x, y, 14, 14 }, colour, "#8c959f");
        (void)snprintf(text, sizeof(text), "%u", v);
        svg_text(out, x + 20, y + 12, 12, "start", SVG_INK, text);
        x += 56;
    }
}

struct svg_size svg_draw_matrix(const struct topo_plan *plan, FILE *out, double x, double y)
{
    size_t n = plan->n_nodes, step = n <= NUMBERED ? 1 : 8;
    double cell = n <= 16 ? 32 : n <= NUMBERED ? 26 : 7, left = x + 30, top = y + HEAD + 18;
    double font = n <= 16 ? 12 : 10;
    uint32_t max = greatest(plan);
    char colour[16], text[24];
    bool dark;

    svg_text(out, x, y + 12, 14, "start", SVG_INK, "distance, from row to column");
    for (size_t i = 0; i < n; i += step) {
        (void)snprintf(text, sizeof(text), "%zu", i);
        svg_text(out, left + ((double)i + 0.5) * cell, top - 5, font, "middle", SVG_DIM, text);
        svg_text(out, left - 6, top + ((double)i + 0.5) * cell + 4, font, "end", SVG_DIM, text);
    }
    for (size_t i = 0; i < n * n; i++) {
        double cx = left + (double)(i % n) * cell, cy = top + (double)(i / n) * cell;

        heat(plan->distances[i], max, colour, sizeof(colour), &dark);
        (void)fprintf(
            out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", cx,
            cy, cell - (n <= NUMBERED ? 1 : 0), cell - (n <= NUMBERED ? 1 : 0), colour);
        if (n > NUMBERED)
            continue;
        (void)snprintf(text, sizeof(text), "%u", plan->distances[i]);
        svg_text(out, cx + cell / 2, cy + cell / 2 + 4, font, "middle", dark ? "#ffffff" : SVG_INK,
                 text);
    }
    if (n > NUMBERED)
        draw_key(plan, out, left, top + (double)n * cell + 10);
    return (struct svg_size){ MAX(30 + (double)n * cell, 240.0),
                              HEAD + 18 + (double)n * cell + (n > NUMBERED ? 30 : 0) };
}

bool svg_graph_fits(const struct topo_plan *plan)
{
    return plan->n_nodes > 1 && plan->n_nodes <= GRAPH_NODES;
}

/* Corners of regular polygons with 2 to 4 corners, radius 1, from the top or left. */
static struct svg_size corner(size_t n, size_t i)
{
    static const struct svg_size at[GRAPH_NODES + 1][GRAPH_NODES] = {
        [2] = { { -1, 0 }, { 1, 0 } },
        [3] = { { 0, -1 }, { 0.866, 0.5 }, { -0.866, 0.5 } },
        [4] = { { -0.9, -0.7 }, { 0.9, -0.7 }, { 0.9, 0.7 }, { -0.9, 0.7 } },
    };

    return at[n][i];
}

/* An edge and its label, a third of the way along so that labels of crossing edges stay apart. */
static void draw_edge(const struct topo_plan *plan, FILE *out, struct svg_size a, struct svg_size b,
                      size_t from, size_t to)
{
    size_t n = plan->n_nodes;
    uint32_t there = plan->distances[from * n + to], back = plan->distances[to * n + from];
    double at = n == 2 ? 0.5 : 0.37, w;
    double x = a.w + (b.w - a.w) * at, y = a.h + (b.h - a.h) * at;
    char text[32];

    if (there == back)
        (void)snprintf(text, sizeof(text), "%u", there);
    else
        (void)snprintf(text, sizeof(text), "%u out, %u back", there, back);
    (void)fprintf(out,
                  "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#8c959f\" "
                  "stroke-width=\"1.5\"/>\n",
                  a.w, a.h, b.w, b.h);
    w = svg_text_width(text, 11) + 8;
    svg_rect(out, (struct svg_rect){ x - w / 2, y - 9, w, 18 }, "#ffffff", "#d0d7de");
    svg_text(out, x, y + 4, 11, "middle", SVG_INK, text);
}

struct svg_size svg_draw_graph(const struct topo_plan *plan, FILE *out, double x, double y)
{
    size_t n = plan->n_nodes;
    double rx = n == 2 ? 110 : 170, ry = n == 2 ? 0 : 130, cx = x + rx + 60,
           cy = y + HEAD + ry + 28;
    struct svg_size at[GRAPH_NODES];
    char text[24];

    svg_text(out, x, y + 12, 14, "start", SVG_INK,
             "distances between nodes (out: from the lower number)");
    for (size_t i = 0; i < n; i++) {
        at[i] = corner(n, i);
        at[i] = (struct svg_size){ cx + at[i].w * rx, cy + at[i].h * ry };
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++)
            draw_edge(plan, out, at[i], at[k], i, k);
    for (size_t i = 0; i < n; i++) {
        (void)fprintf(out,
                      "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"18\" fill=\"%s\" stroke=\"#57606a\"/>\n",
                      at[i].w, at[i].h, plan->nodes[i].ram_bytes > 0 ? "#d8f0dd" : "#eaeef2");
        (void)snprintf(text, sizeof(text), "%zu", i);
        svg_text(out, at[i].w, at[i].h + 5, 14, "middle", SVG_INK, text);
    }
    return (struct svg_size){ MAX(2 * rx + 120, 430.0), HEAD + 2 * ry + 56 };
}

static void describe_link(const struct topo_plan_link *l, char *buf, size_t size)
{
    char rate[32];

    (void)show_size(l->bandwidth_bytes_per_s, rate, sizeof(rate));
    if (l->latency_ns > 0 && l->bandwidth_bytes_per_s > 0)
        (void)snprintf(buf, size, "%" PRIu64 " ns, %s/s", l->latency_ns, rate);
    else if (l->latency_ns > 0)
        (void)snprintf(buf, size, "%" PRIu64 " ns", l->latency_ns);
    else
        (void)snprintf(buf, size, "%s/s", rate);
}

struct svg_size svg_draw_links(const struct topo_plan *plan, FILE *out, double x, double y)
{
    size_t n = plan->n_nodes, shown = 0, all = 0;
    char text[160], what[96];

    svg_text(out, x, y + 12, 14, "start", SVG_INK, "links, from CPUs to memory");
    for (size_t i = 0; i < n * n; i++) {
        const struct topo_plan_link *l = &plan->links[i];

        if (l->latency_ns == 0 && l->bandwidth_bytes_per_s == 0)
            continue;
        if (++all > LIST_LINKS)
            continue;
        describe_link(l, what, sizeof(what));
        (void)snprintf(text, sizeof(text), "%zu to %zu: %s", i / n, i % n, what);
        svg_text(out, x, y + HEAD + 14 + (double)shown++ * 17, 12, "start", SVG_INK, text);
    }
    if (all > shown) {
        (void)snprintf(text, sizeof(text), "and %zu more, which the table lists", all - shown);
        svg_text(out, x, y + HEAD + 14 + (double)shown++ * 17, 12, "start", SVG_DIM, text);
    }
    return (struct svg_size){ 290, HEAD + 20 + (double)shown * 17 };
}
