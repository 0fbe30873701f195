/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of pages that a guest has given away.
 *
 * Two sets of pages, of the size of the guest and no more: what is in the balloon, as the driver
 * says, and what was reported free. Neither says that the host has the memory back, since a page
 * may have been in use at that moment, may be a part of a larger one, or may have been used again;
 * so whoever asks for the account has every page of both looked at.
 *
 * Pages of 2 MiB or 1 GiB from a pool can only go whole: as soon as all 4 KiB pages of one are in
 * the balloon. That is safe only with drivers that tell before they use a page again
 * (VIRTIO_BALLOON_F_MUST_TELL_HOST); for others such memory stays. Reports say nothing about later,
 * so only what one report covers whole goes by reports.
 */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/balloon_int.h"
#include "vmm/base/checked.h"
#include "vmm/base/macros.h"

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint64_t address_of(uint32_t pfn)
{
    return (uint64_t)pfn << VIRTIO_BALLOON_PFN_SHIFT;
}

static bool is_memory(const struct balloon *b, const struct page_map_range *range, uint64_t addr)
{
    struct gpa start;

    return !range->window || guest_mem_page(b->vdev.mem, (struct gpa){ addr }, &start) > 0;
}

/* Return: what the host got. What stays is seen when the account is made. */
static uint64_t give_back(struct balloon *b, uint64_t addr, uint64_t len_bytes, bool for_long)
{
    uint64_t gone = 0;

    (void)guest_mem_give_back(b->vdev.mem, (struct gpa){ addr }, len_bytes, for_long, &gone);
    b->gone_bytes += gone;
    return gone;
}

static void give_back_inflated(struct balloon *b, const struct page_map_range *range, uint64_t addr,
                               uint64_t len_bytes)
{
    b->inflated_bytes[range - b->map.ranges] += give_back(b, addr, len_bytes, true);
}

/* The larger page around @addr, if all of it is in the balloon now. *tried: the last one looked at,
 * so that many pages of it in one request are one look. */
static void give_back_larger(struct balloon *b, const struct page_map_range *range, uint64_t addr,
                             uint64_t *tried)
{
    const uint64_t end = range->base + range->n_pages * PAGE_MAP_BYTES;
    struct gpa start;
    const size_t page = guest_mem_page(b->vdev.mem, (struct gpa){ addr }, &start);

    if (page <= PAGE_MAP_BYTES || start.v == *tried)
        return;
    *tried = start.v;
    if (!virtio_dev_has(&b->vdev, VIRTIO_BALLOON_F_MUST_TELL_HOST) || start.v < range->base ||
        !checked_range(start.v - range->base, page, end - range->base))
        return;
    if (page_set_has_all(&b->in_balloon, page_map_number(range, start.v), page / PAGE_MAP_BYTES))
        give_back_inflated(b, range, start.v, page);
}

void balloon_pages_inflate(struct balloon *b, size_t n)
{
    uint64_t tried = UINT64_MAX;
    size_t i = 0;

    qsort(b->pfns, n, sizeof(b->pfns[0]), compare);
    while (i < n) {
        const uint64_t addr = address_of(b->pfns[i]);
        const struct page_map_range *range = page_map_find(&b->map, addr);
        uint64_t end = addr + PAGE_MAP_BYTES;

        if (range == NULL || !is_memory(b, range, addr)) {
            b->rejected++;
            i++;
            continue;
        }
        page_set_add(&b->in_balloon, page_map_number(range, addr));
        for (i++; i < n && address_of(b->pfns[i]) <= end; i++) {
            if (address_of(b->pfns[i]) < end)
                continue; /* the same page again */
            if (page_map_find(&b->map, end) != range || !is_memory(b, range, end))
                break;
            page_set_add(&b->in_balloon, page_map_number(range, end));
            end += PAGE_MAP_BYTES;
        }
        give_back_inflated(b, range, addr, end - addr);
        give_back_larger(b, range, addr, &tried);
        give_back_larger(b, range, end - PAGE_MAP_BYTES, &tried);
    }
}

void balloon_pages_deflate(struct balloon *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t addr = address_of(b->pfns[i]);
        const struct page_map_range *range = page_map_find(&b->map, addr);

        if (range == NULL)
            b->rejected++;
        else
            page_set_del(&b->in_balloon, page_map_number(range, addr));
    }
}

void balloon_pages_reported(struct balloon *b, const struct balloon_range *r)
{
    const uint64_t first = align_up(r->addr, PAGE_MAP_BYTES);
    const uint64_t end = align_down(r->addr + r->len_bytes, PAGE_MAP_BYTES);
    const struct page_map_range *range = page_map_find(&b->map, first);

    if (range == NULL || first >= end)
        return;
    (void)give_back(b, first, end - first, false);
    for (uint64_t addr = first; addr < end; addr += PAGE_MAP_BYTES)
        page_set_add(&b->reported, page_map_number(range, addr));
}

