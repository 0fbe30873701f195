/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What it takes on this host to make memory slow by a factor, found out by a pointer chase
 * (slow_chase.h) in memory of our own that is made slow as a guest's will be, and not, by turns. A
 * guest of our own chases, so what counts is what a guest gets done.
 */
#ifndef MEMORY_SLOW_MEASURE_H
#define MEMORY_SLOW_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/policy/slow.h"
#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"

struct slow_measured {
    struct slow_cost cost;
    uint64_t touch_ns;     /* that a touch costs who touches, when it is answered at once */
    uint64_t step_ps;      /* of the chase in memory that is not slow */
    uint32_t factor_milli; /* what memory is to be slowed by, that it comes out as asked: after each
                              wait caches are cold, too */
    uint32_t ratio_milli;  /* how much longer a step took with all that, in a run of its own */
    bool in_guest;         /* a guest has chased; else a thread of ours, which exits cost nothing */
};

/**
 * slow_measure() - takes some seconds, and threads. Before the sandbox.
 * @sys: to make a guest with; NULL: a thread of ours chases, as where no guest can.
 * @by_uffd: touches are answered through userfaultfd; else the kernel serves them, and ->cost charges
 * nothing beyond what that costs.
 * Return: 0; -ENOMEM, -EIO (the chase does not get on), or the errno of uffd_open(), memfd_create,
 * mmap or making a thread.
 */
int slow_measure(const struct kvm_sys *sys, bool by_uffd, uint32_t factor_milli,
                 struct slow_measured *ret_measured, struct errctx *ec);

#endif
