/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan as a picture: the page. Nodes are drawn by svg_nodes.c, distances by svg_matrix.c.
 *
 * Parts are drawn into memory first, since a page must say its size before its content.
 */
#include "vmm/topology/show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"
#include "vmm/base/units.h"
#include "vmm/topology/show_text.h"
#include "vmm/topology/svg_parts.h"

enum { PAGE_MARGIN = 24, PAGE_GAP = 28, LINE_HEIGHT = 18, NOTE_COLUMNS = 110 };

static double draw_title(const struct topo_plan *plan, FILE *out, double y)
{
    const struct topo_apic_layout *a = &plan->apic;
    uint64_t ram = 0;
    char b[32], line[256];

    for (size_t i = 0; i < plan->n_nodes; i++)
        ram += plan->nodes[i].ram_bytes;
    (void)snprintf(line, sizeof(line), "%zu node%s, %zu CPU%s, %s", plan->n_nodes,
                   plan->n_nodes == 1 ? "" : "s", plan->n_vcpus, plan->n_vcpus == 1 ? "" : "s",
                   show_size(ram, b, sizeof(b)));
    svg_text(out, PAGE_MARGIN, y + 18, 20, "start", SVG_INK, line);
    (void)snprintf(line, sizeof(line),
                   "sockets %u, dies per socket %u, cores per die %u, threads per core %u",
                   a->n_sockets, a->dies_per_socket, a->cores_per_complex * a->complexes_per_die,
                   a->threads_per_core);
    svg_text(out, PAGE_MARGIN, y + 40, 13, "start", SVG_DIM, line);
    return y + 56;
}

/* One line of text, moved on. */
static double draw_line(FILE *out, double y, const char *text)
{
    svg_text(out, PAGE_MARGIN, y + 13, 12, "start", SVG_INK, text);
    return y + LINE_HEIGHT;
}

/* Where fields are empty several answers are true: the one that fits the level is given. */
static const char *whose_cache(const struct topo_apic_layout *a, const struct topo_plan_cache *c)
{
    if (c->level <= 2 && c->apic_shift == a->core_shift)
        return "one for each core";
    if (c->apic_shift == a->die_shift)
        return "one for each die";
    if (c->apic_shift == a->complex_shift)
        return "one for each complex";
    if (c->apic_shift == a->socket_shift)
        return "one for each socket";
    if (c->apic_shift == a->core_shift)
        return "one for each core";
    return c->apic_shift > a->socket_shift ? "one for several sockets" : "one for several cores";
}

static double draw_caches(const struct topo_plan *plan, FILE *out, double y)
{
    for (size_t i = 0; i < plan->n_caches; i++) {
        const struct topo_plan_cache *c = &plan->caches[i];
        const char *whose = whose_cache(&plan->apic, c);
        char b[32], line[160];

        (void)snprintf(line, sizeof(line), "%s: %s, %u ways, %u sets, lines of %u bytes, %s",
                       show_cache_name(c->level, c->type), show_size(c->size_bytes, b, sizeof(b)),
                       c->ways, c->sets, c->line_bytes, whose);
        y = draw_line(out, y, line);
    }
    return y;
}

/* Notes, broken at blanks. */
static double draw_notes(const struct topo_plan *plan, FILE *out, double y)
{
    for (const char *p = plan->notes; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        char line[NOTE_COLUMNS + 1];

        if (len > NOTE_COLUMNS) {
            len = NOTE_COLUMNS;
            while (len > 1 && p[len] != ' ')
                len--;
        }
        (void)snprintf(line, sizeof(line), "%.*s", (int)len, p);
        y = draw_line(out, y, line);
        p += len + (p[len] == '\n' || p[len] == ' ');
    }
    return y;
}

/* Everything on the page; returns its size. */
static struct svg_size draw_page(const struct topo_plan *plan, FILE *out)
{
    struct svg_size nodes, matrix, graph = { 0 }, links = { 0 };
    double y = draw_title(plan, out, PAGE_MARGIN), width, below;

    nodes = svg_draw_nodes(plan, out, PAGE_MARGIN, y);
    y += nodes.h + PAGE_GAP;
    matrix = svg_draw_matrix(plan, out, PAGE_MARGIN, y);
    width = matrix.w;
    if (svg_graph_fits(plan)) {
        graph = svg_draw_graph(plan, out, PAGE_MARGIN + width + PAGE_GAP, y);
        width += PAGE_GAP + graph.w;
    }
    if (plan->links != NULL) {
        links = svg_draw_links(plan, out, PAGE_MARGIN + width + PAGE_GAP, y);
        width += PAGE_GAP + links.w;
    }
    below = MAX(matrix.h, MAX(graph.h, links.h));
    y = draw_caches(plan, out, y + below + PAGE_GAP / 2.0);
    y = draw_notes(plan, out, y + 6);
    width = MAX(MAX(width, nodes.w), plan->notes[0] != '\0' ? NOTE_COLUMNS * 7.0 : 480.0);
    return (struct svg_size){ width + 2 * PAGE_MARGIN, y + PAGE_MARGIN };
}

int topo_plan_write_svg(const struct topo_plan *plan, FILE *out, struct errctx *ec)
{
    CLEANUP_FREE char *body = NULL;
    struct svg_size size;
    size_t len = 0;
    FILE *mem = open_memstream(&body, &len);
    bool bad;

    if (mem == NULL)
        return errctx_set(ec, ENOMEM, "no memory for the picture");
    size = draw_page(plan, mem);
    bad = ferror(mem) != 0;
    if (fclose(mem) != 0 || bad)
        return errctx_set(ec, ENOMEM, "no memory for the picture");
    (void)fprintf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                  "viewBox=\"0 0 %.0f %.0f\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n%s</svg>\n",
                  size.w, size.h, size.w, size.h, body);
    return 0;
}
