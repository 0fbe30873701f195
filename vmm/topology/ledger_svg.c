/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger as a picture: bars for memory at home, a matrix of "real / told". Few colours, and
 * each means one thing: green at home and kept, red away and broken, grey not known.
 */
#include <string.h>

#include "vmm/base/macros.h"
#include "vmm/topology/ledger.h"
#include "vmm/topology/show_text.h"
#include "vmm/topology/svg_parts.h"

enum {
    MARGIN = 24,
    BAR_W = 320,
    BAR_H = 16,
    ROW_H = 24,
    LABEL_W = 190, /* before a bar */
    TEXT_W = 190,  /* behind it */
    NUMBERED = 24, /* up to so many nodes cells hold their numbers */
};

#define KEPT    "#d7f0dc"
#define NEARER  "#eef8f0" /* kept with room to spare */
#define HOME    "#3c9d5b"
#define AWAY    "#d1495b"
#define BROKEN  "#f7c6c5"
#define UNKNOWN "#eceff2"
#define EDGE    "#c4ccd4"

static double draw_bars(const struct ledger *l, FILE *out, double y)
{
    char line[96], homes[64], size[32];

    svg_text(out, MARGIN, y + 12, 14, "start", SVG_INK, "memory on its host nodes");
    y += 24;
    for (size_t i = 0; i < l->n_nodes; i++, y += ROW_H) {
        const struct ledger_node *n = &l->nodes[i];
        const bool known = n->resident_bytes > 0 && !idset_empty(&n->homes);
        const double share = known ? (double)n->home_bytes / (double)n->resident_bytes : 0,
                     x = MARGIN + LABEL_W;

        (void)snprintf(line, sizeof(line), "node %zu on host %s%s", i,
                       show_set(&n->homes, "any", homes, sizeof(homes)),
                       n->forced ? ", forced" : "");
        svg_text(out, MARGIN, y + 12, 12, "start", SVG_INK, line);
        svg_rect(out, (struct svg_rect){ x, y, BAR_W, BAR_H }, known ? AWAY : UNKNOWN, EDGE);
        if (share > 0)
            svg_rect(out, (struct svg_rect){ x, y, BAR_W * share, BAR_H }, HOME, "none");
        if (known)
            (void)snprintf(line, sizeof(line), "%.2f %% of %s", share * 100,
                           show_size(n->resident_bytes, size, sizeof(size)));
        else
            (void)snprintf(line, sizeof(line), "%s, no home",
                           show_size(n->resident_bytes, size, sizeof(size)));
        svg_text(out, x + BAR_W + 10, y + 12, 12, "start", SVG_INK, line);
    }
    return y + 10;
}

static const char *cell_colour(const struct ledger *l, size_t from, size_t to)
{
    const uint32_t told = l->told[from * l->n_nodes + to], real = l->real[from * l->n_nodes + to];

    if (from == to || real == 0)
        return UNKNOWN;
    return real > told ? BROKEN : real < told ? NEARER : KEPT;
}

static double draw_pairs(const struct ledger *l, FILE *out, double y)
{
    const size_t n = l->n_nodes;
    const double w = n <= NUMBERED ? 58 : 8, h = n <= NUMBERED ? 26 : 8, left = MARGIN + 34;
    const size_t step = n <= NUMBERED ? 1 : 8;
    const double top = y + 42;
    char text[32];

    svg_text(out, MARGIN, y + 12, 14, "start", SVG_INK,
             n <= NUMBERED ? "real distance / told, from row to column"
                           : "real distance against told, from row to column");
    for (size_t i = 0; i < n; i += step) {
        (void)snprintf(text, sizeof(text), "%zu", i);
        svg_text(out, left + ((double)i + 0.5) * w, top - 6, 11, "middle", SVG_DIM, text);
        svg_text(out, left - 8, top + ((double)i + 0.5) * h + 4, 11, "end", SVG_DIM, text);
    }
    for (size_t i = 0; i < n * n; i++) {
        const double x = left + (double)(i % n) * w, cy = top + (double)(i / n) * h;
        const bool broken = ledger_is_broken(l, i / n, i % n);

        (void)fprintf(
            out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x,
            cy, w - (n <= NUMBERED), h - (n <= NUMBERED), cell_colour(l, i / n, i % n));
        if (n > NUMBERED || i / n == i % n)
            continue;
        if (l->real[i] == 0)
            (void)snprintf(text, sizeof(text), "? / %u", l->told[i]);
        else
            (void)snprintf(text, sizeof(text), "%u / %u", l->real[i], l->told[i]);
        svg_text(out, x + w / 2, cy + h / 2 + 4, 11, "middle", broken ? "#8c1d2f" : SVG_INK, text);
    }
    return top + (double)n * h + 12;
}

static double draw_verdict(const struct ledger *l, FILE *out, double y)
{
    char line[160];

    if (l->worst.real == 0)
        (void)snprintf(line, sizeof(line), "No pair of nodes has a known distance.");
    else if (l->n_broken == 0)
        (void)snprintf(line, sizeof(line),
                       "Every known distance is kept; nearest to its bound: %u to %u, real %u, "
                       "told %u.",
                       l->worst.from, l->worst.to, l->worst.real, l->worst.told);
    else
        (void)snprintf(line, sizeof(line),
                       "%zu distance%s broken; the worst: %u to %u, real %u, told %u.", l->n_broken,
                       l->n_broken == 1 ? " is" : "s are", l->worst.from, l->worst.to,
                       l->worst.real, l->worst.told);
    svg_text(out, MARGIN, y + 12, 12, "start", SVG_INK, line);
    (void)snprintf(line, sizeof(line), "Rank inversions: %llu.",
                   (unsigned long long)l->n_inversions);
    svg_text(out, MARGIN, y + 30, 12, "start", SVG_INK, line);
    return y + 42;
}

void ledger_write_svg(const struct ledger *l, const char *title, FILE *out)
{
    const double cells = (double)l->n_nodes * (l->n_nodes <= NUMBERED ? 58 : 8) + 34;
    const double inner = MAX(MAX((double)(LABEL_W + BAR_W + TEXT_W), cells), 620.0);
    const double rows = (double)l->n_nodes * (l->n_nodes <= NUMBERED ? 26 : 8);
    const double height =
        MARGIN + 36 + 24 + (double)l->n_nodes * ROW_H + 10 + 42 + rows + 12 + 42 + MARGIN;
    double y = MARGIN;

    (void)fprintf(out,
                  "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                  "viewBox=\"0 0 %.0f %.0f\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n",
                  inner + 2 * MARGIN, height, inner + 2 * MARGIN, height);
    svg_text(out, MARGIN, y + 16, 18, "start", SVG_INK, title);
    y = draw_bars(l, out, y + 36);
    y = draw_pairs(l, out, y);
    (void)draw_verdict(l, out, y);
    (void)fputs("</svg>\n", out);
}
