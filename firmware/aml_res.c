/* SPDX-License-Identifier: Apache-2.0 */
/* Resource descriptors (ACPI 6.5, 6.4), wrapped into the Buffer that _CRS returns. */
#include "firmware/aml.h"

enum {
    OP_BUFFER = 0x11,

    TAG_IO = 0x47,
    TAG_END = 0x79,
    TAG_MEMORY32_FIXED = 0x86,
    TAG_DWORD_SPACE = 0x87,
    TAG_WORD_SPACE = 0x88,
    TAG_INTERRUPT = 0x89,
    TAG_QWORD_SPACE = 0x8a,

    IO_DECODE16 = 0x01,
    MEMORY_READ_WRITE = 0x01,
    IRQ_CONSUMER_EDGE_HIGH = 0x03,

    SPACE_MEMORY = 0,
    SPACE_IO = 1,
    SPACE_BUS = 2,
    SPACE_FIXED = 0x0c, /* producer, positive decode, minimum and maximum fixed */
    SPACE_IO_ENTIRE = 0x03,
};

size_t aml_resources_begin(struct bytebuf *b)
{
    bytebuf_u8(b, OP_BUFFER);
    return b->len;
}

size_t aml_crs_begin(struct bytebuf *b)
{
    aml_name(b, "_CRS");
    return aml_resources_begin(b);
}

void aml_resources_end(struct bytebuf *b, size_t mark)
{
    struct bytebuf size = { 0 };

    bytebuf_u8(b, TAG_END);
    bytebuf_u8(b, 0); /* checksum 0: "treat as correct" (6.4.2.9) */
    aml_integer(&size, b->len - mark);
    if (size.failed)
        b->failed = true;
    bytebuf_insert(b, mark, size.data, size.len);
    bytebuf_fini(&size);
    aml_end(b, mark);
}

void aml_res_io(struct bytebuf *b, uint16_t port, uint8_t len)
{
    bytebuf_u8(b, TAG_IO);
    bytebuf_u8(b, IO_DECODE16);
    bytebuf_u16(b, port);
    bytebuf_u16(b, port);
    bytebuf_u8(b, 1);
    bytebuf_u8(b, len);
}

void aml_res_irq_edge(struct bytebuf *b, uint32_t gsi)
{
    bytebuf_u8(b, TAG_INTERRUPT);
    bytebuf_u16(b, 6);
    bytebuf_u8(b, IRQ_CONSUMER_EDGE_HIGH);
    bytebuf_u8(b, 1);
    bytebuf_u32(b, gsi);
}

void aml_res_memory32(struct bytebuf *b, uint32_t base, uint32_t len)
{
    bytebuf_u8(b, TAG_MEMORY32_FIXED);
    bytebuf_u16(b, 9);
    bytebuf_u8(b, MEMORY_READ_WRITE);
    bytebuf_u32(b, base);
    bytebuf_u32(b, len);
}

static void word_window(struct bytebuf *b, uint8_t type, uint8_t type_flags, uint16_t first,
                        uint16_t last)
{
    bytebuf_u8(b, TAG_WORD_SPACE);
    bytebuf_u16(b, 13);
    bytebuf_u8(b, type);
    bytebuf_u8(b, SPACE_FIXED);
    bytebuf_u8(b, type_flags);
    bytebuf_u16(b, 0); /* granularity */
    bytebuf_u16(b, first);
    bytebuf_u16(b, last);
    bytebuf_u16(b, 0); /* translation */
    bytebuf_u16(b, (uint16_t)(last - first + 1));
}

void aml_res_bus_window(struct bytebuf *b, uint16_t first, uint16_t last)
{
    word_window(b, SPACE_BUS, 0, first, last);
}

void aml_res_io_window(struct bytebuf *b, uint16_t first, uint16_t last)
{
    word_window(b, SPACE_IO, SPACE_IO_ENTIRE, first, last);
}

void aml_res_memory32_window(struct bytebuf *b, uint32_t first, uint32_t last)
{
    bytebuf_u8(b, TAG_DWORD_SPACE);
    bytebuf_u16(b, 23);
    bytebuf_u8(b, SPACE_MEMORY);
    bytebuf_u8(b, SPACE_FIXED);
    bytebuf_u8(b, MEMORY_READ_WRITE);
    bytebuf_u32(b, 0);
    bytebuf_u32(b, first);
    bytebuf_u32(b, last);
    bytebuf_u32(b, 0);
    bytebuf_u32(b, last - first + 1);
}

void aml_res_memory64_window(struct bytebuf *b, uint64_t first, uint64_t last)
{
    bytebuf_u8(b, TAG_QWORD_SPACE);
    bytebuf_u16(b, 43);
    bytebuf_u8(b, SPACE_MEMORY);
    bytebuf_u8(b, SPACE_FIXED);
    bytebuf_u8(b, MEMORY_READ_WRITE);
    bytebuf_u64(b, 0);
    bytebuf_u64(b, first);
    bytebuf_u64(b, last);
    bytebuf_u64(b, 0);
    bytebuf_u64(b, last - first + 1);
}
