/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places as a picture. Colours mean: green what fits, red what is too much or broken, blue the cost
 * of a term, grey the host.
 */
#include "vmm/topology/places_svg.h"

#include "vmm/base/macros.h"
#include "vmm/topology/show_text.h"
#include "vmm/topology/svg_parts.h"

enum {
    MARGIN = 24,
    GAP = 14,
    BOX_W = 212,
    HEAD_H = 72,  /* of a host node: its name and two bars */
    CHIP_H = 24,  /* a virtual node on it */
    CHIPS = 8,    /* so many at most; the rest is counted */
    LABEL_W = 96, /* before a term's bar */
    BAR_W = 260,
    TEXT_W = 390, /* behind it */
    TERM_H = 24,
};

#define HOST_FILL "#f3f5f7"
#define EDGE      "#c4ccd4"
#define FITS      "#3c9d5b"
#define TOO_MUCH  "#d1495b"
#define CHIP      "#d7f0dc"
#define COST      "#4a7fb5"
#define EMPTY     "#ffffff"

/* The part of virtual node @i that is on host node @id: a node on several is spread over them. */
static double part_on(const struct places *p, size_t i, struct hnode_id id)
{
    return idset_has(&p->nodes[i], id.v) ? 1.0 / idset_count(&p->nodes[i]) : 0;
}

static size_t chips_on(const struct places *p, const struct topo_plan *plan, struct hnode_id id)
{
    size_t n = 0;

    for (size_t i = 0; i < plan->n_nodes; i++)
        n += part_on(p, i, id) > 0;
    return n;
}

/* How full something is; more than full is red. */
static void draw_fill(FILE *out, double x, double y, double want, double have, const char *text)
{
    const double w = BOX_W - 2 * 10, share = have > 0 ? want / have : 0;

    svg_rect(out, (struct svg_rect){ x, y, w, 16 }, EMPTY, EDGE);
    if (share > 0)
        svg_rect(out, (struct svg_rect){ x, y, w * MIN(share, 1.0), 16 },
                 share > 1.001 ? TOO_MUCH : "#a8d8b5", "none");
    svg_text(out, x + 5, y + 12, 10.5, "start", SVG_INK, text);
}

static void draw_chips(const struct places *p, const struct topo_plan *plan, struct hnode_id id,
                       FILE *out, double x, double y)
{
    const size_t all = chips_on(p, plan, id);
    char text[80], size[32];
    size_t drawn = 0;

    for (size_t i = 0; i < plan->n_nodes && drawn < CHIPS; i++) {
        const struct topo_plan_node *n = &plan->nodes[i];

        if (part_on(p, i, id) <= 0)
            continue;
        if (drawn == CHIPS - 1 && all > CHIPS) {
            (void)snprintf(text, sizeof(text), "and %zu more", all - drawn);
        } else {
            (void)snprintf(text, sizeof(text), "node %zu: %u CPUs, %s", i, idset_count(&n->cpus),
                           show_size(n->ram_bytes, size, sizeof(size)));
            svg_rect(out, (struct svg_rect){ x, y, BOX_W - 20, CHIP_H - 5 }, CHIP, FITS);
        }
        svg_text(out, x + 6, y + 13, 11, "start", SVG_INK, text);
        y += CHIP_H;
        drawn++;
    }
}

static void draw_host_node(const struct places *p, const struct topo_plan *plan,
                           const struct host_node *node, struct svg_rect box, FILE *out)
{
    double cpus = 0, memory = 0;
    char text[96], a[32], b[32];

    for (size_t i = 0; i < plan->n_nodes; i++) {
        cpus += part_on(p, i, node->id) * idset_count(&plan->nodes[i].cpus);
        memory += part_on(p, i, node->id) * (double)plan->nodes[i].ram_bytes;
    }
    svg_rect(out, box, HOST_FILL, EDGE);
    (void)snprintf(text, sizeof(text), "host node %u", node->id.v);
    svg_text(out, box.x + 10, box.y + 18, 13, "start", SVG_INK, text);
    (void)snprintf(text, sizeof(text), "%g of %u CPUs", cpus, idset_count(&node->cpus));
    draw_fill(out, box.x + 10, box.y + 26, cpus, idset_count(&node->cpus), text);
    (void)snprintf(text, sizeof(text), "%s of %s",
                   memory > 0 ? show_size((uint64_t)memory, a, sizeof(a)) : "0",
                   show_size(node->mem_bytes, b, sizeof(b)));
    draw_fill(out, box.x + 10, box.y + 46, memory, (double)node->mem_bytes, text);
    draw_chips(p, plan, node->id, out, box.x + 10, box.y + HEAD_H);
}

