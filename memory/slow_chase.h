/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The access pattern that memory is made slow for: a pointer chase over memory of our own, in which
 * each step reads where the next goes, to one of 262,144 cache lines in 16 MiB that are all visited
 * in one random order. It goes on by itself, in a guest of its own (vmm/kvm/kvm_chase.h) or, where
 * that cannot be, on a thread of ours.
 */
#ifndef MEMORY_SLOW_CHASE_H
#define MEMORY_SLOW_CHASE_H

#include <stdbool.h>
#include <stdint.h>

#include "memory/slow_node.h"
#include "vmm/base/errctx.h"
#include "vmm/kvm/kvm_sys.h"

enum { SLOW_CHASE_BYTES = 16 << 20 };

struct slow_chase;

/** slow_chase_start() - @sys: where a guest may be made; NULL: on a thread.
 *  Return: 0; -ENOMEM, or the errno of memfd_create, mmap, or making a thread. */
int slow_chase_start(const struct kvm_sys *sys, struct slow_chase **ret_chase, struct errctx *ec);

/** slow_chase_stop() - and free it; NULL is allowed. Nobody keeps it waiting any more. */
void slow_chase_stop(struct slow_chase *chase);

/** slow_chase_range() - the memory. Borrowed. */
struct slow_range slow_chase_range(const struct slow_chase *chase);

/** slow_chase_in_guest() - and not on a thread of ours. */
bool slow_chase_in_guest(const struct slow_chase *chase);

/** slow_chase_step_ps() - look for about @ns, longer where it hardly gets on. Return: picoseconds a
 *  step, without the time that other threads had its processor; 0: it does not get on. */
uint64_t slow_chase_step_ps(const struct slow_chase *chase, uint64_t ns);

#endif
