/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A golden file: pages that everybody may know, of published images, which a store need not keep.
 *
 * What many guests have in memory because they were started from the same image is in one file,
 * which all machines of a host read through its page cache. A page that goes away and is in the
 * file costs its machine an object of the store and no copy. What is in it was decided
 * before they came, so no machine learns by it what others keep; how fast a page comes may tell that
 * somebody read it lately.
 *
 * The index is checked as a whole when the file is opened. Two to three bytes a page of it stay in memory,
 * and tell of nearly all pages that they are not there; entries and pages are read when they are
 * needed. It is not mapped: what happened to the file or its disk meanwhile then is an error, not a
 * signal.
 *
 * Any thread; nothing changes after golden_open(), and nothing allocates.
 */
#ifndef MEMORY_STORE_GOLDEN_H
#define MEMORY_STORE_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct golden;

/* Where a page is. */
struct golden_place {
    uint32_t at; /* in units of GOLDEN_UNIT */
    uint16_t len;
    uint8_t kind; /* enum codec_kind */
};

struct golden_hash {
    uint64_t low, high;
};

struct golden_counts {
    uint64_t pages;       /* different ones, without zeroes */
    uint64_t image_bytes; /* that they are of */
    uint64_t file_bytes;
};

/**
 * golden_open() - read and check the index of @path. Before the sandbox.
 * Return: 0; -EINVAL: it is no golden file, or its header or index are damaged; -ENOMEM; an errno
 * of open, fstat or read.
 */
int golden_open(const char *path, struct golden **ret_golden, struct errctx *ec);

/** golden_open_fd() - the same of @fd, which is taken in any case. @path: for sentences. */
int golden_open_fd(int fd, const char *path, struct golden **ret_golden, struct errctx *ec);

/** golden_set_readers() - from now on who reads a page waits SWAP_DEADLINE_S for it at most; up to
 *  @n threads at a time. Once, before the sandbox. Return: 0 or as golden_pool_new(). */
int golden_set_readers(struct golden *golden, size_t n, struct errctx *ec);

/** golden_close() - NULL is allowed. */
void golden_close(struct golden *golden);

/** golden_hash() - of a page. Pure. */
struct golden_hash golden_hash(const void *page);

/** golden_find() - is @page, whose hash is @hash, there, by all of its bytes? What cannot be
 *  read, or is damaged, is not. May read the disk. */
bool golden_find(struct golden *golden, const void *page, struct golden_hash hash,
                 struct golden_place *ret_place);

/**
 * golden_get() - the page of @hash at @place, which golden_find() gave. May read the disk.
 * Return: 0; -EUCLEAN: the file was changed; -ENXIO: it cannot be read; -ETIME: not in time.
 */
int golden_get(struct golden *golden, const struct golden_place *place, struct golden_hash hash,
               void *page);

/**
 * golden_verify() - read all pages.
 * @ret_damaged: pages that are not what they were, or cannot be read.
 * Return: 0; -EIO: the index cannot be read any more, or is another one.
 */
int golden_verify(struct golden *golden, uint64_t *ret_damaged, struct errctx *ec);

void golden_count(const struct golden *golden, struct golden_counts *ret_counts);

/**
 * golden_make() - a golden file @path of what is in the @n files @images, taken as pages from their
 * start on, the last one filled up with zeroes. It appears when it is whole, in the place of an
 * older one, which who reads it goes on reading.
 * Return: 0; -EINVAL: an image is neither a file nor a block device, or nothing but zeroes is in
 * them; -E2BIG; -ENOMEM; an errno of a system call.
 */
int golden_make(const char *const *images, size_t n, const char *path, struct errctx *ec);

#endif
