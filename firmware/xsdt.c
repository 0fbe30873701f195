/* SPDX-License-Identifier: Apache-2.0 */
/* Extended System Description Table (ACPI 6.5, 5.2.8): the addresses of the other tables. */
#include <string.h>

#include "firmware/acpi_parts.h"

void xsdt_append(struct bytebuf *b, const struct acpi_input *in, const struct acpi_tables *tables)
{
    size_t off = acpi_table_begin(b, "XSDT", 1);

    for (size_t i = 0; i < tables->n_tables; i++)
        if (strcmp(tables->table[i].signature, "DSDT") != 0)
            bytebuf_u64(b, in->base.v + tables->table[i].off);
    acpi_table_end(b, off);
}
