/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is read back from a swap file: a block in which a piece was sealed, changed as the input
 * says, or any bytes in its place. Nothing but what was sealed may come out. And any first block.
 *
 * Input: kind, offset in units of 16, how (bit 0: any bytes), length in units of 16, content,
 * change.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "memory/store/codec.h"
#include "memory/store/swap.h"
#include "vmm/base/macros.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 4, UNIT = 16, BLOCKS = 300 };

static const struct swap_file file = { .fd = -1, .n_blocks = BLOCKS };
static struct swap *swap;
static struct codec_decoder decoder;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (swap_new(&file, &swap, NULL) < 0 || codec_decoder_init(&decoder) < 0)
        abort();
    return 0;
}

/* @n bytes of change from the start of the block on. Return: does the piece have its bytes
 * still? */
static bool change(uint8_t *block, const struct swap_place *place, const uint8_t *by, size_t n,
                   bool any)
{
    uint8_t before[SWAP_BLOCK];

    memcpy(before, block, sizeof(before));
    for (size_t i = 0; i < n && i < SWAP_BLOCK; i++)
        block[i] = any ? by[i] : block[i] ^ by[i];
    return memcmp(before + place->at, block + place->at, place->len) == 0;
}

static uint8_t start[SWAP_START]; /* zeroes between two calls */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t block[SWAP_BLOCK] = { 0 }, want[SWAP_BLOCK], got[SWAP_BLOCK], page[CODEC_PAGE];
    struct swap_place place = { 0 };
    size_t len;
    bool same;
    int r;

    if (size < HEAD)
        return 0;
    memcpy(start, data, MIN(size, sizeof(start)));
    (void)swap_file_is_ours(start);
    memset(start, 0, MIN(size, sizeof(start)));

    place.block = 1 + data[0] % (BLOCKS - 1);
    place.kind = data[0] % CODEC_KINDS;
    place.at = (uint16_t)(data[1] * UNIT);
    len = (size_t)data[3] * UNIT + 1;
    len = len < (size_t)SWAP_BLOCK - place.at ? len : (size_t)SWAP_BLOCK - place.at;
    len = len < size - HEAD ? len : size - HEAD;
    place.len = (uint16_t)len;
    memcpy(block + place.at, data + HEAD, len);
    memcpy(want, data + HEAD, len);
    swap_seal(swap, &place, block);
    same = change(block, &place, data + HEAD + len, size - HEAD - len, (data[2] & 1) != 0);
    r = swap_unseal(swap, &place, block, got);
    if (r != (same ? 0 : -EBADMSG) || (r == 0 && memcmp(got, want, len) != 0))
        abort();
    /* The owner's word for what it is belongs to it. */
    place.kind ^= 1;
    if (swap_unseal(swap, &place, block, page) != -EBADMSG)
        abort();
    if (r == 0)
        (void)codec_decode(&decoder, (enum codec_kind)(place.kind ^ 1), got, len, page);
    return 0;
}
