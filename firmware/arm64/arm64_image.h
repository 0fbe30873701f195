/* SPDX-License-Identifier: Apache-2.0 */
/* The header of an arm64 kernel image, and bytes of an image that may be packed. */
#ifndef FIRMWARE_ARM64_ARM64_IMAGE_H
#define FIRMWARE_ARM64_ARM64_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <zlib.h>

#include "firmware/image.h"

enum { ARM64_IMAGE_HEADER = 64 };

/* What the header says of where the image lies and how much memory it takes. */
struct arm64_image {
    uint64_t text_off;    /* from a multiple of 2 MiB */
    uint64_t memory_bytes; /* from there on, what is not in the file included */
};

/**
 * arm64_image_parse() - @header: the first bytes of the image, unpacked.
 * @name: of the file, for sentences.
 * Return: 0, or -ENOEXEC with a sentence: no Image, one for another architecture, or one that
 * contradicts itself.
 */
int arm64_image_parse(const uint8_t header[static ARM64_IMAGE_HEADER], const char *name,
                      struct arm64_image *ret_image, struct errctx *ec);

/* Reads an image from its begin, unpacked where it is packed by gzip. */
struct arm64_stream {
    const struct image *file;
    bool packed, ended;
    uint64_t off; /* of the next byte in the file */
    z_stream z;
    uint8_t in[16384];
};

/** arm64_stream_begin() - Return: 0, -ENOMEM, or as image_read(). */
int arm64_stream_begin(struct arm64_stream *s, const struct image *file, struct errctx *ec);
void arm64_stream_end(struct arm64_stream *s);

/** arm64_stream_read() - the next @len bytes, fewer at the image's end only. Return: their number,
 *  -ENOEXEC (packed badly), -ENOMEM, or the errno of a read. */
int arm64_stream_read(struct arm64_stream *s, void *buf, uint32_t len, struct errctx *ec);

#endif
