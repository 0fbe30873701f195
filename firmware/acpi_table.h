/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every ACPI table has in common: the header of ACPI 6.5, 5.2.6, its length and checksum,
 * and addresses in generic form. Knows no table and no plan.
 *
 * A table file appends its table to the blob between acpi_table_begin() and acpi_table_end().
 * Running out of memory is noted in the buffer and reported once by acpi_build().
 */
#ifndef FIRMWARE_ACPI_TABLE_H
#define FIRMWARE_ACPI_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "firmware/bytebuf.h"

enum { ACPI_HEADER_BYTES = 36, ACPI_TABLE_ALIGN = 64 };

/** acpi_table_begin() - align, append a header. Return: the table's offset in the blob. */
size_t acpi_table_begin(struct bytebuf *b, const char *signature, uint8_t revision);
/** acpi_table_end() - fill in length and checksum of the table at @off. */
void acpi_table_end(struct bytebuf *b, size_t off);

/** acpi_table_next() - the offset at which the next table will start. */
size_t acpi_table_next(const struct bytebuf *b);

/** acpi_checksum() - the byte that makes the sum of @bytes and itself 0. */
uint8_t acpi_checksum(const uint8_t *bytes, size_t len);

/** acpi_generic_port() - a 12-byte Generic Address Structure for a byte-wide I/O port. */
void acpi_generic_port(struct bytebuf *b, uint16_t port);

#endif
