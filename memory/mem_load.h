/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file's bytes into a backing, the cheapest way that the host has at the moment. Private to
 * memory/; guest_mem_load() is the way in. See docs/decisions/loading-kernels.md.
 *
 * Two ways. Huge: the extent becomes one huge page, which the kernel clears, and the bytes are read
 * into it; a guest then needs one fault for it. Small: the kernel copies from the file's pages
 * straight into new ones of 4 KiB, which it need not clear since they are overwritten whole; the
 * guest needs 512 faults. Huge is cheaper in sum as long as the host has huge pages at hand. Where
 * it does not, since free ones were reported to a hypervisor that took them away, one costs more
 * than the faults that it saves: that is seen when it is taken, and the rest is loaded small.
 */
#ifndef MEMORY_MEM_LOAD_H
#define MEMORY_MEM_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"

/* What huge pages cost, of one guest. Zeroed: what they should. */
struct mem_load {
    bool may_be_dear; /* the host is one where this happens */
    bool found_cheap; /* since the last mem_load_forget() */
    unsigned dear_in_a_row;
};

/** mem_load_host_reports() - whether the kernel below @root (vmm/base/kernel_file.h) reports free
 * huge pages to a hypervisor. Where it does not, none is dear, and a dear one is an interruption.
 */
bool mem_load_host_reports(const char *root);

/**
 * mem_load_learn() - one more was @dear or not.
 * mem_load_forget() - what was found may be true no longer.
 * mem_load_wants_huge() - is it worth trying the next? Not when the first was dear; after a cheap
 * one, it takes two dear ones in a row.
 */
void mem_load_learn(struct mem_load *load, bool dear);
void mem_load_forget(struct mem_load *load);
bool mem_load_wants_huge(const struct mem_load *load);

/**
 * mem_load() - copy @len bytes at @file_off of @fd to @off of @b. Not two at a time for one
 * backing: they would share its file's position.
 * @ret_len: how many there were; fewer than @len at the end of the file only.
 * Return: 0; -ENOMEM (the host has no page), or the errno of pread or sendfile.
 */
int mem_load(struct mem_load *load, const struct backing *b, size_t off, int fd, uint64_t file_off,
             size_t len, size_t *ret_len);

/** mem_load_is_dear() - whether a huge page that took @take_ns to get costs more than it saves,
 * seen that writing @len_bytes of it took @fill_ns. Pure. */
bool mem_load_is_dear(uint64_t take_ns, uint64_t fill_ns, size_t len_bytes);

#endif
