/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of one size that have both free and taken slots are in that size's list. The owner's
 * number is the first word of a slot: it is needed only when the slot is moved, and lies where the
 * move reads anyway.
 */
#include "memory/store/arena.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "memory/numa_policy.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

enum {
    NO_BLOCK = UINT32_MAX,
    SLOT_BITS = 12,
    BITMAP_WORDS = ARENA_BLOCK / ARENA_UNIT / 64,
    HOST_PAGE = 4096,
    TRIM_LOOKS = 64, /* blocks of one size that are compared to find the emptiest */
    AHEAD_PAGES = 8, /* that a block gets at once, at most: by touch each would be a fault */
};

struct block {
    uint32_t units;  /* size of its slots; 0: not in use */
    uint32_t n_used;
    uint32_t prev, next; /* in its size's list, or in the list of free blocks (next) */
    uint32_t held_pages; /* from the start, at most; host memory may be under them */
    uint32_t hint;       /* no word of the bitmap before has a free slot */
    uint64_t taken[BITMAP_WORDS];
};

struct arena {
    uint8_t *start;
    struct block *blocks; /* of a range of its own; untouched: not in use */
    uint32_t n_blocks, n_fresh; /* blocks from n_fresh on were never used */
    uint32_t free_blocks;       /* given back or to be: used first */
    uint32_t partial[ARENA_CLASSES + 1]; /* by units */
    uint64_t used_bytes, held_pages;
};

static uint32_t slots_of(uint32_t units)
{
    return ARENA_BLOCK / (units * ARENA_UNIT);
}

int arena_new(uint64_t limit_bytes, const struct idset *host_nodes, struct arena **ret_arena,
              struct errctx *ec)
{
    const uint64_t n = (limit_bytes + ARENA_BLOCK - 1) / ARENA_BLOCK;
    struct arena *a;
    int r;

    if (n >= 1u << (32 - SLOT_BITS))
        return errctx_set(ec, E2BIG, "a store has at most 256 GiB");
    a = calloc(1, sizeof(*a));
    if (a == NULL)
        return errctx_set(ec, ENOMEM, "no memory for a store");
    a->n_blocks = (uint32_t)n;
    a->free_blocks = NO_BLOCK;
    for (size_t i = 0; i <= ARENA_CLASSES; i++)
        a->partial[i] = NO_BLOCK;
    a->start = mmap(NULL, n * ARENA_BLOCK + 1, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    a->blocks = mmap(NULL, n * sizeof(struct block) + 1, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->start == MAP_FAILED || a->blocks == MAP_FAILED) {
        r = errctx_set_os(ec, errno, "find addresses for a store");
        goto err_free;
    }
    /* A hole in a huge page of anonymous memory frees nothing before reclaim; what guests had must
     * not be in a dump. */
    (void)madvise(a->start, n * ARENA_BLOCK + 1, MADV_NOHUGEPAGE);
    (void)madvise(a->start, n * ARENA_BLOCK + 1, MADV_DONTDUMP);
    (void)madvise(a->start, n * ARENA_BLOCK + 1, MADV_DONTFORK);
    if (!idset_empty(host_nodes)) {
        r = arena_bind(a, host_nodes, ec);
        if (r < 0)
            goto err_free;
    }
    *ret_arena = a;
    return 0;

err_free:
    arena_free(a);
    return r;
}

void arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    if (arena->start != NULL && arena->start != MAP_FAILED)
        (void)munmap(arena->start, (size_t)arena->n_blocks * ARENA_BLOCK + 1);
    if (arena->blocks != NULL && arena->blocks != MAP_FAILED)
        (void)munmap(arena->blocks, arena->n_blocks * sizeof(struct block) + 1);
    free(arena);
}

static void list_add(struct arena *a, uint32_t i)
{
    struct block *b = &a->blocks[i];

    b->prev = NO_BLOCK;
    b->next = a->partial[b->units];
    if (b->next != NO_BLOCK)
        a->blocks[b->next].prev = i;
    a->partial[b->units] = i;
}

static void list_del(struct arena *a, uint32_t i)
{
    const struct block *b = &a->blocks[i];

    if (b->prev != NO_BLOCK)
        a->blocks[b->prev].next = b->next;
    else
        a->partial[b->units] = b->next;
    if (b->next != NO_BLOCK)
        a->blocks[b->next].prev = b->prev;
}

