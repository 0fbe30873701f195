/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file or block device that pages of one guest go to: found, locked, and known to hold nothing
 * that somebody may want. Past the host's page cache, which would keep what is to leave memory.
 */
#ifndef MEMORY_STORE_SWAP_FILE_H
#define MEMORY_STORE_SWAP_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

enum {
    SWAP_BLOCK = 4096,
    SWAP_START = 1024 * 1024, /* what has to be empty of a file that was not used for this yet */
};

struct swap_file {
    int fd;            /* -1: not open */
    uint32_t n_blocks; /* of SWAP_BLOCK bytes; the first is the header, and no page's */
    bool late; /* a write may be under way still: who comes next waits for its end */
};

/**
 * swap_file_open() - @path for a swap of its own, with a new header in its first block.
 * Nobody else may have it open for writing with a lock, or have it mounted.
 * Return: 0; -EINVAL: neither a file nor a block device, smaller than 1 MiB, without direct I/O, or
 * what is in it is neither zeroes nor an old swap's; -EBUSY: another has it, or it is mounted; an
 * errno of stat, open, read or write.
 */
int swap_file_open(const char *path, struct swap_file *ret_file, struct errctx *ec);
/** swap_file_close() - a lock on it ends now, unless ->late: then with the last write. */
void swap_file_close(struct swap_file *file);

/**
 * swap_file_is_ours() - may the file that starts with @start be written over? An old one of ours
 * may, by its first block, and zeroes; one block of these would not do, with which several file
 * systems and RAID members begin. Any bytes. Pure.
 */
bool swap_file_is_ours(const uint8_t start[SWAP_START]);

#endif
