/* SPDX-License-Identifier: Apache-2.0 */
/* System Locality Distance Information Table (ACPI 6.5, 5.2.17): one byte per ordered pair. */
#include <errno.h>

#include "firmware/acpi_parts.h"

int slit_append(struct bytebuf *b, const struct acpi_input *in, struct errctx *ec)
{
    size_t n = in->plan->n_nodes;
    size_t off = acpi_table_begin(b, "SLIT", 1);

    bytebuf_u64(b, n);
    for (size_t i = 0; i < n * n; i++) {
        uint32_t d = in->plan->distances[i];

        if (d > UINT8_MAX)
            return errctx_set(ec, ERANGE, "distance %u from node %zu to node %zu is above %u", d,
                              i / n, i % n, UINT8_MAX);
        bytebuf_u8(b, (uint8_t)d);
    }
    acpi_table_end(b, off);
    return 0;
}