/* A block for slots of @units, into their list. */
static int open_block(struct arena *a, uint32_t units)
{
    uint32_t i = a->free_blocks;

    if (i != NO_BLOCK)
        a->free_blocks = a->blocks[i].next;
    else if (a->n_fresh < a->n_blocks)
        i = a->n_fresh++;
    else
        return -ENOSPC;
    a->blocks[i].units = units;
    a->blocks[i].hint = 0;
    list_add(a, i);
    return 0;
}

/* The lowest free slot of a block that has one. */
static uint32_t lowest(struct block *b)
{
    while (b->taken[b->hint] == UINT64_MAX)
        b->hint++;
    return b->hint * 64 + (uint32_t)__builtin_ctzll(~b->taken[b->hint]);
}

/* Host pages that a block has memory under, at least, once it has this slot. */
static uint32_t pages_with(uint32_t slot, uint32_t units)
{
    return ((slot + 1) * units * ARENA_UNIT + HOST_PAGE - 1) / HOST_PAGE;
}

/* Host pages that a block holds which has @held of them, once it needs @pages: at most twice as
 * many, or what few slots of a size use would take a small store's room. */
static uint32_t held_with(uint32_t held, uint32_t pages)
{
    const uint32_t ahead = held + MIN(held, (uint32_t)AHEAD_PAGES);

    return pages <= held ? held : MAX(pages, MIN(ahead, (uint32_t)ARENA_BLOCK_PAGES));
}

/* Where the kernel does not do it (before Linux 5.14, or it has no memory) they come by touch. */
static void hold_pages(struct arena *a, uint32_t i, uint32_t pages)
{
    struct block *b = &a->blocks[i];

    (void)madvise(a->start + (size_t)i * ARENA_BLOCK + (size_t)b->held_pages * HOST_PAGE,
                  (size_t)(pages - b->held_pages) * HOST_PAGE, MADV_POPULATE_WRITE);
    a->held_pages += pages - b->held_pages;
    b->held_pages = pages;
}

static struct arena_slot take_in(struct arena *a, uint32_t i, uint32_t owner)
{
    struct block *b = &a->blocks[i];
    const uint32_t slot = lowest(b), pages = pages_with(slot, b->units);
    const struct arena_slot ret = { i << SLOT_BITS | slot };

    b->taken[slot / 64] |= 1ull << (slot % 64);
    if (++b->n_used == slots_of(b->units))
        list_del(a, i);
    if (pages > b->held_pages)
        hold_pages(a, i, held_with(b->held_pages, pages));
    a->used_bytes += b->units * ARENA_UNIT;
    memcpy(a->start + (size_t)i * ARENA_BLOCK + (size_t)slot * b->units * ARENA_UNIT, &owner,
           sizeof(owner));
    return ret;
}

size_t arena_bytes_for(size_t len)
{
    return (len + sizeof(uint32_t) + ARENA_UNIT - 1) / ARENA_UNIT * ARENA_UNIT;
}

int arena_take(struct arena *arena, size_t len, uint32_t owner, struct arena_slot *ret_slot)
{
    const uint32_t units = (uint32_t)(arena_bytes_for(len) / ARENA_UNIT);

    assert(len > 0 && units <= ARENA_CLASSES);
    if (arena->partial[units] == NO_BLOCK && open_block(arena, units) < 0)
        return -ENOSPC;
    *ret_slot = take_in(arena, arena->partial[units], owner);
    return 0;
}

/* Its pages stay until arena_trim(), or are used by what opens it next. */
static void close_block(struct arena *a, uint32_t i)
{
    list_del(a, i);
    a->blocks[i].units = 0;
    a->blocks[i].next = a->free_blocks;
    a->free_blocks = i;
}

void arena_give(struct arena *arena, struct arena_slot slot)
{
    const uint32_t i = slot.v >> SLOT_BITS, k = slot.v & ((1u << SLOT_BITS) - 1);
    struct block *b = &arena->blocks[i];

    assert(b->units > 0 && (b->taken[k / 64] >> (k % 64) & 1) != 0);
    if (b->n_used == slots_of(b->units))
        list_add(arena, i);
    b->taken[k / 64] &= ~(1ull << (k % 64));
    b->hint = MIN(b->hint, k / 64);
    arena->used_bytes -= b->units * ARENA_UNIT;
    if (--b->n_used == 0)
        close_block(arena, i);
}

