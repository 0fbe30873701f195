/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it takes on this host to make memory slow by a factor, found out by a pointer chase over memory
 * of our own that is made slow as a guest's will be: each step reads the address of the next from one
 * of 262,144 cache lines in 16 MiB, all visited in one random order. One thread, which waits for
 * nothing else.
 */
#ifndef MEMORY_SLOW_MEASURE_H
#define MEMORY_SLOW_MEASURE_H

#include <stdint.h>

#include "memory/policy/slow.h"
#include "vmm/base/errctx.h"

struct slow_measured {
    struct slow_cost cost;
    uint64_t step_ps;      /* of the chase in memory that is not slow */
    uint32_t factor_milli; /* what memory is to be slowed by, that it comes out as asked: after each
                              wait caches are cold, too */
    uint32_t ratio_milli;  /* how much longer a step took with all that, in a run of its own */
};

/**
 * slow_measure() - takes some seconds at most, and a thread. Before the sandbox.
 * Return: 0; -ENOMEM, or the errno of uffd_open(), memfd_create, mmap or making a thread.
 */
int slow_measure(uint32_t factor_milli, struct slow_measured *ret_measured, struct errctx *ec);

#endif
