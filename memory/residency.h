/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the pages of a backing really are, counted without stopping the guest, without moving or
 * taking a page, and without asking our own plan.
 *
 * Normal memory is looked at through a mapping of its own, 32 MiB at a time, because the guest's
 * may lack a page that is there (nobody touched it through that mapping, or somebody took it out of
 * the page table). mincore(2) tells from the page cache which pages are there; those alone are
 * mapped, for reading, which takes nothing; then move_pages(2) tells their nodes. A whole 2 MiB is
 * one huge page when mapping its last page maps its first one, too, as /proc/self/pagemap then
 * says: small pages come at most sixteen at a time. Pages of a pool are only ever taken by touching
 * them through the guest's mapping, so it is asked itself.
 *
 * A page that is given back between the first and the second look is taken again as zeroes: who
 * scans forbids that (guest_mem_pages_stay()). One that was only set aside (fallocate)
 * is not "there" for mincore; it counts as reserved.
 */
#ifndef MEMORY_RESIDENCY_H
#define MEMORY_RESIDENCY_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/backing.h"
#include "vmm/base/errctx.h"

enum { RESIDENCY_NODES = 1024 }; /* the most host nodes that Debian's kernels know */

struct residency_node {
    uint64_t pages_4k, pages_2m, pages_1g;
};

struct residency {
    uint32_t n_nodes;       /* highest host node with a page, and one */
    uint64_t present_bytes; /* sum of all pages below */
    uint64_t reserved_bytes; /* set aside and not yet used, wherever that is */
    uint64_t unknown_bytes; /* there, but moved or locked at the moment of asking */
    struct residency_node node[RESIDENCY_NODES];
};

/**
 * residency_open() - what residency_scan() needs of /proc; before the sandbox.
 * Return: a descriptor, or -1 where there is no pagemap: huge pages then count as small ones.
 */
int residency_open(void);

/**
 * residency_scan() - count the pages of @b.
 * @pagemap: from residency_open().
 * @ret_residency: filled on success only; large, keep it off the stack.
 * Any thread; costs about a microsecond for four pages of 4 KiB.
 * Return: 0, -ENOMEM, or the errno of mmap, mincore, madvise, or move_pages.
 */
int residency_scan(const struct backing *b, int pagemap, struct residency *ret_residency,
                   struct errctx *ec);

/* A part of a backing, for who looks often: memory is looked at in windows of 32 MiB. */
struct residency_pick {
    uint32_t every, first;    /* window first, first + every, ...; pages of a pool: all of them */
    bool (*go_on)(void *ctx); /* called before each window; false: stop. NULL: never stop */
    void *ctx;
};

/** residency_scan_part() - as residency_scan(), of a part. What was left out is in none of the
 *  counts but reserved_bytes. Return: also -ECANCELED. */
int residency_scan_part(const struct backing *b, int pagemap, const struct residency_pick *pick,
                        struct residency *ret_residency, struct errctx *ec);

enum { RESIDENCY_WINDOW_BYTES = 32 << 20 };

#endif
