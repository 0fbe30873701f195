/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes into the decoder, as a store that was damaged would give them; and any page there and
 * back. The first byte is the kind.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct codec_encoder encoder;
    uint8_t page[CODEC_PAGE] = { 0 }, *exact;
    enum codec_kind kind;
    const void *bytes;
    size_t len;

    if (size < 1)
        return 0;
    exact = malloc(size); /* so that a read beyond is seen */
    if (exact == NULL)
        return 0;
    memcpy(exact, data + 1, size - 1);
    (void)codec_decode((enum codec_kind)(data[0] % (CODEC_KINDS + 1)), exact, size - 1, page);
    free(exact);
    memcpy(page, data, size < CODEC_PAGE ? size : CODEC_PAGE);
    len = codec_encode(&encoder, page, &bytes, &kind);
    {
        uint8_t back[CODEC_PAGE];

        if (len > CODEC_PAGE || codec_decode(kind, bytes, len, back) < 0 ||
            memcmp(page, back, CODEC_PAGE) != 0)
            abort();
    }
    return 0;
}
