/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writer for the ACPI Machine Language (ACPI 6.5, chapter 20), the part that our DSDT needs.
 *
 * Every function appends to a bytebuf. Blocks that carry a PkgLength are opened by a
 * *_begin(), which returns a mark, and closed by aml_end() with that mark; the length is
 * inserted then, in its shortest form, so lengths can never disagree with contents. Encodings
 * are the shortest that exist, as iasl chooses them, so a disassembled and recompiled table is
 * byte-identical.
 *
 * Names are written as in ASL: "\\_SB_.PCI0", "^FOO_", segments shorter than four characters are
 * filled with '_'. A bad name marks the buffer as failed; names come from our code only.
 */
#ifndef FIRMWARE_AML_H
#define FIRMWARE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware/bytebuf.h"

/* One-byte terms. */
enum {
    AML_LOCAL0 = 0x60,
    AML_ARG0 = 0x68,
    AML_ARG1 = 0x69,
    AML_ARG2 = 0x6a,
    AML_ARG3 = 0x6b,
};

enum aml_space { AML_SYSTEM_MEMORY = 0, AML_SYSTEM_IO = 1 };

void aml_name_string(struct bytebuf *b, const char *path);
void aml_integer(struct bytebuf *b, uint64_t v);
void aml_string(struct bytebuf *b, const char *text);
/** aml_eisa_id() - "PNP0A08" as a compressed integer. */
void aml_eisa_id(struct bytebuf *b, const char *id);
/** aml_uuid() - a 16-byte buffer as ASL's ToUUID() makes it. */
void aml_uuid(struct bytebuf *b, const char *uuid);

/** aml_buffer_begin() - a buffer of @len bytes, which follow. */
size_t aml_buffer_begin(struct bytebuf *b, uint64_t len);

/** aml_end() - close the block that returned @mark. Innermost first. */
void aml_end(struct bytebuf *b, size_t mark);
size_t aml_scope_begin(struct bytebuf *b, const char *path);
size_t aml_device_begin(struct bytebuf *b, const char *name);
size_t aml_method_begin(struct bytebuf *b, const char *name, unsigned n_args, bool serialized);
size_t aml_package_begin(struct bytebuf *b, uint8_t n_elements);
/** aml_if_begin() - the predicate follows, then the terms. */
size_t aml_if_begin(struct bytebuf *b);
size_t aml_else_begin(struct bytebuf *b);

/** aml_name() - Name (@name, ...): the object follows. */
void aml_name(struct bytebuf *b, const char *name);
void aml_name_integer(struct bytebuf *b, const char *name, uint64_t v);
void aml_name_string_value(struct bytebuf *b, const char *name, const char *text);
void aml_name_eisa_id(struct bytebuf *b, const char *name, const char *id);

/** aml_op_region() - OperationRegion with constant bounds. */
void aml_op_region(struct bytebuf *b, const char *name, enum aml_space space, uint64_t off,
                   uint64_t len);
/** aml_field_u8() - Field (@region, ByteAcc, NoLock, WriteAsZeros) { @name, 8 }. */
void aml_field_u8(struct bytebuf *b, const char *region, const char *name);

/* Operators; the operands (and where ASL has one, the target) follow as terms. */
void aml_op_store(struct bytebuf *b);
void aml_op_and(struct bytebuf *b);
void aml_op_or(struct bytebuf *b);
void aml_op_equal(struct bytebuf *b);
void aml_op_not_equal(struct bytebuf *b);
void aml_op_return(struct bytebuf *b);
void aml_op_notify(struct bytebuf *b);
/** aml_create_dword_field() - CreateDWordField (@term, @byte_off, @name). */
void aml_create_dword_field(struct bytebuf *b, uint8_t term, uint64_t byte_off, const char *name);
/** aml_term() - a local, an argument, or Zero as "no target". */
void aml_term(struct bytebuf *b, uint8_t term);

/* Resource templates (ACPI 6.5, 6.4): begin, descriptors, end. */
size_t aml_resources_begin(struct bytebuf *b);
/** aml_crs_begin() - Name (_CRS, ResourceTemplate () {...}), to be ended as a template. */
size_t aml_crs_begin(struct bytebuf *b);
void aml_resources_end(struct bytebuf *b, size_t mark);
/** aml_res_io() - IO (Decode16, @port, @port, 1, @len). */
void aml_res_io(struct bytebuf *b, uint16_t port, uint8_t len);
void aml_res_irq_edge(struct bytebuf *b, uint32_t gsi);
void aml_res_memory32(struct bytebuf *b, uint32_t base, uint32_t len);
/* Windows that a bridge passes on (ResourceProducer), inclusive of @last. */
void aml_res_bus_window(struct bytebuf *b, uint16_t first, uint16_t last);
void aml_res_io_window(struct bytebuf *b, uint16_t first, uint16_t last);
void aml_res_memory32_window(struct bytebuf *b, uint32_t first, uint32_t last);
void aml_res_memory64_window(struct bytebuf *b, uint64_t first, uint64_t last);

#endif
