/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for tables; see the header. */
#include "vmm/topology/show_text.h"

#include <string.h>

#include "vmm/base/units.h"

void show_heading(FILE *out, bool colour, const char *text)
{
    (void)fprintf(out, "\n%s%s%s\n", colour ? "\033[1m" : "", text, colour ? "\033[0m" : "");
}

const char *show_set(const struct idset *s, const char *otherwise, char *buf, size_t size)
{
    return idset_empty(s) ? otherwise : idset_format(s, buf, size);
}

const char *show_size(uint64_t bytes, char *buf, size_t size)
{
    return bytes == 0 ? "-" : units_format_human(bytes, buf, size);
}

const char *show_cache_name(uint32_t level, enum cache_type type)
{
    static const char *const name[] = { "L0", "L1", "L2", "L3", "L4" };

    if (level == 1 && type == CACHE_DATA)
        return "L1d";
    if (level == 1 && type == CACHE_INSTRUCTION)
        return "L1i";
    return name[level < 5 ? level : 0];
}

static uint32_t id_of(const uint32_t *ids, size_t i)
{
    return ids != NULL ? ids[i] : (uint32_t)i;
}

static void matrix(FILE *out, const uint32_t *distances, size_t n, const uint32_t *ids)
{
    (void)fprintf(out, "  %4s", "");
    for (size_t to = 0; to < n; to++)
        (void)fprintf(out, " %4u", id_of(ids, to));
    for (size_t from = 0; from < n; from++) {
        (void)fprintf(out, "\n  %4u", id_of(ids, from));
        for (size_t to = 0; to < n; to++)
            (void)fprintf(out, " %4u", distances[from * n + to]);
    }
    (void)fputc('\n', out);
}

void show_distances(FILE *out, const uint32_t *distances, size_t n, const uint32_t *ids)
{
    if (n <= SHOW_MATRIX_MAX) {
        matrix(out, distances, n, ids);
        return;
    }
    for (size_t from = 0; from < n; from++) {
        const uint32_t *row = distances + from * n;
        uint32_t last = 0, next;

        (void)fprintf(out, "  %4u:", id_of(ids, from));
        do { /* the distances of this row, ascending */
            struct idset at = { 0 };
            char list[SHOW_LIST_BYTES];

            next = UINT32_MAX;
            for (size_t to = 0; to < n; to++)
                if (row[to] > last && row[to] < next)
                    next = row[to];
            for (size_t to = 0; to < n; to++)
                if (row[to] == next)
                    idset_add(&at, id_of(ids, to));
            if (next != UINT32_MAX)
                (void)fprintf(out, "%s %u to %s", last == 0 ? "" : ",", next,
                              idset_format(&at, list, sizeof(list)));
            last = next;
        } while (next != UINT32_MAX);
        (void)fputc('\n', out);
    }
}
