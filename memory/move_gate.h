/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping everybody out of a piece of guest memory for a moment: who touches it waits until it is
 * given back.
 *
 * Two means. By userfaultfd(2) whoever touches a page that the mapping lacks waits; nobody reads of
 * these faults, they end with the registration. vCPUs in KVM, I/O threads and the kernel itself all
 * come that way. And mremap(2) with MREMAP_DONTUNMAP moves the page table's entries elsewhere and
 * leaves the mapping empty: pages are neither unmapped nor mapped one by one, and TLBs are flushed
 * once for all of them, KVM's and our own.
 *
 * Nobody may wait for long: signals do not reach who waits here.
 *
 * Needs what uffd_open() needs; memory that somebody else serves by userfaultfd stays open.
 */
#ifndef MEMORY_MOVE_GATE_H
#define MEMORY_MOVE_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"
#include "vmm/base/errctx.h"

struct move_gate {
    int uffd;              /* -1: nobody can be kept out */
    struct mem_area aside; /* addresses for BACKING_EXTENT bytes; none: nothing is carried off */
};

/** move_gate_init() - @uffd: of uffd_open(), borrowed; negative: nothing will be taken.
 *  @fixed: mappings are watched by somebody (a pager's userfaultfd) and have to stay what they are.
 *  Return: 0 or the errno of mmap. */
int move_gate_init(int uffd, bool fixed, struct move_gate *ret_gate, struct errctx *ec);
void move_gate_fini(struct move_gate *g);

/**
 * move_gate_take() - what is mapped at @at is mapped aside alone; whoever touches it at @at waits.
 * @at, @len_bytes: whole pages of shared normal memory in one mapping, BACKING_EXTENT at most.
 * Return: where it is aside; NULL where everything stayed as it was: somebody else has such a hold
 * on the range, or the kernel is too old, or it is more than one mapping; after these nothing is
 * taken any more.
 */
uint8_t *move_gate_take(struct move_gate *g, void *at, size_t len_bytes);

/**
 * move_gate_give_back() - after a take that succeeded: everything is where it was, who waits goes
 * on. The caller touched nothing at @at meanwhile, or it would wait for itself.
 * Return: 0, or the errno of mremap. In that case nothing is mapped at @at; who waits goes on
 * waiting until it is mapped anew (content is the file's) and move_gate_wake() was called.
 */
int move_gate_give_back(struct move_gate *g, void *at, size_t len_bytes);

/**
 * move_gate_shake() - have KVM forget what it has mapped of the piece, as if it had been zapped,
 * while our page table keeps it: carried off and back, and nobody waits. What is touched meanwhile
 * is mapped by KVM again.
 * Return: 0; -ENOTSUP: it cannot be carried off; or as move_gate_give_back(), but nobody waits.
 */
int move_gate_shake(struct move_gate *g, void *at, size_t len_bytes);

/** move_gate_drop() - nothing is aside any more; what was is the file's still. */
void move_gate_drop(struct move_gate *g);

void move_gate_wake(struct move_gate *g, void *at, size_t len_bytes);

#endif