size_t arena_growth(struct arena *arena, size_t len)
{
    const uint32_t units = (uint32_t)(arena_bytes_for(len) / ARENA_UNIT);
    const uint32_t i = arena->partial[units];
    uint32_t held = 0, slot = 0;

    if (i != NO_BLOCK) {
        held = arena->blocks[i].held_pages;
        slot = lowest(&arena->blocks[i]);
    } else if (arena->free_blocks != NO_BLOCK) {
        held = arena->blocks[arena->free_blocks].held_pages; /* not given back yet */
    }
    return (size_t)(held_with(held, pages_with(slot, units)) - held) * HOST_PAGE;
}

uint8_t *arena_at(const struct arena *arena, struct arena_slot slot)
{
    const uint32_t i = slot.v >> SLOT_BITS, k = slot.v & ((1u << SLOT_BITS) - 1);

    return arena->start + (size_t)i * ARENA_BLOCK +
           (size_t)k * arena->blocks[i].units * ARENA_UNIT + sizeof(uint32_t);
}

/* The first slot behind all that are taken. */
static uint32_t end_of(const struct block *b)
{
    uint32_t w = BITMAP_WORDS;

    while (w > 0 && b->taken[w - 1] == 0)
        w--;
    return w == 0 ? 0 : w * 64 - (uint32_t)__builtin_clzll(b->taken[w - 1]);
}

/* What is behind the last slot in use, or all of a block without any. */
static void give_pages(struct arena *a, uint32_t i)
{
    struct block *b = &a->blocks[i];
    const uint32_t pages =
        b->units > 0 ? (end_of(b) * b->units * ARENA_UNIT + HOST_PAGE - 1) / HOST_PAGE : 0;

    if (pages >= b->held_pages)
        return;
    (void)madvise(a->start + (size_t)i * ARENA_BLOCK + (size_t)pages * HOST_PAGE,
                  (size_t)(b->held_pages - pages) * HOST_PAGE, MADV_DONTNEED);
    a->held_pages -= b->held_pages - pages;
    b->held_pages = pages;
}

/* The emptiest of the first blocks in the list of @units. @ret_free: slots that are free there. */
static uint32_t emptiest(const struct arena *a, uint32_t units, uint32_t *ret_free)
{
    uint32_t best = NO_BLOCK, n = 0;

    *ret_free = 0;
    for (uint32_t i = a->partial[units]; i != NO_BLOCK && n < TRIM_LOOKS; i = a->blocks[i].next) {
        *ret_free += slots_of(units) - a->blocks[i].n_used;
        if (best == NO_BLOCK || a->blocks[i].n_used < a->blocks[best].n_used)
            best = i;
        n++;
    }
    return best;
}

/* The same, if what it has fits into the others. */
static uint32_t sparsest(const struct arena *a, uint32_t units)
{
    uint32_t n_free;
    const uint32_t best = emptiest(a, units, &n_free);

    return n_free >= slots_of(units) ? best : NO_BLOCK;
}

struct mover {
    void (*moved)(void *ctx, uint32_t owner, struct arena_slot slot);
    void *ctx;
};

/* Slot @k of block @from to the lowest free one of block @to, which may be the same. */
static void move_slot(struct arena *a, uint32_t from, uint32_t k, uint32_t to, struct mover mover)
{
    struct block *b = &a->blocks[from];
    const size_t bytes = (size_t)b->units * ARENA_UNIT;
    const uint8_t *slot = a->start + (size_t)from * ARENA_BLOCK + k * bytes;
    struct arena_slot now;
    uint32_t owner;

    memcpy(&owner, slot, sizeof(owner));
    now = take_in(a, to, owner);
    memcpy(arena_at(a, now), slot + sizeof(owner), bytes - sizeof(owner));
    if (b->n_used == slots_of(b->units)) /* it was taken in the same block, which left the list */
        list_add(a, from);
    b->taken[k / 64] &= ~(1ull << (k % 64));
    b->hint = MIN(b->hint, k / 64);
    b->n_used--;
    a->used_bytes -= bytes;
    mover.moved(mover.ctx, owner, now);
}

