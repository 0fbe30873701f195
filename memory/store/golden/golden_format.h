/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a golden file: a header, pages, an index. Numbers as the host has them (both hosts
 * that there are begin with the lowest byte).
 *
 *   0               struct golden_header
 *   GOLDEN_DATA_AT  pages by LZ4 or as they are (codec.h), each at a multiple of GOLDEN_UNIT
 *   the end         struct golden_entry for each, by rising hash; nothing behind
 *
 * XXH3-128 of a page is what it is found by and what guards it; the header has those of the index
 * and of itself. They guard against damage: who may write the file decides what is in it.
 */
#ifndef MEMORY_STORE_GOLDEN_FORMAT_H
#define MEMORY_STORE_GOLDEN_FORMAT_H

#include <stdint.h>

#define GOLDEN_MAGIC "numavisor golden"

enum {
    GOLDEN_VERSION = 1,
    GOLDEN_UNIT = 16,
    GOLDEN_DATA_AT = 4096,
    GOLDEN_MAX_PAGES = 1 << 30,
};

struct golden_header {
    char magic[16];
    uint32_t version, page_bytes;
    uint64_t n_pages;    /* different ones, without zeroes */
    uint64_t data_units; /* of GOLDEN_UNIT, in which they are */
    uint64_t image_bytes; /* that it was made of */
    uint64_t index_hash[2];
    uint64_t hash[2]; /* of all before */
};

_Static_assert(sizeof(struct golden_header) == 80, "nothing between members");

struct golden_entry {
    uint64_t hash_high, hash_low;
    uint32_t at; /* in units, from GOLDEN_DATA_AT on */
    uint16_t len;
    uint8_t kind; /* enum codec_kind */
    uint8_t zero;
};

_Static_assert(sizeof(struct golden_entry) == 24, "nothing between members");

/** golden_index_at() - where the index begins. */
static inline uint64_t golden_index_at(const struct golden_header *h)
{
    return GOLDEN_DATA_AT + h->data_units * GOLDEN_UNIT;
}

#endif
