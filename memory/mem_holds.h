/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds which extent of 2 MiB of a node's memory: leases on one side, giving back on the other.
 *
 * One word an extent. A lease adds one to the words of all extents that it touches; memory is given
 * back with the words closed, which only those of free extents can be. Who wants a lease meanwhile
 * waits for a system call or two. Whoever gives back never waits, so nothing can wait in a circle.
 * All functions may be called from any thread. Private to memory/.
 */
#ifndef MEMORY_MEM_HOLDS_H
#define MEMORY_MEM_HOLDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/backing.h"

struct mem_holds {
    _Atomic uint32_t *words;
};

/** mem_holds_init() - for @len_bytes of memory; takes host memory as extents are first held.
 *  Return: 0 or -ENOMEM. */
int mem_holds_init(size_t len_bytes, struct mem_holds *ret_holds);
void mem_holds_fini(struct mem_holds *holds);

/** mem_holds_take() / mem_holds_drop() - a lease of [@off, @off+@len_bytes) begins and ends. */
void mem_holds_take(struct mem_holds *holds, size_t off, size_t len_bytes);
void mem_holds_drop(struct mem_holds *holds, size_t off, size_t len_bytes);

/** mem_holds_close() - no lease begins in these extents until mem_holds_open(). False, and nothing
 *  is closed, while one is out or another thread has closed one. */
bool mem_holds_close(struct mem_holds *holds, size_t off, size_t len_bytes);
void mem_holds_open(struct mem_holds *holds, size_t off, size_t len_bytes);

#endif
