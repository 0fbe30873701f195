/* SPDX-License-Identifier: Apache-2.0 */
/* See residency.h. */
#include "memory/residency.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/numa_policy.h"
#include "memory/page_table.h"
#include "vmm/base/cleanup.h"
#include "vmm/base/macros.h"

enum {
    PAGE_BYTES = 4096,
    HUGE_BYTES = 2 * MIB,
    HUGE_PAGES = HUGE_BYTES / PAGE_BYTES,
    WINDOW_BYTES = RESIDENCY_WINDOW_BYTES,
    WINDOW_PAGES = WINDOW_BYTES / PAGE_BYTES,
};

/* One stretch of memory under the glass; on the heap. */
struct window {
    const struct backing *backing;
    int pagemap;
    struct residency *res;
    uint8_t *at; /* a mapping of our own */
    size_t n;    /* pages in it */
    unsigned char there[WINDOW_PAGES];
    uint64_t map[WINDOW_PAGES];
    void *ask[WINDOW_PAGES];
    int node[WINDOW_PAGES];
    uint32_t pages[WINDOW_PAGES]; /* that the question stands for */
    size_t n_ask;
};

int residency_open(void)
{
    return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static void count(struct residency *res, int node, uint64_t page_bytes)
{
    struct residency_node *n;

    if (numa_policy_is_gone(node))
        return;
    if (node < 0 || node >= RESIDENCY_NODES) {
        res->unknown_bytes += page_bytes;
        return;
    }
    n = &res->node[node];
    n->pages_4k += page_bytes == PAGE_BYTES;
    n->pages_2m += page_bytes == HUGE_BYTES;
    n->pages_1g += page_bytes == GIB;
    res->present_bytes += page_bytes;
    res->n_nodes = MAX(res->n_nodes, (uint32_t)node + 1);
}

static int ask_nodes(struct window *w, struct errctx *ec)
{
    int r = w->n_ask > 0 ? numa_policy_locate(w->ask, w->n_ask, w->node, ec) : 0;

    for (size_t i = 0; r == 0 && i < w->n_ask; i++)
        count(w->res, w->node[i], (uint64_t)w->pages[i] * PAGE_BYTES);
    w->n_ask = 0;
    return r;
}

static void ask(struct window *w, void *page, uint32_t pages)
{
    w->ask[w->n_ask] = page;
    w->pages[w->n_ask++] = pages;
}

/* Is every page of the extent at @first there? */
static bool is_full(const struct window *w, size_t first)
{
    for (size_t i = first; i < first + HUGE_PAGES; i++)
        if (i >= w->n || (w->there[i] & 1) == 0)
            return false;
    return true;
}

/* Map the last page of every full extent, and see in ->map what came with it. */
static void find_huge(struct window *w)
{
    for (size_t i = 0; i < w->n; i += HUGE_PAGES)
        if (is_full(w, i))
            (void)madvise(w->at + (i + HUGE_PAGES - 1) * PAGE_BYTES, PAGE_BYTES,
                          MADV_POPULATE_READ);
    if (!page_table_read(w->pagemap, w->at, w->n, w->map))
        memset(w->map, 0, w->n * sizeof(w->map[0]));
}

/* Map what is there of the extent at @first, and nothing else. */
static int map_present(struct window *w, size_t first, struct errctx *ec)
{
    const size_t end = MIN(first + HUGE_PAGES, w->n);

    for (size_t i = first; i < end;) {
        size_t run = i;

        while (run < end && (w->there[run] & 1) != 0)
            ask(w, w->at + run++ * PAGE_BYTES, 1);
        if (run > i && madvise(w->at + i * PAGE_BYTES, (run - i) * PAGE_BYTES,
                               MADV_POPULATE_READ) < 0)
            return errctx_set_os(ec, errno, "look at pages: madvise");
        i = run + (run == i);
    }
    return 0;
}

static int scan_window(struct window *w, struct errctx *ec)
{
    if (mincore(w->at, w->n * PAGE_BYTES, w->there) < 0)
        return errctx_set_os(ec, errno, "mincore");
    find_huge(w);
    for (size_t i = 0; i < w->n; i += HUGE_PAGES) {
        int r = 0;

        if (is_full(w, i) && page_table_has(w->map[i]))
            ask(w, w->at + i * PAGE_BYTES, HUGE_PAGES);
        else
            r = map_present(w, i, ec);
        if (r < 0)
            return r;
    }
    return ask_nodes(w, ec);
}

static int scan_normal(struct window *w, const struct residency_pick *pick, struct errctx *ec)
{
    const struct backing *b = w->backing;
    struct mem_area area;
    int r = mem_area_init(WINDOW_BYTES, HUGE_BYTES, &area, ec);

    if (r < 0)
        return r;
    for (size_t off = (size_t)pick->first * WINDOW_BYTES; r == 0 && off < b->len_bytes;
         off += (size_t)pick->every * WINDOW_BYTES) {
        const size_t len = MIN((size_t)WINDOW_BYTES, b->len_bytes - off);

        if (pick->go_on != NULL && !pick->go_on(pick->ctx)) {
            r = errctx_set(ec, ECANCELED, "told to stop counting pages");
            break;
        }
        w->n = len / PAGE_BYTES;
        w->at = mmap(area.start, len, PROT_READ, MAP_SHARED | MAP_FIXED, b->memfd,
                     backing_file_at(b, off));
        r = w->at == MAP_FAILED ? errctx_set_os(ec, errno, "map %zu bytes", len)
                                : scan_window(w, ec);
    }
    mem_area_fini(&area);
    return r;
}

static int scan_pool(struct window *w, struct errctx *ec)
{
    const size_t page = backing_page_bytes(w->backing);
    int r = 0;

    for (size_t off = 0; r == 0 && off < w->backing->len_bytes; off += page) {
        ask(w, w->backing->host + off, (uint32_t)(page / PAGE_BYTES));
        if (w->n_ask == WINDOW_PAGES)
            r = ask_nodes(w, ec);
    }
    return r < 0 ? r : ask_nodes(w, ec);
}

int residency_scan_part(const struct backing *b, int pagemap, const struct residency_pick *pick,
                        struct residency *ret_residency, struct errctx *ec)
{
    CLEANUP_FREE struct window *w = calloc(1, sizeof(*w));
    CLEANUP_FREE struct residency *res = calloc(1, sizeof(*res));
    uint64_t taken;
    int r;

    if (w == NULL || res == NULL)
        return errctx_set(ec, ENOMEM, "no memory to count pages");
    w->backing = b;
    w->pagemap = pagemap;
    w->res = res;
    r = guest_page_bytes(b->plan->pages) > 0 ? scan_pool(w, ec) : scan_normal(w, pick, ec);
    if (r < 0)
        return r;
    taken = res->present_bytes + res->unknown_bytes;
    if (guest_page_bytes(b->plan->pages) > 0) /* a pool's reservation is no page of the file yet */
        res->reserved_bytes = b->plan->reserve || b->plan->prealloc ? b->len_bytes - taken : 0;
    else
        res->reserved_bytes = backing_held_bytes(b) - MIN(backing_held_bytes(b), taken);
    *ret_residency = *res;
    return 0;
}

int residency_scan(const struct backing *b, int pagemap, struct residency *ret_residency,
                   struct errctx *ec)
{
    static const struct residency_pick all = { .every = 1 };

    return residency_scan_part(b, pagemap, &all, ret_residency, ec);
}
