/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last tier: what stores keep of pages goes into blocks of a file or device, sealed.
 *
 * A block of 4 KiB has what several pages were made into, or one that does not shrink, so that
 * bringing a page back is one read. Each piece is sealed by itself (ChaCha20-Poly1305 of RFC 8439,
 * by libsodium) under a key that is made at the start, is in no file and goes with the machine. The
 * nonce is (how often the block was written, its number, offset in it), which never repeats; the
 * seal itself stays in memory, so a block that was changed, or is an older one of the same place,
 * is found out.
 *
 * A block is free again when all in it went; nothing is moved together. Numbers of blocks: a byte
 * and four bytes of memory each, as they are used.
 *
 * Locking: one thread writes, by swap_begin() to swap_write(). What is there may be read by any
 * thread that has a port of its own, and dropped by any. Nothing allocates after the _new
 * functions.
 */
#ifndef MEMORY_STORE_SWAP_H
#define MEMORY_STORE_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/swap_file.h"
#include "memory/store/swap_ring.h"
#include "vmm/base/errctx.h"

struct swap;
struct swap_port; /* one thread's way to it */

enum { SWAP_SEAL = 16, SWAP_PIECES = 256 };

/* Where a piece is, and what makes sure that it is it. */
struct swap_place {
    uint32_t block;
    uint16_t at, len;
    uint8_t kind; /* the owner's */
    uint8_t seal[SWAP_SEAL];
};

/**
 * swap_new() - a key, and tables for @file, which is borrowed. Before the sandbox.
 * Return: 0; -ENOMEM; -ENOSYS: no cryptography here.
 */
int swap_new(const struct swap_file *file, struct swap **ret_swap, struct errctx *ec);

/** swap_free() - with it goes the key: nobody reads any more what is in the file. After its
 *  ports. */
void swap_free(struct swap *swap);

/** swap_port_new() - Before the sandbox. Return: 0 or as swap_ring_new(). */
int swap_port_new(struct swap *swap, struct swap_port **ret_port, struct errctx *ec);
void swap_port_free(struct swap_port *port);

/** swap_begin() - find blocks to write next, in a row. Return: whether there are any. */
bool swap_begin(struct swap_port *port);

/** swap_add() - @len bytes (1 to SWAP_BLOCK) to be written; @owner is a number of the caller's.
 *  Return: false: they have no room this time. */
bool swap_add(struct swap_port *port, uint32_t owner, uint8_t kind, const void *bytes, size_t len);

/**
 * swap_write() - seal and write what was added, and wait for that.
 * Return: 0; -ENOSPC: the disk or a quota is full; another errno of swap_ring_write(): nothing will
 * be written any more, what is there can be read still.
 */
int swap_write(struct swap_port *port);

/** swap_piece() - number @i of what was added, where it was written if it was, or NULL behind
 *  the last. */
const struct swap_place *swap_piece(const struct swap_port *port, size_t i, uint32_t *ret_owner);

/** swap_keep() / swap_drop() - a piece that was written is there; and any more. Any thread. */
void swap_keep(struct swap *swap, uint32_t block);
void swap_drop(struct swap *swap, uint32_t block);

/**
 * swap_get() - the bytes of a piece that is kept and stays so meanwhile, up to SWAP_BLOCK.
 * Return: 0; -EBADMSG: what is in the file is not what was written; -EREMOTEIO: the disk cannot
 * read it; another errno of swap_ring_read().
 */
int swap_get(struct swap_port *port, const struct swap_place *place, void *bytes);

/** swap_is_reading() - does the port's thread wait for the disk in swap_get()? Any thread. */
bool swap_is_reading(const struct swap_port *port);

/** swap_seal() / swap_unseal() - a piece where it lies in @block, in place; and what it was
 *  before, up to SWAP_BLOCK bytes. Return: 0; -EBADMSG: it is not what was sealed, and nothing
 *  came out. */
void swap_seal(const struct swap *swap, struct swap_place *place, uint8_t block[SWAP_BLOCK]);
int swap_unseal(const struct swap *swap, const struct swap_place *place,
                const uint8_t block[SWAP_BLOCK], void *bytes);

/** swap_clear() - nothing is kept any more. While nobody writes or reads. */
void swap_clear(struct swap *swap);

/* What the file reports: sizes in bytes, of whole blocks, and why nothing is written, 0 or an
 * errno. */
struct swap_counts {
    uint64_t all_bytes, used_bytes;
    uint64_t written_bytes, read_bytes; /* since the start */
    int trouble;
};

void swap_count(struct swap *swap, struct swap_counts *ret_counts);

#endif