void balloon_pages_forget(struct balloon *b)
{
    page_set_clear(&b->in_balloon);
    page_set_clear(&b->reported);
    memset(b->inflated_bytes, 0, b->map.n_ranges * sizeof(b->inflated_bytes[0]));
    b->rejected = b->gone_bytes = 0;
}

/* --- the account ------------------------------------------------------------------------------- */

static bool is_empty(const struct balloon *b, uint64_t number, uint64_t n)
{
    for (uint64_t i = number / 64; i <= (number + n - 1) / 64; i++)
        if ((b->in_balloon.words[i] | b->reported.words[i]) != 0)
            return false;
    return true;
}

static void count_page(struct balloon *b, uint64_t number, bool there, struct balloon_node *node)
{
    if (there)
        page_set_del(&b->reported, number); /* used again, or it never went */
    if (page_set_has(&b->in_balloon, number))
        *(there ? &node->kept_bytes : &node->ballooned_bytes) += PAGE_MAP_BYTES;
    else if (page_set_has(&b->reported, number))
        node->reported_bytes += PAGE_MAP_BYTES;
}

static int count_range(struct balloon *b, const struct page_map_range *range,
                       struct balloon_node *node)
{
    for (uint64_t done = 0; done < range->n_pages; done += BALLOON_WINDOW_PAGES) {
        const uint64_t n = MIN(range->n_pages - done, (uint64_t)BALLOON_WINDOW_PAGES);
        const struct gpa addr = { range->base + done * PAGE_MAP_BYTES };
        int r;

        if (is_empty(b, range->first + done, n))
            continue;
        r = guest_mem_present(b->vdev.mem, addr, n, b->there);
        if (r == -EFAULT && range->window)
            continue; /* unplugged since: it is not the balloon's any more */
        if (r < 0)
            return r;
        for (uint64_t i = 0; i < n; i++)
            count_page(b, range->first + done + i, b->there[i] & 1, node);
    }
    return 0;
}

int balloon_pages_account(struct balloon *b, struct balloon_node *nodes, uint32_t n_nodes)
{
    int r = 0;

    memset(nodes, 0, n_nodes * sizeof(*nodes));
    for (size_t i = 0; r == 0 && i < b->map.n_ranges; i++) {
        const uint32_t vnode = b->map.ranges[i].vnode.v;

        if (vnode >= n_nodes)
            continue;
        nodes[vnode].returned_bytes += b->inflated_bytes[i];
        r = count_range(b, &b->map.ranges[i], &nodes[vnode]);
    }
    return r;
}

/* --- saved state: the balloon's pages. What was reported is a matter of this host's memory. ------ */

void balloon_pages_save(const struct balloon *b, struct snapshot_writer *w)
{
    const struct page_set *set = &b->in_balloon;
    uint64_t n = 0;

    for (size_t i = 0; i < set->n_words; i++)
        n += set->words[i] != 0;
    snapshot_put_u64(w, n);
    for (size_t i = 0; i < set->n_words; i++) {
        if (set->words[i] == 0)
            continue;
        snapshot_put_u64(w, i);
        snapshot_put_u64(w, set->words[i]);
    }
}

/* The bits of word @i that stand for pages. */
static uint64_t valid_bits(const struct page_map *map, uint64_t i)
{
    for (size_t k = 0; k < map->n_ranges; k++) {
        const struct page_map_range *range = &map->ranges[k];
        const uint64_t in_range = i * 64 - range->first;

        if (i * 64 >= range->first && in_range < range->n_pages)
            return range->n_pages - in_range >= 64 ? ~0ull
                                                   : (1ull << (range->n_pages - in_range)) - 1;
    }
    return 0;
}

int balloon_pages_load(struct balloon *b, struct snapshot_reader *r, struct errctx *ec)
{
    const uint64_t n = snapshot_get_u64(r);
    uint64_t next = 0;

    page_set_clear(&b->in_balloon);
    page_set_clear(&b->reported);
    for (uint64_t k = 0; k < n && snapshot_reader_ok(r); k++) {
        const uint64_t i = snapshot_get_u64(r), word = snapshot_get_u64(r);

        if (!snapshot_reader_ok(r))
            break;
        if (i < next || i >= b->in_balloon.n_words || (word & ~valid_bits(&b->map, i)) != 0)
            return errctx_set(ec, EINVAL, "%s: a saved balloon has pages that are no RAM",
                              b->vdev.name);
        b->in_balloon.words[i] = word;
        next = i + 1;
    }
    return snapshot_reader_ok(r) ? 0 : errctx_set(ec, EINVAL, "%s: the saved balloon is cut off",
                                                  b->vdev.name);
}
