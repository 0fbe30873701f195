/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many huge pages the host's kernel has split because there was none on the node that they
 * moved to: one number instead of a look at every page that was moved.
 */
#ifndef MEMORY_MOVE_SPLITS_H
#define MEMORY_MOVE_SPLITS_H

#include <stdint.h>

/** move_splits_open() - before the sandbox. Return: a descriptor, or -1. */
int move_splits_open(void);

/** move_splits_read() - since the host was started, whoever moved. Any thread; 16 KiB of stack.
 *  Return: 0, or -ENOENT where the kernel does not tell (before Linux 5.9). */
int move_splits_read(int vmstat, uint64_t *ret_count);

#endif