static double draw_terms(const struct places *p, FILE *out, double y)
{
    double most = MAX(p->total, 0.001);
    char text[160];

    (void)snprintf(text, sizeof(text), "%.3f CPUs in all%s; %s", p->total,
                   p->applied ? "" : " (not followed: nothing asks for places)",
                   p->kept ? "distances are as the guest is told" : "distances are not as told");
    svg_text(out, MARGIN, y + 12, 14, "start", SVG_INK, "what these places cost");
    svg_text(out, MARGIN, y + 32, 12, "start", SVG_DIM, text);
    if (p->proved)
        (void)snprintf(text, sizeof(text), "proved: no other places cost less");
    else
        (void)snprintf(text, sizeof(text), "no places cost less than %.3f", p->bound);
    svg_text(out, MARGIN, y + 50, 12, "start", SVG_DIM, text);
    y += 64;
    for (size_t i = 0; i < p->n_terms; i++, y += TERM_H) {
        const struct places_term *t = &p->terms[i];
        const double x = MARGIN + LABEL_W;

        svg_text(out, MARGIN, y + 12, 12, "start", SVG_INK, t->name);
        svg_rect(out, (struct svg_rect){ x, y, BAR_W, 16 }, EMPTY, EDGE);
        if (t->cost > 0)
            svg_rect(out, (struct svg_rect){ x, y, MAX(BAR_W * MIN(t->cost / most, 1.0), 1.0), 16 },
                     COST, "none");
        (void)snprintf(text, sizeof(text), "%.3f  %s", t->cost, t->what);
        svg_text(out, x + BAR_W + 10, y + 12, 12, "start", SVG_INK, text);
    }
    return y;
}

void places_write_svg(const struct places *p, const struct topo_plan *plan,
                      const struct host_topo *host, FILE *out)
{
    double box_h = HEAD_H + 8, w, h, y = MARGIN + 36;
    size_t columns, rows, chips = 0;
    char title[96];

    for (size_t k = 0; k < host->n_nodes; k++)
        chips = MAX(chips, chips_on(p, plan, host->nodes[k].id));
    box_h += (double)MIN(chips, (size_t)CHIPS) * CHIP_H;
    columns = svg_columns(host->n_nodes, BOX_W + GAP, box_h + GAP, 2.2);
    rows = (host->n_nodes + columns - 1) / columns;
    w = MAX((double)columns * (BOX_W + GAP) - GAP, (double)(LABEL_W + BAR_W + TEXT_W)) + 2 * MARGIN;
    h = y + (double)rows * (box_h + GAP) + 74 + (double)p->n_terms * TERM_H + MARGIN;
    (void)fprintf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                  "viewBox=\"0 0 %.0f %.0f\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                  w, h, w, h);
    (void)snprintf(title, sizeof(title), "%zu virtual node%s on %zu host node%s", plan->n_nodes,
                   plan->n_nodes == 1 ? "" : "s", host->n_nodes, host->n_nodes == 1 ? "" : "s");
    svg_text(out, MARGIN, MARGIN + 16, 18, "start", SVG_INK, title);
    for (size_t k = 0; k < host->n_nodes; k++)
        draw_host_node(p, plan, &host->nodes[k],
                       (struct svg_rect){ MARGIN + (double)(k % columns) * (BOX_W + GAP),
                                          y + (double)(k / columns) * (box_h + GAP), BOX_W, box_h },
                       out);
    y += (double)rows * (box_h + GAP) + 10;
    (void)draw_terms(p, out, y);
    (void)fputs("</svg>\n", out);
}
