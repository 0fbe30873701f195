/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What guest memory tells the pager: leases of devices, memory that is given back, and blocks that
 * are plugged in and out. By whichever thread does that, against the words alone.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "memory/pager/pager_int.h"

static struct pager_region *region_at(const struct pager_node *node, const uint8_t *ptr)
{
    for (size_t i = 0; i < node->n_regions; i++) {
        const struct backing *b = node->regions[i].backing;

        if (ptr >= b->host && ptr < b->host + b->len_bytes)
            return &node->regions[i];
    }
    return NULL;
}

/* The word of the page that holds @ptr, which is guest memory of @node. */
static page_word *word_at(const struct pager_node *node, const uint8_t *ptr)
{
    const struct pager_region *r = region_at(node, ptr);

    return r != NULL ? &r->words[(size_t)(ptr - r->backing->host) / PAGER_PAGE] : NULL;
}

static const uint8_t *page_of(const uint8_t *ptr)
{
    return ptr - (uintptr_t)ptr % PAGER_PAGE;
}

static void lease_end(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const struct pager *p = ctx;
    const uint8_t *at = page_of(ptr), *end = (const uint8_t *)ptr + len;

    for (; at < end; at += PAGER_PAGE)
        page_unlease(word_at(&p->nodes[vnode.v], at));
}

enum { BRING_TRIES = 1000 };

enum { ALL_THERE, SOME_AWAY, SOME_LOST };

/* What is of the pages of [@at, @end)? */
static int how_there(const struct pager_node *node, const uint8_t *at, const uint8_t *end)
{
    int how = ALL_THERE;

    for (; at < end && how != SOME_LOST; at += PAGER_PAGE) {
        const enum page_state state = page_state(atomic_load(word_at(node, at)));

        if (state != PAGE_RESIDENT)
            how = state == PAGE_LOST ? SOME_LOST : SOME_AWAY;
    }
    return how;
}

/*
 * Have pages back before somebody relies on them who could not be told that one is lost. They have
 * leases, so they stay then. (Where a page is just being closed the kernel refuses some
 * microseconds before its word tells.)
 * Return: 0; -EHWPOISON: one is lost; -ENOMEM.
 */
static int bring(const struct pager_node *node, uint8_t *at, const uint8_t *end)
{
    int how = how_there(node, at, end);

    for (int i = 0; how == SOME_AWAY && i < BRING_TRIES; i++) {
        if (madvise(at, (size_t)(end - at), MADV_POPULATE_READ) == 0)
            return 0;
        if (errno == EHWPOISON)
            return -EHWPOISON;
        if (errno == ENOMEM)
            break;
        (void)sched_yield();
        how = how_there(node, at, end);
    }
    return how == ALL_THERE ? 0 : how == SOME_LOST ? -EHWPOISON : -ENOMEM;
}

static int lease_begin(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const struct pager *p = ctx;
    const struct pager_node *node = &p->nodes[vnode.v];
    const uint8_t *at = page_of(ptr), *end = (const uint8_t *)ptr + len;
    int r;

    for (; at < end; at += PAGER_PAGE) {
        page_word *word = word_at(node, at);
        uint32_t object;

        if (word == NULL || !page_lease(word, &object)) {
            if (at > (const uint8_t *)ptr)
                lease_end(ctx, vnode, ptr, (size_t)(at - (const uint8_t *)ptr));
            return -EBUSY;
        }
        pager_drop(node, object);
    }
    r = bring(node, (uint8_t *)ptr - (uintptr_t)ptr % PAGER_PAGE, end);
    if (r < 0)
        lease_end(ctx, vnode, ptr, len);
    return r;
}

/* Its page is on its way back, and waits for the host's memory or for a disk. */
static bool is_stalled(const struct pager_node *node, page_word *word)
{
    return atomic_load(&node->starved) == word ||
           (((node->port != NULL && swap_is_reading(node->port)) ||
             atomic_load(&node->reads_golden)) &&
            page_state(atomic_load(word)) == PAGE_FILLING);
}

/* The content of the page at @at, which was @was, was not wanted any more. @is_out: as of
 * pager_open_lost(). */
