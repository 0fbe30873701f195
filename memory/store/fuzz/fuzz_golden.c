/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a golden file. The first of the input says what is made right before: hashes and
 * size in the header (bit 0), so that what is behind them is reached; number of pages: the second
 * byte.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden.h"
#include "memory/store/golden/golden_format.h"
#include "vmm/base/macros.h"

enum { MOST = 64 * 1024, HEAD = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t file[MOST];

/* Entries are the end of the file, whatever they are. */
static size_t make_right(size_t len, uint8_t n)
{
    struct golden_header h = { .version = GOLDEN_VERSION, .page_bytes = CODEC_PAGE, .n_pages = n };
    const size_t index_len = n * sizeof(struct golden_entry);
    XXH128_hash_t hash;

    if (n == 0 || len < GOLDEN_DATA_AT + index_len)
        return len;
    h.data_units = (len - GOLDEN_DATA_AT - index_len) / GOLDEN_UNIT;
    len = golden_index_at(&h) + index_len;
    memcpy(h.magic, GOLDEN_MAGIC, sizeof(h.magic));
    hash = XXH3_128bits(file + golden_index_at(&h), index_len);
    h.index_hash[0] = hash.low64;
    h.index_hash[1] = hash.high64;
    hash = XXH3_128bits(&h, offsetof(struct golden_header, hash));
    h.hash[0] = hash.low64;
    h.hash[1] = hash.high64;
    memcpy(file, &h, sizeof(h));
    return len;
}

static void use(struct golden *g, size_t len)
{
    uint8_t page[CODEC_PAGE] = { 0 }, got[CODEC_PAGE];
    struct golden_place place;
    struct golden_hash hash;
    uint64_t damaged;

    (void)golden_verify(g, &damaged, NULL);
    memcpy(page, file + GOLDEN_DATA_AT, MIN(len - GOLDEN_DATA_AT, sizeof(page)));
    hash = golden_hash(page);
    if (golden_find(g, page, hash, &place) &&
        (golden_get(g, &place, hash, got) < 0 || memcmp(got, page, sizeof(page)) != 0))
        abort(); /* found, and not it */
    for (size_t at = golden_index_at(&(struct golden_header){ 0 }); at + 24 <= len; at += 24) {
        memcpy(&hash.high, file + at, 8);
        memcpy(&hash.low, file + at + 8, 8);
        (void)golden_find(g, page, hash, &place);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct golden *g = NULL;
    size_t len;
    int fd;

    if (size < HEAD)
        return 0;
    memset(file, 0, sizeof(file));
    len = MIN(size - HEAD, (size_t)MOST - GOLDEN_DATA_AT);
    if ((data[0] & 1) != 0) { /* the input is what is behind the header */
        memcpy(file + GOLDEN_DATA_AT, data + HEAD, len);
        len = make_right(len + GOLDEN_DATA_AT, data[1]);
    } else {
        memcpy(file, data + HEAD, len);
    }
    fd = memfd_create("golden", MFD_CLOEXEC);
    if (fd < 0 || write(fd, file, len) != (ssize_t)len)
        abort();
    if (golden_open_fd(fd, "golden", &g, NULL) == 0)
        use(g, len);
    golden_close(g);
    return 0;
}
