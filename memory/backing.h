/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory file, or a part of one, and its mapping: the host side of a piece of a virtual node's
 * memory. A policy belongs to a range of a file, so nodes that share one have each their own.
 *
 * A node's backings lie side by side in one area of addresses (mem_area), so that a range of the
 * guest's memory is contiguous here, too, whatever it is made of. guest_mem owns both.
 */
#ifndef MEMORY_BACKING_H
#define MEMORY_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/errctx.h"
#include "vmm/topology/topo_plan.h"

enum {
    BACKING_PAGE = 4096,
    BACKING_EXTENT = 2 * 1024 * 1024, /* what a huge page of normal memory holds */
    /* Clearing a huge page costs about what the faults for 1 MiB of normal pages cost. */
    BACKING_HUGE_WORTH = BACKING_EXTENT / 2,
};

/* Addresses without memory. */
struct mem_area {
    uint8_t *start;
    size_t len_bytes;
};

/** mem_area_init() - find room for @len_bytes at a multiple of @align. Return: 0, or the errno of
 *  mmap. */
int mem_area_init(size_t len_bytes, size_t align, struct mem_area *ret_area, struct errctx *ec);

/** mem_area_fini() - give the addresses back, with all that is mapped there. */
void mem_area_fini(struct mem_area *area);

/* Where memory is taken from. */
struct backing_home {
    enum guest_policy policy; /* never AUTO */
    struct idset host_nodes;
};

struct backing {
    const struct topo_plan_backing *plan; /* borrowed: what it is to be */
    int memfd;          /* its own descriptor, of a file that may be others', too ... */
    uint64_t file_off;  /* ... and where this begins in it */
    bool shares_file;
    uint8_t *host; /* NULL: not made. DONTFORK, DONTDUMP */
    size_t len_bytes;
    bool moved;               /* it lives elsewhere than the plan says */
    struct backing_home home; /* the plan's, until it is moved */
};

/**
 * backing_init() - make the memory file, map it, give it its policy. Nothing is touched.
 * @plan: borrowed; outlives the backing.
 * @at:   inside an area, at a multiple of the plan's pages.
 * @keep: other memory of the guest has a policy of its own, and this, which has none, is not to
 *        take it over from the threads that touch it.
 * @ret_backing: filled on success only; release with backing_fini().
 * Pages of a pool are set aside here where the plan says reserve or prealloc; the kernel counts
 * those of all host nodes together.
 * Return: 0 or the errno of the failed step (ENOMEM: the pool has too few free pages).
 */
int backing_init(const struct topo_plan_backing *plan, uint8_t *at, bool keep,
                 struct backing *ret_backing, struct errctx *ec);

/** backing_file_new() - a file of normal memory for several backings, sealed at @len_bytes. Return:
 *  0, or the errno of memfd_create, ftruncate or fcntl. */
int backing_file_new(uint64_t len_bytes, int *ret_fd, struct errctx *ec);

/** backing_init_in() - as backing_init(), for normal memory: its memory is that of @file, which
 *  stays the caller's, from @file_off on, a multiple of BACKING_EXTENT. */
int backing_init_in(const struct topo_plan_backing *plan, uint8_t *at, bool keep, int file,
                    uint64_t file_off, struct backing *ret_backing, struct errctx *ec);

/** backing_file_at() - where byte @off of the backing is in its file. */
static inline off_t backing_file_at(const struct backing *b, uint64_t off)
{
    return (off_t)(b->file_off + off);
}

/** backing_held_bytes() - what the host holds of it, touched or not; of a part of a file what is
 *  there in memory, since only whole files are counted with what is swapped out or set aside. */
uint64_t backing_held_bytes(const struct backing *b);

/** backing_remap() - map a piece of normal memory anew where it belongs; content and policy are the
 *  file's. Return: 0, or the errno of mmap or madvise. */
int backing_remap(const struct backing *b, size_t off, size_t len_bytes, struct errctx *ec);

/** backing_fini() - close the file; the area unmaps it. Nothing happens for a zeroed backing. */
void backing_fini(struct backing *b);

/** backing_page_bytes() - what memory is taken in: a pool's page, else 4 KiB. */
size_t backing_page_bytes(const struct backing *b);

/**
 * backing_take() - have the host give memory for [@off, @off+@len_bytes) now, rounded outwards to
 * whole pages. Content stays. Normal memory: a huge page for an extent of 2 MiB of which half or
 * more is asked for, where one can be had and the plan does not forbid it.
 * Return: 0 or the errno of madvise (ENOMEM: out of memory or of the pool's pages; EINVAL on
 * kernels before 5.14); no sentence.
 */
int backing_take(const struct backing *b, size_t off, size_t len_bytes);

/** backing_aim() - take memory from now on as @home says; what is there stays. Changes no field, so
 *  any thread may, one at a time. Return: 0 or the errno of mbind. */
int backing_aim(const struct backing *b, const struct backing_home *home, struct errctx *ec);

/** backing_aim_home() - the same for the home that it has. */
int backing_aim_home(const struct backing *b, struct errctx *ec);

/* The kernel's choice whether memory files are huge pages. */
#define BACKING_HUGE_CHOICE "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

/** backing_comes_huge() - does the kernel give a memory file with a plan for @pages huge pages by
 *  itself where it is touched? @root: as of kernel_file.h. */
bool backing_comes_huge(const char *root, enum guest_page_kind pages);

/** backing_can_collapse() - does the kernel make huge pages where it is asked to (MADV_COLLAPSE)?
 *  Changes nothing. */
bool backing_can_collapse(void);

/** backing_take_huge() - have the host give the extent of 2 MiB that holds @off as one huge page.
 *  Content stays. Return: 0; -EINVAL where the plan forbids it or the extent is not all in this
 *  backing, or the errno of madvise. */
int backing_take_huge(const struct backing *b, size_t off);

/** backing_reserve() - set all memory aside without touching it. Return: 0 or the errno of
 *  fallocate. */
int backing_reserve(const struct backing *b, struct errctx *ec);

/** backing_give_back() - give the whole pages inside [@off, @off+@len_bytes) back to the host; they
 *  read as zero. Nothing of a backing that is reserved or preallocated goes.
 *  @gone_bytes: grows by what was there before and is not there afterwards.
 *  Return: 0, or the errno of fallocate or mincore. */
int backing_give_back(const struct backing *b, size_t off, size_t len_bytes, uint64_t *gone_bytes);

/** backing_discard() - make all memory zero. Normal pages and those that were not set aside are
 *  given back to the host; the others stay and are cleared. Return: 0, or an errno of fallocate. */
int backing_discard(struct backing *b, struct errctx *ec);

#endif
