/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paging a guest's memory to a store on the same host nodes, and back when it is touched. How a
 * page lives is in page_word.h, the whole in docs/overcommit.md.
 *
 * Where the kernel gives guest memory huge pages by itself a virtual node costs nothing until memory
 * of it is evicted for the first time: then, elsewhere from the start (pager_make_huge()), its
 * memory is registered with a userfaultfd of its own, and every fault in it that the kernel cannot
 * serve from the page table goes to the node's fault thread, which must run as long as anybody may
 * touch guest memory. Threads are the caller's: one in pager_serve() for each node, one in
 * pager_evict().
 */
#ifndef MEMORY_PAGER_PAGER_H
#define MEMORY_PAGER_PAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/guest_mem.h"
#include "memory/store/domain/domain_client.h"
#include "memory/store/store.h"
#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"

struct pager;

struct pager_params {
    struct guest_mem *mem; /* borrowed; outlives the pager, which gives it lease functions */
    /* The host has no memory for a page of @vnode, or one that is lost cannot be kept from who
     * touches it, and @why says which: have no vCPU enter the guest any more before this returns.
     * The page may read as zeroes then. The fault thread, or the one that evicts. */
    void (*lost)(void *ctx, struct vnode_id vnode, const char *why);
    /* Does somebody wait for the thread that evicts? Then it puts off what waits for a disk. Any
     * thread; NULL: never. */
    bool (*hurry)(void *ctx);
    void *ctx;
    uint32_t budget_milli; /* thousandths of a CPU that pager_look(), pager_pack() and
                              pager_domain() may take, faults that looking causes included */
    uint64_t store_bytes;  /* host memory that all stores may take, tables included; 0: as much as
                              the guest has. A store has the share of its nodes' memory; one that a
                              move makes for a node alone has that node's. */
    struct swap *swap;     /* where what has been kept for long, or has no room, goes; borrowed;
                              NULL: nowhere */
    struct golden *golden; /* pages that need not be kept; borrowed; NULL: none */
    struct domain_client *domain; /* who else may have them; borrowed; NULL: nobody */
};

/**
 * pager_new() - descriptors, tables and empty stores for all virtual nodes that have memory. Before
 * the sandbox, and before any lease.
 * Return: 0; -ENOTSUP (memory from a pool, or reserved); the errno of uffd_open(), store_new() or
 * swap_port_new().
 */
int pager_new(const struct pager_params *params, struct pager **ret_pager, struct errctx *ec);

/** pager_free() - close all: what is away reads as zeroes from now on. After all threads that touch
 *  guest memory. NULL is allowed. */
void pager_free(struct pager *pager);

/** pager_pageable() - whether all memory of @plan is. Pure. Return: 0, -ENOTSUP with a sentence. */
int pager_pageable(const struct topo_plan *plan, struct errctx *ec);

/** pager_serve() - serve faults of @vnode until @quit_fd can be read. Returns at once for a node
 *  without memory. The node's only fault thread. */
void pager_serve(struct pager *pager, struct vnode_id vnode, int quit_fd);

struct pager_evict_ops {
    /* Now and then, with no page half-way. Return: false to stop. */
    bool (*between)(void *ctx, uint64_t evicted_bytes);
};

/**
 * pager_evict() - take @want_bytes of @vnode's memory away, once around it at most, from where the
 * last time ended. What the guest touches while it is looked at stays.
 * @ret_evicted_bytes: what left the memory file; filled after failures, too. What the store took
 * for it is in pager_count(). Not two at a time, and not while memory is moved to other nodes.
 * Return: 0, also when less could be had; -ENOSPC: the store is full; -ENOENT: the node has no
 * memory; an errno of userfaultfd, madvise, pread or fallocate.
 */
int pager_evict(struct pager *pager, struct vnode_id vnode, uint64_t want_bytes,
                const struct pager_evict_ops *ops, void *ctx, uint64_t *ret_evicted_bytes,
                struct errctx *ec);

/**
 * pager_mend() - extents whose pages came back one by one become huge pages again, for @cpu_ns of
 * this thread's CPU time or a little more than that. The thread that evicts.
 * Return: whether there is more to do.
 */
bool pager_mend(struct pager *pager, uint64_t cpu_ns);

/**
 * pager_look() - find out what of a node's memory is in use: see which samples of the last call
 * were touched, take new ones, as many as the budget has CPU time for since then. For nodes that
 * have a target and are near it, and those of which memory was evicted and that have none. The
 * thread that evicts, some times a second.
 * @now_ns: any clock that does not go back.
 */
void pager_look(struct pager *pager, uint64_t now_ns);

/**
 * pager_pack() - have what has been in the stores for more than some seconds take less room, what
 * has been there for minutes leave for the swap, and give the host what became free, as far as the
 * budget goes. The thread that evicts, some times a second; whichever of this and pager_look() is
 * called first gets what there is.
 * @now_ns: as of pager_look().
 */
void pager_pack(struct pager *pager, uint64_t now_ns);

/**
 * pager_domain() - talk with the host service, where there is one, about what other machines of the
 * trust domain keep, too, as far as the budget goes. Waits for nobody. The thread that evicts, some
 * times a second.
 * @now_ns: as of pager_look().
 */
void pager_domain(struct pager *pager, uint64_t now_ns);

/*
 * A page whose copy cannot be read, or is not what was kept, is lost: accesses fail. KVM_RUN of a
 * vCPU that touches it ends, with SIGBUS (BUS_MCEERR_AR) where the kernel can poison pages, else
 * with EFAULT, of PAGER_CLOSED_MAX pages at most; guest_mem's functions and system calls fail. So
 * it stays until it is given back, or a reset.
 */

