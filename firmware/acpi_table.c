/* SPDX-License-Identifier: Apache-2.0 */
/* Headers, checksums and addresses that every ACPI table is made with; see acpi_table.h. */
#include "firmware/acpi_table.h"

enum { LENGTH_AT = 4, CHECKSUM_AT = 9 };

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

    bytebuf_align(b, ACPI_TABLE_ALIGN);
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

size_t acpi_table_next(const struct bytebuf *b)
{
    return (b->len + ACPI_TABLE_ALIGN - 1) & ~(size_t)(ACPI_TABLE_ALIGN - 1);
}
