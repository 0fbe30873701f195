/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make every table in the order in which they refer to each other, so that each address is known
 * when it is written: DSDT, FADT (names the DSDT), the rest, XSDT (lists them), RSDP.
 */
#include "firmware/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "firmware/x86/acpi_x86.h"

/* Note the table that was appended last. */
static void note_table(struct acpi_tables *t, const struct bytebuf *b, size_t off)
{
    struct acpi_table *entry;

    if (b->failed || t->n_tables == ACPI_MAX_TABLES)
        return;
    entry = &t->table[t->n_tables++];
    memcpy(entry->signature, b->data + off, 4);
    entry->off = off;
    entry->len = b->len - off;
}

/* Tables in their order; each function appends one. */
static int append_all(struct bytebuf *b, const struct acpi_input *in, struct acpi_tables *t,
                      struct errctx *ec)
{
    size_t off = acpi_table_next(b);
    int r = dsdt_append(b, in, ec);

    if (r < 0)
        return r;
    note_table(t, b, off);

    off = acpi_table_next(b);
    fadt_append(b, in, 0);
    note_table(t, b, off);

    off = acpi_table_next(b);
    r = madt_append(b, in, ec);
    if (r < 0)
        return r;
    note_table(t, b, off);

    off = acpi_table_next(b);
    srat_append(b, in);
    note_table(t, b, off);

    off = acpi_table_next(b);
    r = slit_append(b, in, ec);
    if (r < 0)
        return r;
    note_table(t, b, off);

    if (hmat_wanted(in->plan)) {
        off = acpi_table_next(b);
        r = hmat_append(b, in, ec);
        if (r < 0)
            return r;
        note_table(t, b, off);
    }

    off = acpi_table_next(b);
    mcfg_append(b, in);
    note_table(t, b, off);

    off = acpi_table_next(b);
    xsdt_append(b, in, t);
    note_table(t, b, off);
    return 0;
}

int acpi_build(const struct topo_plan *plan, const struct mem_layout *layout, struct gpa base,
               struct acpi_tables *ret_tables, struct errctx *ec)
{
    const struct acpi_input in = { .plan = plan, .layout = layout, .base = base };
    struct acpi_tables t = { 0 };
    struct bytebuf b = { 0 };
    int r;

    r = append_all(&b, &in, &t, ec);
    if (r == 0 && b.failed)
        r = errctx_set(ec, ENOMEM, "no memory for the ACPI tables");
    if (r < 0) {
        bytebuf_fini(&b);
        return r;
    }
    rsdp_make((struct gpa){ base.v + t.table[t.n_tables - 1].off }, t.rsdp);
    t.blob = b.data;
    t.len = b.len;
    *ret_tables = t;
    return 0;
}

void acpi_tables_fini(struct acpi_tables *tables)
{
    free(tables->blob);
    *tables = (struct acpi_tables){ 0 };
}
