/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Make every table in the order in which they refer to each other, so that each address is known
 * when it is written: DSDT, FADT (names the DSDT), the rest, XSDT (lists them), RSDP.
 */
#include "firmware/acpi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "firmware/acpi_table.h"

enum { TABLE_ALIGN = 64, LENGTH_AT = 4, CHECKSUM_AT = 9 };

uint8_t acpi_checksum(const uint8_t *bytes, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)(0x100 - sum);
}

size_t acpi_table_begin(struct bytebuf *b, const char *signature, uint8_t revision)
{
    size_t off;

    bytebuf_align(b, TABLE_ALIGN);
    off = b->len;
    bytebuf_put(b, signature, 4);
    bytebuf_u32(b, 0); /* length, later */
    bytebuf_u8(b, revision);
    bytebuf_u8(b, 0);              /* checksum, later */
    bytebuf_put(b, "NUMAVI", 6);   /* OEM id */
    bytebuf_put(b, "NUMAVISR", 8); /* OEM table id */
    bytebuf_u32(b, 1);             /* OEM revision */
    bytebuf_put(b, "NMVS", 4);     /* creator */
    bytebuf_u32(b, 1);             /* creator revision */
    return off;
}

void acpi_table_end(struct bytebuf *b, size_t off)
{
    if (b->failed)
        return;
    bytebuf_patch_u32(b, off + LENGTH_AT, (uint32_t)(b->len - off));
    bytebuf_patch_u8(b, off + CHECKSUM_AT, acpi_checksum(b->data + off, b->len - off));
}

void acpi_generic_port(struct bytebuf *b, uint16_t port)
{
    bytebuf_u8(b, 1); /* system I/O */
    bytebuf_u8(b, 8); /* bits */
    bytebuf_u8(b, 0); /* bit offset */
    bytebuf_u8(b, 1); /* byte access */
    bytebuf_u64(b, port);
}

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

/* Where the table that comes next will start. */
static size_t next_off(const struct bytebuf *b)
{
    return (b->len + TABLE_ALIGN - 1) & ~(size_t)(TABLE_ALIGN - 1);
}

/* Tables in their order; each function appends one. */
static int append_all(struct bytebuf *b, const struct acpi_input *in, struct acpi_tables *t,
                      struct errctx *ec)
{
    size_t off = next_off(b);
    int r = dsdt_append(b, in, ec);

    if (r < 0)
        return r;
    note_table(t, b, off);

    off = next_off(b);
    fadt_append(b, in, 0);
    note_table(t, b, off);

    off = next_off(b);
    r = madt_append(b, in, ec);
    if (r < 0)
        return r;
    note_table(t, b, off);

    off = next_off(b);
    srat_append(b, in);
    note_table(t, b, off);

    off = next_off(b);
    r = slit_append(b, in, ec);
    if (r < 0)
        return r;
    note_table(t, b, off);

    if (hmat_wanted(in->plan)) {
        off = next_off(b);
        r = hmat_append(b, in, ec);
        if (r < 0)
            return r;
        note_table(t, b, off);
    }

    off = next_off(b);
    mcfg_append(b, in);
    note_table(t, b, off);

    off = next_off(b);
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