/* All slots of block @from into others of its size. */
static void empty_block(struct arena *a, uint32_t from, struct mover mover)
{
    struct block *b = &a->blocks[from];

    list_del(a, from); /* so that nothing is moved into it */
    for (uint32_t k = 0; k < slots_of(b->units); k++)
        if ((b->taken[k / 64] >> (k % 64) & 1) != 0)
            move_slot(a, from, k, a->partial[b->units], mover);
    list_add(a, from);
    close_block(a, from);
}

/* Free slots of a size, less than a block has, come together at the end of the emptiest block, whose
 * pages are given back then. Return: how many moves of @max_moves are left. */
static size_t tighten(struct arena *a, uint32_t units, size_t max_moves, struct mover mover)
{
    uint32_t n_free;
    const uint32_t from = emptiest(a, units, &n_free);

    for (; from != NO_BLOCK && max_moves > 0; max_moves--) {
        struct block *b = &a->blocks[from];
        const uint32_t end = end_of(b);
        uint32_t to = a->partial[units] == from ? b->next : a->partial[units];

        if (to == NO_BLOCK)
            to = from;
        if (end == b->n_used && to == from)
            break;
        move_slot(a, from, end - 1, to, mover);
        if (b->n_used == 0) {
            close_block(a, from);
            break;
        }
    }
    return max_moves;
}

void arena_trim(struct arena *arena, size_t max_moves,
                void (*moved)(void *ctx, uint32_t owner, struct arena_slot slot), void *ctx)
{
    const struct mover mover = { moved, ctx };

    for (uint32_t units = 1; units <= ARENA_CLASSES; units++) {
        uint32_t i = sparsest(arena, units);

        while (i != NO_BLOCK && arena->blocks[i].n_used <= max_moves) {
            max_moves -= arena->blocks[i].n_used;
            empty_block(arena, i, mover);
            i = sparsest(arena, units);
        }
        max_moves = tighten(arena, units, max_moves, mover);
        for (i = arena->partial[units]; i != NO_BLOCK; i = arena->blocks[i].next)
            give_pages(arena, i);
    }
    for (uint32_t i = arena->free_blocks; i != NO_BLOCK; i = arena->blocks[i].next)
        give_pages(arena, i);
}

int arena_bind(struct arena *arena, const struct idset *host_nodes, struct errctx *ec)
{
    int r = numa_policy_bind(arena->start, (size_t)arena->n_blocks * ARENA_BLOCK + 1, host_nodes,
                             ec);

    return r == 0 ? numa_policy_bind(arena->blocks, arena->n_blocks * sizeof(struct block) + 1,
                                     host_nodes, ec)
                  : r;
}

size_t arena_table(const struct arena *arena, void **ret_start)
{
    *ret_start = arena->blocks;
    return arena->n_fresh * sizeof(struct block);
}

size_t arena_pages(const struct arena *arena, uint32_t *block, void **pages)
{
    size_t n = 0;

    for (; n == 0 && *block < arena->n_fresh; ++*block)
        for (; n < arena->blocks[*block].held_pages; n++)
            pages[n] = arena->start + (size_t)*block * ARENA_BLOCK + n * HOST_PAGE;
    return n;
}

void arena_clear(struct arena *arena)
{
    (void)madvise(arena->start, (size_t)arena->n_fresh * ARENA_BLOCK, MADV_DONTNEED);
    (void)madvise(arena->blocks, arena->n_blocks * sizeof(struct block), MADV_DONTNEED);
    arena->n_fresh = 0;
    arena->free_blocks = NO_BLOCK;
    for (size_t i = 0; i <= ARENA_CLASSES; i++)
        arena->partial[i] = NO_BLOCK;
    arena->used_bytes = arena->held_pages = 0;
}

uint64_t arena_used_bytes(const struct arena *arena)
{
    return arena->used_bytes;
}

uint64_t arena_held_bytes(const struct arena *arena)
{
    return arena->held_pages * HOST_PAGE;
}

uint64_t arena_meta_bytes(const struct arena *arena)
{
    return arena->n_fresh * sizeof(struct block);
}
