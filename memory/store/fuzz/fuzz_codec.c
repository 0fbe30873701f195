/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes into the decoder, as a store that was damaged would give them; and any page there and
 * back, by both encoders. The first byte is the kind.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/codec.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct codec_encoder encoder;
static struct codec_packer packer;
static struct codec_decoder decoder;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (codec_packer_init(&packer) < 0 || codec_decoder_init(&decoder) < 0)
        abort();
    return 0;
}

static void must_come_back(enum codec_kind kind, const void *bytes, size_t len, const uint8_t *page)
{
    uint8_t back[CODEC_PAGE];

    if (len > CODEC_PAGE || codec_decode(&decoder, kind, bytes, len, back) < 0 ||
        memcmp(page, back, CODEC_PAGE) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
    (void)codec_decode(&decoder, (enum codec_kind)(data[0] % (CODEC_KINDS + 1)), exact, size - 1,
                       page);
    free(exact);
    memcpy(page, data, size < CODEC_PAGE ? size : CODEC_PAGE);
    len = codec_encode(&encoder, page, &bytes, &kind);
    must_come_back(kind, bytes, len, page);
    len = codec_pack(&packer, page, &bytes);
    if (len > 0)
        must_come_back(CODEC_ZSTD, bytes, len, page);
    return 0;
}
