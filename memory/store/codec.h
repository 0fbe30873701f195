/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page of 4 KiB as fewer bytes, and back. Nothing here allocates or locks; an encoder belongs to
 * one thread.
 */
#ifndef MEMORY_STORE_CODEC_H
#define MEMORY_STORE_CODEC_H

#include <stddef.h>
#include <stdint.h>

enum { CODEC_PAGE = 4096 };

enum codec_kind {
    CODEC_RAW, /* as it is: what would hardly shrink */
    CODEC_LZ4,
    CODEC_KINDS,
};

/* Room for one encoding; large, keep it off the stack. */
struct codec_encoder {
    uint64_t state[16416 / 8]; /* what LZ4 wants, LZ4_STREAM_MINSIZE */
    uint8_t bytes[CODEC_PAGE];
};

/**
 * codec_encode() - @page, which nobody changes meanwhile.
 * @ret_bytes: the encoder's or @page's own; valid until either changes.
 * Return: how many bytes, at most CODEC_PAGE.
 */
size_t codec_encode(struct codec_encoder *enc, const void *page, const void **ret_bytes,
                    enum codec_kind *ret_kind);

/** codec_decode() - @len bytes of @kind into @page. Any bytes may be given; never reads or writes
 *  beyond either. Return: 0; -EIO when they are not a whole page. */
int codec_decode(enum codec_kind kind, const void *bytes, size_t len, void *page);

#endif
