/* SPDX-License-Identifier: Apache-2.0 */
/* See codec.h. */
#include "memory/store/codec.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <zstd.h>

#include "vmm/base/prefault.h"

/* A page that shrinks by less than an eighth is not worth a decoding at each fault. */
enum { WORTH_BYTES = CODEC_PAGE * 7 / 8 };

/* From the next one on 2 % less room cost 40 % more time: docs/decisions/store.md. */
enum { PACK_LEVEL = 3 };

/* The first bytes of each frame, the same in all: RFC 8878, 3.1.1. */
static const uint8_t magic[] = { 0x28, 0xb5, 0x2f, 0xfd };

_Static_assert(sizeof(((struct codec_encoder *)NULL)->state) >= LZ4_STREAM_MINSIZE,
               "room for the state of LZ4");

size_t codec_encode(struct codec_encoder *enc, const void *page, const void **ret_bytes,
                    enum codec_kind *ret_kind)
{
    const int n = LZ4_compress_fast_extState(enc->state, page, (char *)enc->bytes, CODEC_PAGE,
                                             WORTH_BYTES, 1);

    if (n > 0) {
        *ret_bytes = enc->bytes;
        *ret_kind = CODEC_LZ4;
        return (size_t)n;
    }
    *ret_bytes = page;
    *ret_kind = CODEC_RAW;
    return CODEC_PAGE;
}

int codec_packer_init(struct codec_packer *packer)
{
    static const uint8_t zeroes[CODEC_PAGE];
    const void *bytes;

    packer->ctx = ZSTD_createCCtx();
    if (packer->ctx == NULL)
        return -ENOMEM;
    /* A page is a page: its size need not be said. */
    if (ZSTD_isError(ZSTD_CCtx_setParameter(packer->ctx, ZSTD_c_compressionLevel, PACK_LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(packer->ctx, ZSTD_c_contentSizeFlag, 0)) ||
        codec_pack(packer, zeroes, &bytes) == 0) { /* takes the memory that it wants */
        codec_packer_fini(packer);
        return -ENOMEM;
    }
    return 0;
}

void codec_packer_fini(struct codec_packer *packer)
{
    (void)ZSTD_freeCCtx(packer->ctx);
    packer->ctx = NULL;
}

size_t codec_pack(struct codec_packer *packer, const void *page, const void **ret_bytes)
{
    const size_t n = ZSTD_compress2(packer->ctx, packer->bytes, sizeof(packer->bytes), page,
                                    CODEC_PAGE);

    if (ZSTD_isError(n) || n <= sizeof(magic) || n - sizeof(magic) > WORTH_BYTES ||
        memcmp(packer->bytes, magic, sizeof(magic)) != 0)
        return 0;
    *ret_bytes = packer->bytes + sizeof(magic);
    return n - sizeof(magic);
}

int codec_decoder_init(struct codec_decoder *dec)
{
    dec->ctx = ZSTD_createDCtx();
    if (dec->ctx == NULL)
        return -ENOMEM;
    prefault(dec->ctx, ZSTD_sizeof_DCtx(dec->ctx)); /* pages are brought back by it */
    prefault(dec->frame, sizeof(dec->frame));
    return 0;
}

void codec_decoder_fini(struct codec_decoder *dec)
{
    (void)ZSTD_freeDCtx(dec->ctx);
    dec->ctx = NULL;
}

static int unpack(struct codec_decoder *dec, const void *bytes, size_t len, void *page)
{
    if (len == 0 || len > sizeof(dec->frame) - sizeof(magic))
        return -EIO;
    memcpy(dec->frame, magic, sizeof(magic));
    memcpy(dec->frame + sizeof(magic), bytes, len);
    return ZSTD_decompressDCtx(dec->ctx, page, CODEC_PAGE, dec->frame, len + sizeof(magic)) ==
                   CODEC_PAGE
               ? 0
               : -EIO;
}

int codec_decode(struct codec_decoder *dec, enum codec_kind kind, const void *bytes, size_t len,
                 void *page)
{
    if (kind == CODEC_RAW && len == CODEC_PAGE) {
        memcpy(page, bytes, CODEC_PAGE);
        return 0;
    }
    if (kind == CODEC_LZ4 && len <= CODEC_PAGE &&
        LZ4_decompress_safe(bytes, page, (int)len, CODEC_PAGE) == CODEC_PAGE)
        return 0;
    return kind == CODEC_ZSTD ? unpack(dec, bytes, len, page) : -EIO;
}
