/* SPDX-License-Identifier: Apache-2.0 */
/* See codec.h. */
#include "memory/store/codec.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>

/* A page that shrinks by less than an eighth is not worth a decoding at each fault. */
enum { WORTH_BYTES = CODEC_PAGE * 7 / 8 };

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

int codec_decode(enum codec_kind kind, const void *bytes, size_t len, void *page)
{
    if (kind == CODEC_RAW && len == CODEC_PAGE) {
        memcpy(page, bytes, CODEC_PAGE);
        return 0;
    }
    if (kind == CODEC_LZ4 && len <= CODEC_PAGE &&
        LZ4_decompress_safe(bytes, page, (int)len, CODEC_PAGE) == CODEC_PAGE)
        return 0;
    return -EIO;
}
