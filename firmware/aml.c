/* SPDX-License-Identifier: Apache-2.0 */
/* Terms, blocks and names of AML; resource templates are in aml_res.c. */
#include "firmware/aml.h"

#include <ctype.h>
#include <string.h>

enum {
    OP_ONE = 0x01,
    OP_NAME = 0x08,
    OP_BYTE = 0x0a,
    OP_WORD = 0x0b,
    OP_DWORD = 0x0c,
    OP_STRING = 0x0d,
    OP_QWORD = 0x0e,
    OP_SCOPE = 0x10,
    OP_BUFFER = 0x11,
    OP_PACKAGE = 0x12,
    OP_METHOD = 0x14,
    OP_DUAL_NAME = 0x2e,
    OP_MULTI_NAME = 0x2f,
    OP_EXT = 0x5b,
    OP_EXT_REGION = 0x80,
    OP_EXT_FIELD = 0x81,
    OP_EXT_DEVICE = 0x82,
    OP_STORE = 0x70,
    OP_AND = 0x7b,
    OP_OR = 0x7d,
    OP_NOTIFY = 0x86,
    OP_CREATE_DWORD_FIELD = 0x8a,
    OP_LNOT = 0x92,
    OP_LEQUAL = 0x93,
    OP_IF = 0xa0,
    OP_ELSE = 0xa1,
    OP_RETURN = 0xa4,
    OP_ONES = 0xff,

    METHOD_SERIALIZED = 0x08,
    FIELD_BYTE_ACC_WRITE_ZEROS = 0x41, /* access 1, no lock, update rule 2 */
    MAX_SEGMENTS = 255,
    MAX_METHOD_ARGS = 7,
};

/* One segment of a name; returns what follows it. */
static const char *put_segment(struct bytebuf *b, const char *s)
{
    uint8_t seg[4] = { '_', '_', '_', '_' };
    size_t n = 0;

    for (; *s != '\0' && *s != '.'; s++) {
        bool ok = *s == '_' || isupper((unsigned char)*s) || (n > 0 && isdigit((unsigned char)*s));

        if (!ok || n == sizeof(seg)) {
            b->failed = true;
            return s + strlen(s);
        }
        seg[n++] = (uint8_t)*s;
    }
    if (n == 0)
        b->failed = true;
    bytebuf_put(b, seg, sizeof(seg));
    return *s == '.' ? s + 1 : s;
}

void aml_name_string(struct bytebuf *b, const char *path)
{
    size_t segments = 1;

    if (*path == '\\')
        bytebuf_u8(b, (uint8_t)*path++);
    for (; *path == '^'; path++)
        bytebuf_u8(b, '^');
    if (*path == '\0') { /* the root itself */
        bytebuf_u8(b, 0);
        return;
    }
    for (const char *s = path; *s != '\0'; s++)
        segments += *s == '.';
    if (segments > MAX_SEGMENTS) {
        b->failed = true;
        return;
    }
    if (segments == 2) {
        bytebuf_u8(b, OP_DUAL_NAME);
    } else if (segments > 2) {
        bytebuf_u8(b, OP_MULTI_NAME);
        bytebuf_u8(b, (uint8_t)segments);
    }
    for (size_t i = 0; i < segments; i++)
        path = put_segment(b, path);
}

void aml_integer(struct bytebuf *b, uint64_t v)
{
    if (v <= 1) {
        bytebuf_u8(b, v ? OP_ONE : 0);
    } else if (v == UINT64_MAX) {
        bytebuf_u8(b, OP_ONES);
    } else if (v <= UINT8_MAX) {
        bytebuf_u8(b, OP_BYTE);
        bytebuf_u8(b, (uint8_t)v);
    } else if (v <= UINT16_MAX) {
        bytebuf_u8(b, OP_WORD);
        bytebuf_u16(b, (uint16_t)v);
    } else if (v <= UINT32_MAX) {
        bytebuf_u8(b, OP_DWORD);
        bytebuf_u32(b, (uint32_t)v);
    } else {
        bytebuf_u8(b, OP_QWORD);
        bytebuf_u64(b, v);
    }
}

void aml_string(struct bytebuf *b, const char *text)
{
    bytebuf_u8(b, OP_STRING);
    bytebuf_put(b, text, strlen(text) + 1);
}

static uint32_t hex_digit(struct bytebuf *b, char c)
{
    if (!isxdigit((unsigned char)c)) {
        b->failed = true;
        return 0;
    }
    return isdigit((unsigned char)c) ? (uint32_t)(c - '0')
                                     : (uint32_t)(toupper((unsigned char)c) - 'A' + 10);
}

/* Three letters of five bits and four hexadecimal digits, the bytes in reading order, as a
 * DWORD constant even where a shorter one would hold it (ACPI 6.5, 19.6.37). */
void aml_eisa_id(struct bytebuf *b, const char *id)
{
    uint32_t v = 0;

    if (strlen(id) != 7) {
        b->failed = true;
        return;
    }
    for (size_t i = 0; i < 3; i++)
        v = v << 5 | ((uint32_t)(id[i] - '@') & 0x1f);
    for (size_t i = 3; i < 7; i++)
        v = v << 4 | hex_digit(b, id[i]);
    bytebuf_u8(b, OP_DWORD);
    bytebuf_u32(b, __builtin_bswap32(v));
}

size_t aml_buffer_begin(struct bytebuf *b, uint64_t len)
{
    const size_t mark = b->len + 1;

    bytebuf_u8(b, OP_BUFFER);
    aml_integer(b, len);
    return mark;
}

