/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest of one vCPU that touches a page of its memory and says how long that took, by its own
 * clock. One file for each architecture. It belongs to the thread that made it.
 */
#ifndef GUEST_TESTS_BENCH_TOUCHGUEST_H
#define GUEST_TESTS_BENCH_TOUCHGUEST_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/errctx.h"

struct touch_guest;

/** touch_guest_new() - @memory: @bytes of it, which stay where they are until the process ends, as
 *  the guest does. Return: 0; -ENOTSUP: there is none for this architecture; an errno of KVM's. */
int touch_guest_new(uint8_t *memory, size_t bytes, struct touch_guest **ret_guest,
                    struct errctx *ec);

/** touch_guest_ns() - have it read the byte at @offset. @ret_ns: how long the guest waited.
 *  Return: 0; -EIO: it ended; an errno of KVM_RUN. */
int touch_guest_ns(const struct touch_guest *guest, uint64_t offset, uint64_t *ret_ns,
                   struct errctx *ec);

#endif
