/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node whose memory is slow: its pages are taken out of the page table, KVM's tables follow, and
 * who touches one waits (docs/lab.md). What is in the pages does not change, and nobody is lied to
 * about it: only time passes.
 *
 * The thread that serves the node answers each touch, by userfaultfd for minor faults, when its time
 * has come (memory/policy/slow.h); it takes pages out one by one, at random, of those in use.
 *
 * Without userfaultfd the kernel serves touches by itself, and what that costs is all that they are
 * charged. Pages are taken out as fast as it takes, many at a time; which came back is read from the
 * process's pagemap.
 *
 * What other processes do with the memory file by mappings of their own is not seen and not slowed.
 */
#ifndef MEMORY_SLOW_NODE_H
#define MEMORY_SLOW_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/policy/slow.h"
#include "vmm/base/errctx.h"

/* Normal memory, mapped shared from a memory file of its own. */
struct slow_range {
    uint8_t *host;
    size_t len_bytes; /* of whole pages */
    int memfd;        /* borrowed */
};

struct slow_params {
    const struct slow_range *ranges; /* copied */
    size_t n_ranges;
    uint32_t factor_milli;
    uint32_t max_users;    /* threads that may touch the memory at a time, at least 1 */
    struct slow_cost cost;
};

struct slow_node;

/**
 * slow_node_new() - what it takes to serve a node; it is not slow yet.
 * @uffd: of uffd_open(), taken over on success; -1: without userfaultfd, ->cost charges nothing then.
 * Return: 0, -ENOMEM; without userfaultfd as open() of /proc/self/pagemap.
 */
int slow_node_new(const struct slow_params *params, int uffd, struct slow_node **ret_node,
                  struct errctx *ec);
/** slow_node_free() - NULL is allowed. */
void slow_node_free(struct slow_node *node);

/**
 * slow_node_serve() - the memory is slow until @quit_fd can be read. One thread, which never touches
 * the memory itself, and has had place_wake_sharply(). Everybody who waits is let go at the end.
 * Return: 0; the errno of userfaultfd, when it has not begun.
 */
int slow_node_serve(struct slow_node *node, int quit_fd, struct errctx *ec);

struct slow_counts {
    uint64_t charged;   /* touches that had to wait */
    uint64_t spared;    /* ... that were answered at once */
    uint64_t waited_ns; /* by those that had to */
    uint64_t spared_ns; /* by those, until they were */
    uint64_t taken;     /* pages that were taken out */
    uint64_t in_use;    /* pages, as far as known now */
    uint32_t users;     /* threads that use the node at a time, as it seems */
};

/** slow_node_count() - since the start. Any thread. */
void slow_node_count(const struct slow_node *node, struct slow_counts *ret_counts);

#endif
