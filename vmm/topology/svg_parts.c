/* SPDX-License-Identifier: Apache-2.0 */
/* Text and boxes for pictures. */
#include "vmm/topology/svg_parts.h"

#include <string.h>

void svg_text(FILE *out, double x, double y, double size, const char *anchor, const char *colour,
              const char *text)
{
    (void)fprintf(out,
                  "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">",
                  x, y, size, anchor, colour);
    for (; *text != '\0'; text++) {
        if (*text == '<')
            (void)fputs("&lt;", out);
        else if (*text == '&')
            (void)fputs("&amp;", out);
        else
            (void)fputc(*text, out);
    }
    (void)fputs("</text>\n", out);
}

double svg_text_width(const char *text, double size)
{
    return (double)strlen(text) * size * 0.62;
}

void svg_rect(FILE *out, struct svg_rect r, const char *fill, const char *stroke)
{
    (void)fprintf(out,
                  "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" "
                  "fill=\"%s\" stroke=\"%s\"/>\n",
                  r.x, r.y, r.w, r.h, fill, stroke);
}

size_t svg_columns(size_t n, double w, double h, double aspect)
{
    size_t best = 1;
    double best_cost = 1e9;

    for (size_t cols = 1; cols <= n; cols++) {
        size_t rows = (n + cols - 1) / cols;
        double ratio = (double)cols * w / ((double)rows * h) / aspect;
        double empty = (double)(rows * cols - n) / (double)n;
        double cost = (ratio > 1 ? ratio : 1 / ratio) + 2 * empty;

        if (cost < best_cost) {
            best_cost = cost;
            best = cols;
        }
    }
    return best;
}
