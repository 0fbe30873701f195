/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One memfd and its mapping: the host side of a virtual node's memory.
 */
#ifndef MEMORY_BACKING_H
#define MEMORY_BACKING_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"
#include "vmm/base/ids.h"
#include "vmm/base/idset.h"

struct backing {
    struct vnode_id vnode;
    int memfd;
    uint8_t *host; /* DONTFORK, DONTDUMP */
    size_t len_bytes;
};

/**
 * backing_init() - make the memfd, map it, bind it. Nothing is touched.
 * @host_nodes: empty: no policy of our own.
 * @ret_backing: filled on success only; release with backing_fini().
 * Return: 0 or the errno of the failed step.
 */
int backing_init(struct vnode_id vnode, const struct idset *host_nodes, size_t len_bytes,
                 struct backing *ret_backing, struct errctx *ec);

/** backing_fini() - unmap and close; nothing happens for a zeroed backing. */
void backing_fini(struct backing *b);

/** backing_prealloc() - take all memory from the host, in pages of 2 MiB where it has them;
 *  content stays. Return: 0 or the errno of madvise. */
int backing_prealloc(struct backing *b, struct errctx *ec);

/* Part of a backing's mapping. */
struct backing_span {
    uint8_t *start, *end;
};

/**
 * backing_take() - have the host give memory for [@start, @start+@len_bytes) now: a huge page for
 * an extent of 2 MiB of which half or more is asked for, where huge pages can be had, else normal
 * pages.
 * @start:  page-aligned, inside a backing's mapping.
 * @around: no huge page reaches beyond it; holds all that is asked for.
 * Return: 0 or the errno of madvise (ENOMEM, or EINVAL on kernels before 5.14); no sentence.
 */
int backing_take(uint8_t *start, size_t len_bytes, const struct backing_span *around);

/** backing_discard() - give all pages back to the host. Return: 0 or the errno of fallocate. */
int backing_discard(struct backing *b, struct errctx *ec);

#endif
