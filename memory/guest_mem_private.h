/* SPDX-License-Identifier: Apache-2.0 */
/* The struct behind memory/guest_mem.h, for the files that implement it. */
#ifndef MEMORY_GUEST_MEM_PRIVATE_H
#define MEMORY_GUEST_MEM_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "memory/guest_mem.h"
#include "memory/mem_holds.h"
#include "memory/mem_load.h"

/* One range of RAM, which KVM maps as a slot, or a window for memory that is plugged in later. */
struct guest_mem_range {
    struct vnode_id vnode;
    uint64_t base, len;
    uint8_t *host;
    size_t off; /* of ->host in its node's area */
    struct mem_holds *holds;
    _Atomic uint64_t leases;
    _Atomic uint64_t *plugged; /* a window's: bit per block; changed while pages stay. NULL: RAM */
    uint64_t block_bytes;
};

struct guest_mem {
    const struct topo_plan *plan;
    const struct mem_layout *layout;
    struct mem_area *areas;          /* one per virtual node; empty where it has no memory */
    struct mem_holds *holds;         /* one per virtual node, over its area */
    struct topo_plan_backing *plain; /* for nodes of which the plan lists no backings */
    size_t n_plain;
    struct backing *backings; /* by node and offset */
    size_t n_backings;
    int file; /* of all normal RAM where the plan wants one file, else -1 */
    uint64_t file_used;
    struct guest_mem_range *slots; /* RAM by ascending base, then windows, which lie above */
    size_t n_slots, n_windows;
    struct mem_load load;
    const struct guest_mem_dma_ops *dma_ops; /* NULL: nobody wants to know */
    void *dma_ctx;
    struct guest_mem_pages *pages;
};

/* Held while pages are given back, or must not be. A move takes it extent after extent, and a mutex
 * is had again by who let it go before anybody who waits is awake: so who asks holds the turn. */
struct guest_mem_pages {
    pthread_mutex_t lock, turn;
};

static inline void guest_mem_pages_scope_end(const struct guest_mem **mem)
{
    guest_mem_pages_may_go(*mem);
}

/* guest_mem_pages_stay() until the end of the scope. */
#define PAGES_SCOPE(mem)                                                                           \
    __attribute__((cleanup(guest_mem_pages_scope_end), unused))                                    \
    const struct guest_mem *pages_scope_held_ = (mem);                                             \
    guest_mem_pages_stay(pages_scope_held_)

/** guest_mem_find() - the range that holds @addr, plugged in or not, or NULL. */
struct guest_mem_range *guest_mem_find(struct guest_mem *mem, uint64_t addr);

/** guest_mem_usable() - how much of [@addr, @addr+@len) from its begin on is memory of @range,
 * which holds @addr. May change as memory is unplugged, unless it is leased. */
uint64_t guest_mem_usable(const struct guest_mem_range *range, uint64_t addr, uint64_t len);

/** guest_mem_make_file() - the file that all nodes share, where the plan wants one. Return: 0 or as
 *  backing_file_new(). */
int guest_mem_make_file(struct guest_mem *mem, struct errctx *ec);

/** guest_mem_put() - as backing_init(), in that file if @plan is of RAM that goes there. */
int guest_mem_put(struct guest_mem *mem, const struct topo_plan_backing *plan, uint8_t *at,
                  bool keep, struct backing *ret_backing, struct errctx *ec);

/** guest_mem_first_part() - how much of [@addr, @addr+@len) lies in the range and in the backing of
 *  its first byte. 0, results untouched: there is no RAM. */
size_t guest_mem_first_part(struct guest_mem *mem, uint64_t addr, size_t len,
                            struct guest_mem_range **ret_range, const struct backing **ret_backing);

/** guest_mem_forget_plugged() - no block is plugged in, and all are closed in the guest's mapping.
 *  Memory has been given back before. Return: 0, or the errno of mprotect. */
int guest_mem_forget_plugged(struct guest_mem *mem, struct errctx *ec);

/** guest_mem_is_ram() - all of [@addr, @addr+@len)? */
bool guest_mem_is_ram(struct guest_mem *mem, uint64_t addr, size_t len);

#endif
