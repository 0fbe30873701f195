/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for the JSON forms; see the header. */
#include "vmm/topology/show_json.h"

#include <stdlib.h>

/* The longest list that IDSET_MAX ids can make: every other one, four digits and a comma each. */
enum { LIST_MAX = IDSET_MAX / 2 * 5 + 16 };

json_t *show_json_set(const struct idset *s)
{
    char *buf = malloc(LIST_MAX);
    json_t *j;

    if (buf == NULL)
        return NULL;
    j = json_string(idset_format(s, buf, LIST_MAX));
    free(buf);
    return j;
}

json_t *show_json_matrix(const uint32_t *values, size_t n)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *row = json_array();

        for (size_t k = 0; k < n; k++)
            if (json_array_append_new(row, json_integer(values[i * n + k])) < 0)
                goto err_row;
        if (json_array_append_new(rows, row) < 0)
            goto err_rows; /* takes the reference also when it fails */
        continue;
    err_row:
        json_decref(row);
        goto err_rows;
    }
    return rows;

err_rows:
    json_decref(rows);
    return NULL;
}

const char *show_json_cache_type(enum cache_type type)
{
    return type == CACHE_DATA ? "Data" : type == CACHE_INSTRUCTION ? "Instruction" : "Unified";
}
