/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A page of 4 KiB as fewer bytes, and back: by LZ4, fast, or by Zstandard, smaller. Nothing here
 * locks, and nothing allocates after the _init functions; encoder, packer and decoder belong to one
 * thread at a time.
 */
#ifndef MEMORY_STORE_CODEC_H
#define MEMORY_STORE_CODEC_H

#include <stddef.h>
#include <stdint.h>

enum { CODEC_PAGE = 4096 };

enum codec_kind {
    CODEC_RAW, /* as it is: what would hardly shrink */
    CODEC_LZ4,
    CODEC_ZSTD, /* a frame without its magic number */
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

/* What Zstandard wants for encoding, and room for it. */
struct codec_packer {
    struct ZSTD_CCtx_s *ctx;
    uint8_t bytes[CODEC_PAGE + 512]; /* a frame that does not shrink is a little larger */
};

/** codec_packer_init() - Return: 0 or -ENOMEM. */
int codec_packer_init(struct codec_packer *packer);
void codec_packer_fini(struct codec_packer *packer);

/**
 * codec_pack() - @page by Zstandard.
 * @ret_bytes: the packer's own; valid until it is used again.
 * Return: how many bytes; 0: it does not shrink by an eighth, and there are none.
 */
size_t codec_pack(struct codec_packer *packer, const void *page, const void **ret_bytes);

/* The same for decoding. */
struct codec_decoder {
    struct ZSTD_DCtx_s *ctx;
    uint8_t frame[CODEC_PAGE];
};

/** codec_decoder_init() - Return: 0 or -ENOMEM. */
int codec_decoder_init(struct codec_decoder *dec);
void codec_decoder_fini(struct codec_decoder *dec);

/** codec_decode() - @len bytes of @kind into @page. Any bytes may be given; never reads or writes
 *  beyond either. Return: 0; -EIO when they are not a whole page. */
int codec_decode(struct codec_decoder *dec, enum codec_kind kind, const void *bytes, size_t len,
                 void *page);

#endif
