/* SPDX-License-Identifier: Apache-2.0 */
/* Taking the memory that is to be there at the start. Private to memory/. */
#ifndef MEMORY_MEM_FILL_H
#define MEMORY_MEM_FILL_H

#include "memory/guest_mem.h"

/**
 * mem_fill() - touch every backing that the plan preallocates.
 *
 * With threads: each host node's memory is touched by threads that run on its CPUs, on all nodes at
 * once, at most FILL_THREADS_NODE a node and FILL_THREADS_ALL in all, but always one for each node;
 * clearing a page is then local. They have ended when this returns.
 * Return: 0, or the errno of the first part that failed.
 */
int mem_fill(struct guest_mem *mem, const struct guest_mem_commit *how, struct errctx *ec);

enum { FILL_THREADS_NODE = 8, FILL_THREADS_ALL = 64 };

#endif
