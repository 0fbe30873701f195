/* SPDX-License-Identifier: Apache-2.0 */
#include "firmware/bytebuf.h"

#include <stdlib.h>
#include <string.h>

enum { BYTEBUF_FIRST_CAP = 4096 };

void bytebuf_fini(struct bytebuf *b)
{
    free(b->data);
    *b = (struct bytebuf){ 0 };
}

/* Make room for @more bytes. Return: false when the buffer has failed, now or before. */
static bool reserve(struct bytebuf *b, size_t more)
{
    size_t cap = b->cap ? b->cap : BYTEBUF_FIRST_CAP;
    uint8_t *data;

    if (b->failed)
        return false;
    if (more <= b->cap - b->len)
        return true;
    if (more > SIZE_MAX / 4 - b->len) {
        b->failed = true;
        return false;
    }
    while (cap < b->len + more)
        cap *= 2;
    data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void bytebuf_put(struct bytebuf *b, const void *bytes, size_t len)
{
    if (len == 0 || !reserve(b, len))
        return;
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void bytebuf_zeros(struct bytebuf *b, size_t len)
{
    if (len == 0 || !reserve(b, len))
        return;
    memset(b->data + b->len, 0, len);
    b->len += len;
}

/* Byte by byte, so that the result does not depend on the host's byte order. */
static void put_le(struct bytebuf *b, uint64_t v, size_t len)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    bytebuf_put(b, bytes, len);
}

void bytebuf_u8(struct bytebuf *b, uint8_t v)
{
    put_le(b, v, 1);
}

void bytebuf_u16(struct bytebuf *b, uint16_t v)
{
    put_le(b, v, 2);
}

void bytebuf_u32(struct bytebuf *b, uint32_t v)
{
    put_le(b, v, 4);
}

void bytebuf_u64(struct bytebuf *b, uint64_t v)
{
    put_le(b, v, 8);
}

void bytebuf_align(struct bytebuf *b, size_t align)
{
    bytebuf_zeros(b, (align - (b->len & (align - 1))) & (align - 1));
}

void bytebuf_insert(struct bytebuf *b, size_t off, const void *bytes, size_t len)
{
    if (off > b->len)
        b->failed = true;
    if (len == 0 || !reserve(b, len))
        return;
    memmove(b->data + off + len, b->data + off, b->len - off);
    memcpy(b->data + off, bytes, len);
    b->len += len;
}

void bytebuf_patch_u8(struct bytebuf *b, size_t off, uint8_t v)
{
    if (off >= b->len)
        b->failed = true;
    if (!b->failed)
        b->data[off] = v;
}

void bytebuf_patch_u32(struct bytebuf *b, size_t off, uint32_t v)
{
    for (size_t i = 0; i < 4; i++)
        bytebuf_patch_u8(b, off + i, (uint8_t)(v >> (8 * i)));
}
