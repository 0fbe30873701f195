/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages that were taken away from guests, kept so that they need less memory: pages of zeroes cost
 * nothing, equal pages are there once, others are compressed, what hardly shrinks is kept as it is.
 * What is kept for some time is packed anew, smaller, when there is CPU time for it.
 *
 * One store serves the virtual nodes of one guest that live on the same host nodes; its memory
 * comes from there. Nothing is shared between guests, but in a trust domain that its user named
 * (store_domain.h). A page is found by XXH3-128 and judged by its
 * bytes. The same hash guards it: what comes back is checked before anybody sees it.
 *
 * With a swap (swap.h) what has been kept for long, or does not fit, goes to a file. What a golden
 * file (golden.h) has needs no copy.
 *
 * Any thread; one lock, a leaf, held for copies of a page at most. Nothing allocates after
 * store_new(): memory comes by touching reserved ranges, and taking a page out of the store needs
 * none.
 */
#ifndef MEMORY_STORE_STORE_H
#define MEMORY_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/store/codec.h"
#include "memory/store/golden/golden.h"
#include "memory/store/swap.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"

struct store;

enum {
    STORE_NONE = 0, /* no object */
    STORE_ZERO = 1, /* a page of zeroes; needs no store */
};

struct store_counts {
    uint64_t pages;       /* references to objects, zero pages not among them */
    uint64_t objects;     /* different pages */
    uint64_t spare_objects; /* besides, of pages that came back, in case that they go again */
    uint64_t again;         /* pages that did, since the start or store_clear() */
    uint64_t raw_objects; /* of them, not compressed */
    uint64_t packed_objects; /* of them, compressed a second time, by Zstandard */
    uint64_t swapped_objects; /* of the pages, those in the swap file; no objects of the above */
    uint64_t swapped_bytes;   /* of them, there */
    uint64_t golden_objects; /* of the pages, different ones that are in the golden file */
    uint64_t golden_pages;   /* references to these */
    uint64_t shared_objects; /* of the pages, different ones that are in the trust domain's segments */
    uint64_t shared_pages;   /* references to these */
    uint64_t shared_bytes;   /* that they take there, as if nobody else used them */
    uint64_t moved_objects;  /* by compacting, since the start or store_clear() */
    uint64_t golden_hits;    /* pages that went and were there, since the start or store_clear() */
    uint64_t used_bytes;  /* in slots */
    uint64_t held_bytes;  /* host memory for them, tables included */
};

/**
 * store_new() - room for @max_pages different pages in at most @limit_bytes of host memory, tables
 * included. Takes no memory yet.
 * @host_nodes: where memory comes from; empty: anywhere.
 * Return: 0, or the errno of arena_new().
 */
int store_new(uint64_t limit_bytes, uint32_t max_pages, const struct idset *host_nodes,
              struct store **ret_store, struct errctx *ec);
void store_free(struct store *store);

/* Room to work in; one thread's. */
struct store_desk {
    struct codec_encoder encoder;
    uint8_t other[CODEC_PAGE];
};

/**
 * store_put() - keep a copy of @page, which nobody changes meanwhile.
 * @ret_object: one reference, which store_drop() returns.
 * Return: 0; -ENOSPC: the limit.
 */
int store_put(struct store *store, struct store_desk *desk, const void *page, uint32_t *ret_object);

/**
 * store_get() - the page of @object, which stays. Allocates nothing.
 * @port: the caller's, for what was swapped out; NULL where there is no swap.
 * Return: 0; -EIO: it was damaged; or as swap_get() or golden_get(). @page is not it then.
 */
int store_get(struct store *store, struct swap_port *port, uint32_t object, void *page);

/** store_drop() - return one reference. No system call; STORE_NONE and STORE_ZERO are ignored. */
void store_drop(struct store *store, uint32_t object);

/** store_leave() - as store_drop(), of a page that may soon be put again as it is: its copy may
 *  stay for some steps of time (store_age()), as long as such copies are a quarter of the others
 *  at most. */
void store_leave(struct store *store, uint32_t object);

/** store_make_room() - let all copies go that nobody has a reference to, and compact.
 *  Return: whether there was anything to do. */
bool store_make_room(struct store *store);

/** store_trim() - compact a little and give memory back. */
void store_trim(struct store *store);

/** store_is_loose() - did so much go, or become smaller, since the last store_trim() that the
 *  next may find something? */
bool store_is_loose(struct store *store);

/* Room to pack in; one thread's. */
struct store_press {
    struct codec_packer packer;
    enum codec_kind kind;
    size_t len;
    uint8_t bytes[CODEC_PAGE], page[CODEC_PAGE];
};

/** store_age() - a step of time. What has been kept since the step before the last is old. */
void store_age(struct store *store);

/**
 * store_pack() - look for an object that is old and was not packed yet, and have Zstandard make it
 * smaller. Not two at a time. The lock is not held while it is packed; who drops it meanwhile does.
 * Return: false: there is none, until store_age().
 */
bool store_pack(struct store *store, struct store_press *press);

/** store_set_limit() - what it may hold from now on, at most what it was made for; what it has
 *  stays. */
void store_set_limit(struct store *store, uint64_t bytes);

/** store_lower() - its limit is to be @bytes less: nothing is put beyond that from now on. */
void store_lower(struct store *store, uint64_t bytes);

/** store_yield() - the limit is less now by up to @bytes of what it is to be less, as far as
 *  nothing is held there and packing has what it needs. Return: by how much. */
uint64_t store_yield(struct store *store, uint64_t bytes);

/** store_set_swap() - @swap, which outlives the store, is where pages may go that need too much
 *  room. Before the first of them. */
void store_set_swap(struct store *store, struct swap *swap);

/** store_set_golden() - @golden, which outlives the store, has pages that need not be kept. Before
 *  the first page. */
void store_set_golden(struct store *store, struct golden *golden);

/**
 * store_swap_out() - have some of what is kept leave for the swap file, by turns, about as it
 * came: as much as one write takes. The thread that puts and packs; the lock is not held while it
 * waits for the disk.
 * @old: only what has been kept for some five minutes.
 * Return: bytes of slots that became free; 0: nothing is to go, or there is no swap, or no room
 * there, or so many young ones were looked at that the rest has to wait; or the errno of
 * swap_write().
 */
int store_swap_out(struct store *store, struct swap_port *port, bool old);

/** store_limit_bytes() - what it may hold now. */
uint64_t store_limit_bytes(struct store *store);

/** store_bind() - memory that it takes from now on, tables included, comes from @host_nodes; what it
 *  has stays where it is. Return: 0 or the errno of mbind. */
int store_bind(struct store *store, const struct idset *host_nodes, struct errctx *ec);

/**
 * store_move_some() - move the next part of its memory, up to ARENA_BLOCK, to host node @to. Pages
 * may be put, got and dropped meanwhile, but not by store_trim() or store_clear().
 * @at: where to go on, 0 at first.
 * Return: bytes that were looked at, 0 at the end; or as numa_policy_move().
 */
int store_move_some(struct store *store, uint32_t *at, struct hnode_id to, struct errctx *ec);

/** store_clear() - forget all objects, give all memory back. No reference is used any more. What
 *  was swapped out goes with swap_clear(), after all stores that share a swap. */
void store_clear(struct store *store);

void store_count(struct store *store, struct store_counts *ret_counts);

/** store_damage() - flip one bit of what is kept of @object; for tests of what then happens. */
void store_damage(struct store *store, uint32_t object);

#endif
