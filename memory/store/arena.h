/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots of many sizes in one range of addresses, taken from host nodes, with what is no longer used
 * given back.
 *
 * The range is cut into blocks of 256 KiB, a block into slots of one size, a multiple of 64 bytes.
 * Slots are given out lowest first, blocks fullest first, so that few are in between; a block whose
 * last slot goes is given back to the host at once or by arena_trim(), which also moves what is
 * left in sparse blocks into others. The range is reserved at the start and its memory comes by
 * touch, and some pages ahead of it: nothing is allocated later, and freeing a slot makes no system
 * call.
 *
 * Not synchronised: its owner has a lock.
 */
#ifndef MEMORY_STORE_ARENA_H
#define MEMORY_STORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/idset.h"

enum {
    ARENA_UNIT = 64,
    ARENA_BLOCK = 256 * 1024,
    ARENA_SLOT_MAX = 4096 + ARENA_UNIT, /* a page and the owner's word */
    ARENA_CLASSES = ARENA_SLOT_MAX / ARENA_UNIT,
    ARENA_BLOCK_PAGES = ARENA_BLOCK / 4096,
};

struct arena;

/** A slot: number of the block and of the slot in it; 20 and 12 bits. */
struct arena_slot { uint32_t v; };

/**
 * arena_new() - find addresses for @limit_bytes, rounded up to whole blocks.
 * @host_nodes: memory is bound to them; empty: it comes from anywhere.
 * Return: 0, -ENOMEM, -E2BIG (more than 256 GiB), or the errno of mmap or mbind.
 */
int arena_new(uint64_t limit_bytes, const struct idset *host_nodes, struct arena **ret_arena,
              struct errctx *ec);
void arena_free(struct arena *arena);

/** arena_take() - a slot of at least @len bytes (1 to ARENA_SLOT_MAX) for @owner, a number that
 *  comes back when it is moved. Return: 0 or -ENOSPC: the limit. */
int arena_take(struct arena *arena, size_t len, uint32_t owner, struct arena_slot *ret_slot);

/** arena_bytes_for() - what a slot for @len bytes takes. Pure. */
size_t arena_bytes_for(size_t len);

/** arena_growth() - by how many bytes of host memory the next arena_take() of @len would make it
 *  larger. */
size_t arena_growth(struct arena *arena, size_t len);

/** arena_give() - the slot is not used any more. No system call. */
void arena_give(struct arena *arena, struct arena_slot slot);

/** arena_at() - the slot's bytes, good until the next call that is not arena_at(). */
uint8_t *arena_at(const struct arena *arena, struct arena_slot slot);

/**
 * arena_trim() - give memory back: blocks without slots, and, after moving slots together, blocks
 * that need not be. Moves at most @max_moves slots.
 * @moved: @owner's slot is another one now.
 */
void arena_trim(struct arena *arena, size_t max_moves,
                void (*moved)(void *ctx, uint32_t owner, struct arena_slot slot), void *ctx);

/** arena_bind() - memory that is taken from now on comes from @host_nodes. Return: as
 *  numa_policy_bind(). */
int arena_bind(struct arena *arena, const struct idset *host_nodes, struct errctx *ec);

/** arena_table() - its table of blocks, as far as there may be memory under it. Return: bytes. */
size_t arena_table(const struct arena *arena, void **ret_start);

/**
 * arena_pages() - host pages that there may be memory under, block by block.
 * @block: the one to go on with, 0 at first; the next one afterwards.
 * Return: how many were written to @pages, at most ARENA_BLOCK_PAGES; 0 at the end only.
 */
size_t arena_pages(const struct arena *arena, uint32_t *block, void **pages);

/** arena_clear() - no slot is used; all memory goes back. */
void arena_clear(struct arena *arena);

/** arena_used_bytes() / arena_held_bytes() - in slots that were taken; host memory under them. */
uint64_t arena_used_bytes(const struct arena *arena);
uint64_t arena_held_bytes(const struct arena *arena);

/** arena_meta_bytes() - of the tables that describe it, as far as they are in use. */
uint64_t arena_meta_bytes(const struct arena *arena);

#endif