static void dropped(struct pager_node *node, uint8_t *at, enum page_state was, uint32_t object,
                    bool is_out)
{
    if (was == PAGE_LOST)
        pager_open_lost(node, at, is_out);
    pager_drop(node, object);
    pager_sub(&node->n.away, was == PAGE_EMPTY);
    pager_add(&node->n.dropped, was == PAGE_EMPTY);
    pager_sub(&node->n.away_zero, was == PAGE_EMPTY && object == STORE_ZERO);
}

/* Return: false where the page at @at is stalled. Otherwise a hole is made, a page filled or an
 * extent made huge, by threads that wait for nobody. */
static bool forget_page(struct pager_node *node, page_word *word, uint8_t *at, bool for_long)
{
    enum page_state was = PAGE_RESIDENT;
    uint32_t object = 0;

    while (!page_forget(word, for_long, &object, &was)) {
        if (is_stalled(node, word))
            return false;
        (void)sched_yield();
    }
    dropped(node, at, was, object, false);
    return true;
}

static size_t forget(void *ctx, struct vnode_id vnode, void *ptr, size_t len, bool for_long)
{
    const struct pager *p = ctx;
    struct pager_node *node = &p->nodes[vnode.v];
    uint8_t *const start = ptr;

    for (size_t done = 0; done < len; done += PAGER_PAGE) {
        page_word *word = word_at(node, start + done);

        if (word != NULL && !forget_page(node, word, start + done, for_long))
            return done;
    }
    return len;
}

/* From forget() on nothing is armed that the file still has. */
static void forgotten(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const struct pager *p = ctx;

    for (const uint8_t *at = ptr, *end = at + len; at < end; at += PAGER_PAGE) {
        page_word *word = word_at(&p->nodes[vnode.v], at);

        if (word != NULL)
            page_unlease(word);
    }
}

static void add_away(void *ctx, struct vnode_id vnode, const void *ptr, size_t n_pages,
                     uint8_t *there)
{
    const struct pager *p = ctx;
    const struct pager_node *node = &p->nodes[vnode.v];

    for (size_t i = 0; i < n_pages; i++) {
        page_word *word = word_at(node, (const uint8_t *)ptr + i * PAGER_PAGE);

        if (word != NULL && page_is_away(atomic_load_explicit(word, memory_order_acquire)))
            there[i] |= 1;
    }
}

/* --- plugged in and out ----------------------------------------------------------------------- */

/* Whether anything of these extents may be there: what is known of them is for that which is. */
static void note_extents(const struct pager_node *node, const uint8_t *ptr, size_t len, bool there)
{
    const struct pager_region *r = region_at(node, ptr);
    const size_t first = (size_t)(ptr - r->backing->host) / PAGER_EXTENT;

    for (size_t k = first; k < first + len / PAGER_EXTENT; k++) {
        if (there)
            atomic_fetch_and(&r->extents[k], (uint8_t)~EXTENT_AWAY);
        else
            atomic_fetch_or(&r->extents[k], EXTENT_AWAY);
    }
}

/* Before anything happened; what stalls later is waited for, which is as long as the fault thread
 * waits. Nobody can begin to touch these pages. */
static int close_pages(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const struct pager *p = ctx;
    struct pager_node *node = &p->nodes[vnode.v];
    uint8_t *const start = ptr;

    for (size_t done = 0; done < len; done += PAGER_PAGE)
        if (is_stalled(node, word_at(node, start + done)))
            return -EBUSY;
    for (size_t done = 0; done < len; done += PAGER_PAGE) {
        page_word *word = word_at(node, start + done);
        enum page_state was = PAGE_RESIDENT;
        uint32_t object = 0;

        while (!page_close(word, &object, &was))
            (void)sched_yield();
        dropped(node, start + done, was, object, true);
    }
    note_extents(node, start, len, false);
    return 0;
}

static void open_pages(void *ctx, struct vnode_id vnode, void *ptr, size_t len)
{
    const struct pager *p = ctx;
    const struct pager_node *node = &p->nodes[vnode.v];
    const uint8_t *const start = ptr;

    note_extents(node, start, len, true);
    for (size_t done = 0; done < len; done += PAGER_PAGE)
        page_open(word_at(node, start + done));
}

const struct guest_mem_dma_ops pager_lease_ops = {
    .begin = lease_begin,
    .end = lease_end,
    .forget = forget,
    .forgotten = forgotten,
    .add_away = add_away,
    .close = close_pages,
    .open = open_pages,
};
