/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of the picture of a plan. Coordinates are pixels from the top left; every drawing
 * function returns the room it took. Private to vmm/topology.
 */
#ifndef VMM_TOPOLOGY_SVG_PARTS_H
#define VMM_TOPOLOGY_SVG_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "vmm/topology/topo_plan.h"

#define SVG_INK "#1f2328"
#define SVG_DIM "#59636e"

struct svg_size {
    double w, h;
};

struct svg_rect {
    double x, y, w, h;
};

/** svg_text() - @size in pixels; @anchor "start", "middle" or "end". Escapes what XML needs. */
void svg_text(FILE *out, double x, double y, double size, const char *anchor, const char *colour,
              const char *text);

/** svg_text_width() - an estimate on the wide side, in pixels. */
double svg_text_width(const char *text, double size);

/** svg_rect() - a box with slightly round corners. @stroke may be "none". */
void svg_rect(FILE *out, struct svg_rect r, const char *fill, const char *stroke);

/** svg_columns() - columns for @n boxes of @w x @h that make a block of about @aspect. */
size_t svg_columns(size_t n, double w, double h, double aspect);

struct svg_size svg_draw_nodes(const struct topo_plan *plan, FILE *out, double x, double y);
struct svg_size svg_draw_matrix(const struct topo_plan *plan, FILE *out, double x, double y);

/** svg_graph_fits() - few enough nodes that edges with labels stay apart. */
bool svg_graph_fits(const struct topo_plan *plan);
struct svg_size svg_draw_graph(const struct topo_plan *plan, FILE *out, double x, double y);
struct svg_size svg_draw_links(const struct topo_plan *plan, FILE *out, double x, double y);

#endif
