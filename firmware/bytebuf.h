/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing buffer of little-endian values, from which tables and AML are made.
 *
 * Failure is sticky: once memory runs out every later call does nothing, so a table is written
 * as a straight list of fields and asked once, at its end, whether it is whole. A value without
 * threads; zero-initialise, release with bytebuf_fini().
 */
#ifndef FIRMWARE_BYTEBUF_H
#define FIRMWARE_BYTEBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytebuf {
    uint8_t *data;
    size_t len, cap;
    bool failed; /* no memory, or a patch outside the buffer */
};

void bytebuf_fini(struct bytebuf *b);

void bytebuf_u8(struct bytebuf *b, uint8_t v);
void bytebuf_u16(struct bytebuf *b, uint16_t v);
void bytebuf_u32(struct bytebuf *b, uint32_t v);
void bytebuf_u64(struct bytebuf *b, uint64_t v);
void bytebuf_put(struct bytebuf *b, const void *bytes, size_t len);
void bytebuf_zeros(struct bytebuf *b, size_t len);

/** bytebuf_align() - append zeroes up to a multiple of @align, a power of two. */
void bytebuf_align(struct bytebuf *b, size_t align);

/** bytebuf_insert() - put @len bytes at @off and move what was there behind them. */
void bytebuf_insert(struct bytebuf *b, size_t off, const void *bytes, size_t len);

/** bytebuf_patch_u8() and friends - overwrite bytes that were appended before. */
void bytebuf_patch_u8(struct bytebuf *b, size_t off, uint8_t v);
void bytebuf_patch_u32(struct bytebuf *b, size_t off, uint32_t v);

#endif
