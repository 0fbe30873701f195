/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages whose content is lost: nobody reads them as anything, and only who touches one is harmed.
 *
 * Where the kernel has UFFDIO_POISON (Linux 6.6) the page table entry becomes a marker: a vCPU's
 * thread gets SIGBUS with the address (BUS_MCEERR_AR), the kernel's own accesses end with EFAULT.
 * Elsewhere the page is closed by mprotect(2), and KVM_RUN ends with EFAULT, without an address:
 * which page it was is known as long as there is only one. Both go when the guest gives the page
 * back, when its block is plugged out, and at a reset. Whoever unmaps the page (MADV_DONTNEED) takes
 * the marker away, but not the word, by which the next fault is answered in the same way.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "memory/pager/pager_int.h"
#include "memory/pager/uffd.h"
#include "vmm/base/cleanup.h"

const char *pager_lost_how(int error)
{
    switch (error) {
    case EIO:
        return "was damaged in the store";
    case EBADMSG:
        return "was changed in the swap file";
    case EREMOTEIO:
        return "cannot be read from the swap file: its disk has an error";
    case ENODATA:
        return "cannot be read from the swap file, which became shorter or has an error there";
    case EUCLEAN:
        return "was changed in the golden file";
    case ENXIO:
        return "cannot be read from the golden file: its disk has an error";
    case ETIME:
        return "did not come from the golden file in time";
    case ETIMEDOUT:
        return "did not come from the swap file in time";
    default:
        return "cannot be read from the swap file";
    }
}

static size_t page_number(const struct pager_node *node, const struct pager_region *region,
                          size_t page)
{
    for (const struct pager_region *r = node->regions; r < region; r++)
        page += r->n_pages;
    return page;
}

void pager_lost_why(const struct pager_node *node, const struct pager_region *region, size_t page,
                    int error, char *why, size_t size)
{
    (void)snprintf(why, size, "page %zu of virtual node %u %s", page_number(node, region, page),
                   node->vnode.v, pager_lost_how(error));
}

/* --- closed pages ----------------------------------------------------------------------------- */

static size_t find_locked(const struct pager_closed *c, const uint8_t *at)
{
    size_t i = 0;

    while (i < c->n && c->at[i] != at)
        i++;
    return i;
}

static bool close_page(struct pager *p, uint8_t *at)
{
    struct pager_closed *c = &p->closed;
    LOCK_SCOPE(&c->lock);

    if (find_locked(c, at) < c->n) /* or its block was closed and opened since */
        return mprotect(at, PAGER_PAGE, PROT_NONE) == 0;
    if (c->n == PAGER_CLOSED_MAX || mprotect(at, PAGER_PAGE, PROT_NONE) < 0)
        return false;
    c->at[c->n++] = at;
    return true;
}

static void open_page(struct pager *p, uint8_t *at, bool is_out)
{
    struct pager_closed *c = &p->closed;
    LOCK_SCOPE(&c->lock);
    const size_t i = find_locked(c, at);

    if (i < c->n && (is_out || mprotect(at, PAGER_PAGE, PROT_READ | PROT_WRITE) == 0))
        c->at[i] = c->at[--c->n];
}

/* --- */

bool pager_shut(struct pager_node *node, uint8_t *at)
{
    if (node->can_poison) {
        const int r = uffd_poison(node->uffd, at);

        if (r == 0 || r == -EEXIST) /* the marker that is there already */
            return true;
    }
    return close_page(node->pager, at);
}

void pager_open_lost(struct pager_node *node, uint8_t *at, bool is_out)
{
    LOCK_SCOPE(&node->serving);

    open_page(node->pager, at, is_out);
    (void)madvise(at, PAGER_PAGE, MADV_DONTNEED);
}

static int cannot_open(const struct pager_node *node, struct errctx *ec)
{
    return errctx_set_os(ec, errno, "have lost pages of virtual node %u anew", node->vnode.v);
}

int pager_open_all_lost(struct pager_node *node, struct errctx *ec)
{
    struct pager_closed *c = &node->pager->closed;

    if (!atomic_exchange(&node->any_lost, false))
        return 0;
    LOCK_SCOPE(&c->lock);
    for (size_t i = 0; i < node->n_regions; i++) {
        const struct backing *b = node->regions[i].backing;

        /* Each by itself: what was plugged out stays closed. */
        for (size_t k = 0; k < c->n;) {
            if (c->at[k] < b->host || c->at[k] >= b->host + b->len_bytes)
                k++;
            else if (mprotect(c->at[k], PAGER_PAGE, PROT_READ | PROT_WRITE) == 0)
                c->at[k] = c->at[--c->n];
            else
                return cannot_open(node, ec);
        }
        if (madvise(b->host, b->len_bytes, MADV_DONTNEED) < 0)
            return cannot_open(node, ec);
    }
    return 0;
}

bool pager_lost_at(const struct pager *pager, const void *host, char *why, size_t size)
{
    const uint8_t *at = host;

    for (size_t i = 0; i < pager->n_regions; i++) {
        const struct pager_region *r = &pager->regions[i];
        const struct backing *b = r->backing;
        uint64_t word;
        size_t page;

        if (at < b->host || at >= b->host + b->len_bytes)
            continue;
        page = (size_t)(at - b->host) / PAGER_PAGE;
        word = atomic_load(&r->words[page]);
        if (page_state(word) != PAGE_LOST)
            return false;
        pager_lost_why(&pager->nodes[b->plan->vnode.v], r, page, (int)page_object(word), why, size);
        return true;
    }
    return false;
}

bool pager_ever_lost(const struct pager *pager)
{
    for (size_t i = 0; i < pager->n_nodes; i++)
        if (atomic_load(&pager->nodes[i].n.lost) > 0)
            return true;
    return false;
}

size_t pager_closed_pages(struct pager *pager, const void **ret_host)
{
    LOCK_SCOPE(&pager->closed.lock);

    if (pager->closed.n > 0)
        *ret_host = pager->closed.at[0];
    return pager->closed.n;
}