void aml_uuid(struct bytebuf *b, const char *uuid)
{
    /* Where the bytes of aabbccdd-eeff-gghh-iijj-kkllmmnnoopp stand in the text (19.6.142). */
    static const uint8_t at[16] = { 6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34 };
    size_t mark;

    if (strlen(uuid) != 36) {
        b->failed = true;
        return;
    }
    mark = aml_buffer_begin(b, sizeof(at));
    for (size_t i = 0; i < sizeof(at); i++)
        bytebuf_u8(b, (uint8_t)(hex_digit(b, uuid[at[i]]) << 4 | hex_digit(b, uuid[at[i] + 1])));
    aml_end(b, mark);
}

/* Shortest PkgLength that counts itself and @body bytes (20.2.4). Return: its size, or 0. */
static size_t encode_pkg_length(size_t body, uint8_t out[4])
{
    if (body + 1 <= 0x3f) {
        out[0] = (uint8_t)(body + 1);
        return 1;
    }
    for (size_t extra = 1; extra <= 3; extra++) {
        size_t total = body + 1 + extra;

        if (total >> (4 + 8 * extra) != 0)
            continue;
        out[0] = (uint8_t)(extra << 6 | (total & 0xf));
        for (size_t i = 0; i < extra; i++)
            out[1 + i] = (uint8_t)(total >> (4 + 8 * i));
        return 1 + extra;
    }
    return 0;
}

void aml_end(struct bytebuf *b, size_t mark)
{
    uint8_t bytes[4];
    size_t n;

    if (b->failed)
        return;
    n = encode_pkg_length(b->len - mark, bytes);
    if (n == 0)
        b->failed = true;
    bytebuf_insert(b, mark, bytes, n);
}

size_t aml_scope_begin(struct bytebuf *b, const char *path)
{
    size_t mark;

    bytebuf_u8(b, OP_SCOPE);
    mark = b->len;
    aml_name_string(b, path);
    return mark;
}

size_t aml_device_begin(struct bytebuf *b, const char *name)
{
    size_t mark;

    bytebuf_u8(b, OP_EXT);
    bytebuf_u8(b, OP_EXT_DEVICE);
    mark = b->len;
    aml_name_string(b, name);
    return mark;
}

size_t aml_method_begin(struct bytebuf *b, const char *name, unsigned n_args, bool serialized)
{
    size_t mark;

    bytebuf_u8(b, OP_METHOD);
    mark = b->len;
    aml_name_string(b, name);
    if (n_args > MAX_METHOD_ARGS)
        b->failed = true;
    bytebuf_u8(b, (uint8_t)(n_args | (serialized ? METHOD_SERIALIZED : 0)));
    return mark;
}

size_t aml_package_begin(struct bytebuf *b, uint8_t n_elements)
{
    size_t mark;

    bytebuf_u8(b, OP_PACKAGE);
    mark = b->len;
    bytebuf_u8(b, n_elements);
    return mark;
}

size_t aml_if_begin(struct bytebuf *b)
{
    bytebuf_u8(b, OP_IF);
    return b->len;
}

size_t aml_else_begin(struct bytebuf *b)
{
    bytebuf_u8(b, OP_ELSE);
    return b->len;
}

void aml_name(struct bytebuf *b, const char *name)
{
    bytebuf_u8(b, OP_NAME);
    aml_name_string(b, name);
}

void aml_name_integer(struct bytebuf *b, const char *name, uint64_t v)
{
    aml_name(b, name);
    aml_integer(b, v);
}

void aml_name_string_value(struct bytebuf *b, const char *name, const char *text)
{
    aml_name(b, name);
    aml_string(b, text);
}

void aml_name_eisa_id(struct bytebuf *b, const char *name, const char *id)
{
    aml_name(b, name);
    aml_eisa_id(b, id);
}

void aml_op_region(struct bytebuf *b, const char *name, enum aml_space space, uint64_t off,
                   uint64_t len)
{
    bytebuf_u8(b, OP_EXT);
    bytebuf_u8(b, OP_EXT_REGION);
    aml_name_string(b, name);
    bytebuf_u8(b, (uint8_t)space);
    aml_integer(b, off);
    aml_integer(b, len);
}

void aml_field_u8(struct bytebuf *b, const char *region, const char *name)
{
    size_t mark;

    bytebuf_u8(b, OP_EXT);
    bytebuf_u8(b, OP_EXT_FIELD);
    mark = b->len;
    aml_name_string(b, region);
    bytebuf_u8(b, FIELD_BYTE_ACC_WRITE_ZEROS);
    (void)put_segment(b, name);
    bytebuf_u8(b, 8); /* bits, in the form of a one-byte PkgLength */
    aml_end(b, mark);
}

void aml_op_store(struct bytebuf *b)
{
    bytebuf_u8(b, OP_STORE);
}

void aml_op_and(struct bytebuf *b)
{
    bytebuf_u8(b, OP_AND);
}

void aml_op_or(struct bytebuf *b)
{
    bytebuf_u8(b, OP_OR);
}

void aml_op_equal(struct bytebuf *b)
{
    bytebuf_u8(b, OP_LEQUAL);
}

void aml_op_not_equal(struct bytebuf *b)
{
    bytebuf_u8(b, OP_LNOT);
    bytebuf_u8(b, OP_LEQUAL);
}

void aml_op_return(struct bytebuf *b)
{
    bytebuf_u8(b, OP_RETURN);
}

void aml_op_notify(struct bytebuf *b)
{
    bytebuf_u8(b, OP_NOTIFY);
}

void aml_create_dword_field(struct bytebuf *b, uint8_t term, uint64_t byte_off, const char *name)
{
    bytebuf_u8(b, OP_CREATE_DWORD_FIELD);
    aml_term(b, term);
    aml_integer(b, byte_off);
    aml_name_string(b, name);
}

void aml_term(struct bytebuf *b, uint8_t term)
{
    bytebuf_u8(b, term);
}