enum { PAGER_CLOSED_MAX = 1024 /* each cuts a mapping in two, of which a process has 65,530 */ };

/** pager_lost_at() - is the page of guest memory at @host lost? Any thread.
 *  @why: if so, a sentence: which page, and what happened to its copy. */
bool pager_lost_at(const struct pager *pager, const void *host, char *why, size_t size);

/** pager_ever_lost() - was any page lost since the start? Any thread. */
bool pager_ever_lost(const struct pager *pager);

/** pager_closed_pages() - how many pages are lost of which EFAULT tells; one of them, or untouched.
 *  Any thread. */
size_t pager_closed_pages(struct pager *pager, const void **ret_host);

/**
 * pager_make_huge() - from now on the first touch of 2 MiB brings all of them, and what is complete
 * becomes a huge page (pager_mend()): of nodes whose memory may be huge pages and gets none from the
 * kernel by itself. Before guest memory is touched by others than who calls, with all threads of
 * pager_serve() there; after pager_reset() again.
 * Return: 0 or the errno of uffd_register().
 */
int pager_make_huge(struct pager *pager, struct errctx *ec);

/** pager_watches() - are faults in @vnode's memory told to its fault thread? It begins with the
 *  first eviction, and with pager_make_huge(). Any thread. */
bool pager_watches(const struct pager *pager, struct vnode_id vnode);

/** pager_watches_any() - those of any node? Any thread. */
bool pager_watches_any(const struct pager *pager);

/** pager_active() - was anything evicted since the start or a reset, or has a node a target? Any
 *  thread. */
bool pager_active(const struct pager *pager);

struct pager_follow_ops {
    /* After each part. Return: false to leave the rest where it is. */
    bool (*between)(void *ctx, uint64_t done_bytes);
};

/**
 * pager_follow() - memory of @vnode is on host node @to now: what is evicted from now on is kept
 * there, too. A store that no other node uses goes there with all that it has, as far as there is
 * room; who shared one gets one of its own, and what it has in the other stays there until it comes
 * back. On failure pages go to where they went.
 * Not while memory is evicted.
 * Return: 0; -ENOMEM, or the errno of mmap or mbind.
 */
int pager_follow(struct pager *pager, struct vnode_id vnode, struct hnode_id to,
                 const struct pager_follow_ops *ops, void *ctx, struct errctx *ec);

#define PAGER_NO_TARGET UINT64_MAX

/** pager_set_target() - how much of @vnode's memory may stay, in bytes; or PAGER_NO_TARGET. Any
 *  thread. */
void pager_set_target(struct pager *pager, struct vnode_id vnode, uint64_t bytes);

/**
 * pager_evict_cold() - a piece of the way to the nodes' targets: what was in use least and longest
 * ago goes first, in whole extents, at most some MiB of each node. What pager_look() finds in use
 * at half of its looks or more stays, and so does an extent that is touched meanwhile; where that
 * is all, a target is missed. The thread that evicts, as pager_evict(), some times a second.
 * Return: 0 or the errno of pager_evict(), with the sentence of the node that failed.
 */
int pager_evict_cold(struct pager *pager, struct errctx *ec);

/** pager_reset() - nothing is away any more, and nothing faults until the next eviction. Guest
 *  memory is to be discarded next. While nobody touches it. */
int pager_reset(struct pager *pager, struct errctx *ec);

enum { PAGER_BUCKETS = 24 };

/* Since the start, but for the first two. */
struct pager_counts {
    uint64_t away_pages;      /* that are evicted now */
    uint64_t away_zero_pages; /* of them, zeroes */
    uint64_t evicted_pages;
    uint64_t cancelled_pages; /* touched while they were being evicted */
    uint64_t filled_pages;    /* brought back */
    uint64_t dropped_pages;   /* given back or plugged out by the guest while they were away */
    uint64_t ahead_pages;     /* of them, before they were asked for */
    uint64_t faults;          /* all that the thread was told of */
    uint64_t first_touches;
    uint64_t taken_extents; /* of 2 MiB, of them, that came as one huge page */
    uint64_t strange_pages; /* that somebody else had filled a hole with */
    uint64_t lost_pages;
    uint64_t target_bytes; /* PAGER_NO_TARGET: none */
    uint64_t mended_extents;            /* of 2 MiB that became huge pages again */
    uint64_t samples, rounds;           /* that pager_look() took */
    uint64_t protected_samples;         /* of them, by uffd_protect() */
    bool can_protect;                   /* is there such a thing? */
    uint64_t regions;                   /* now: pieces of memory that are alike in use */
    uint64_t hot_bytes, warm_bytes, cold_bytes; /* by the last round; of what is not evicted */
    uint64_t mend_cpu_ns;               /* of making huge pages */
    uint64_t look_cpu_ns;               /* of pager_look() and the faults that it causes */
    uint64_t pack_cpu_ns;               /* of pager_pack(), for all nodes */
    uint64_t domain_cpu_ns;             /* of pager_domain(), for all nodes */
    uint64_t evict_cpu_ns;              /* of the thread that evicts */
    uint64_t fault_ns[PAGER_BUCKETS];   /* faults that took [2^i, 2^(i+1)) ns from read to answer */
    struct store_counts store;          /* of all nodes that share it */
};

/** pager_count() - false for a node without memory. Any thread. */
bool pager_count(struct pager *pager, struct vnode_id vnode, struct pager_counts *ret_counts);

/** pager_fault_ns() - the time within which @permille of the faults were answered; 0: none yet.
 *  Pure. */
uint64_t pager_fault_ns(const struct pager_counts *counts, unsigned permille);

#endif
